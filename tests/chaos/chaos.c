#include "chaos.h"

#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
#define STILL_LIMIT (25 * SECOND) /* beyond all deadlines: if nothing moves, something hangs */
#define NAP_US 500

/* Deadlines that a round waits out are short, but not too short for ranks that are not stopped. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOWNESS 2
#else
#define SLOWNESS 1
#endif

typedef struct options {
    unsigned long rounds, first;
    double seconds;
    uint64_t seed;
    const char *backend, *kind;
} options;

typedef struct tally { /* a line of the table */
    unsigned long runs, failures;
    int64_t slowest, slowest_shrink, slowest_free;
} tally;

const struct harness_backend *chaos_verbs(const char *backend)
{
    static const char prefix[] = "verbs-";
    size_t length = sizeof prefix - 1;
    return strncmp(backend, prefix, length) == 0 ? verbs_variant(backend + length) : NULL;
}

int64_t chaos_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

void chaos_sleep_us(long us)
{
    struct timespec nap = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&nap, NULL);
}

uint64_t chaos_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* === Plans =================================================================================== */

/* The kernel knows a free one. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &length) == 0)
        port = ntohs(address.sin_port);
    close(fd);
    return port;
}

static fault choose_kind(const options *o, uint64_t *random)
{
    fault any = (fault)(chaos_random(random) % FAULTS);
    for (int kind = 0; kind < FAULTS && o->kind != NULL; kind++)
        if (strcmp(o->kind, fault_name((fault)kind)) == 0)
            return (fault)kind;
    /* Shared memory cannot be cut: its rank would tell the others that they are dead. Over UC a
     * thread looks beside the one that is cut off, and may see some connections end before others.
     */
    bool cables = strcmp(o->backend, "tcp") == 0 || strcmp(o->backend, "verbs-rc") == 0;
    return any == FAULT_CUT && !cables ? FAULT_KILL : any;
}

/* Often at once, sometimes later. */
static long choose_delay(fault kind, uint64_t *random)
{
    unsigned long within = chaos_random(random) % 3 == 0 ? 10000 : 500;
    if (kind == FAULT_KILL_INIT || kind == FAULT_FREEZE_INIT)
        within = chaos_random(random) % 3 == 0 ? 12000 : 3000;
    return (long)(chaos_random(random) % within);
}

static plan make_plan(const options *o, unsigned long round)
{
    uint64_t random = o->seed ^ (round * UINT64_C(0xD1342543DE82EF95));
    plan p = {.seed = chaos_random(&random), .round = round, .backend = o->backend};
    p.kind = choose_kind(o, &random);
    p.size = 2 + (int)(chaos_random(&random) % (CHAOS_RANKS_MAX - 1));
    if (p.kind == FAULT_KILL_SHRINK && p.size == 2)
        p.size = 3;
    p.victim = (int)(chaos_random(&random) % (unsigned)p.size);
    p.second = (p.victim + 1 + (int)(chaos_random(&random) % (unsigned)(p.size - 1))) % p.size;
    p.operation = (int)(chaos_random(&random) % 40);
    p.delay_us = choose_delay(p.kind, &random);
    p.thaw = (int)(chaos_random(&random) % THAWS);
    p.timeout_s = p.kind == FAULT_FREEZE         ? 2 * SLOWNESS
                  : p.kind == FAULT_LATE_MESSAGE ? 1 * SLOWNESS
                                                 : CHAOS_TIMEOUT_S;
    p.init_timeout_s = p.kind == FAULT_FREEZE_INIT || p.kind == FAULT_KILL_INIT ? 4 : 20;
    bool told = p.kind == FAULT_KILL || p.kind == FAULT_EXIT || p.kind == FAULT_ABORT ||
                p.kind == FAULT_LEAVE;
    p.hasty = told && chaos_random(&random) % 2 == 0;
    p.port = free_port();
    return p;
}

/* === A round ================================================================================= */

typedef struct run {
    const plan *plan;
    board *board;
    pid_t pids[CHAOS_RANKS_MAX];
    int ended[CHAOS_RANKS_MAX]; /* as waitpid says */
    int left;
    bool thawed;
    long steps; /* that all ranks have made together, and when that was last seen to grow */
    int64_t moved, next_burst;
    uint64_t random;
} run;

static void start_ranks(run *r)
{
    fflush(NULL);
    for (int i = 0; i < r->plan->size; i++)
        atomic_store(&r->board->reports[i].operation, -1);
    for (int i = 0; i < r->plan->size; i++) {
        r->pids[i] = fork();
        if (r->pids[i] == 0)
            rank_main(r->plan, r->board, i);
        if (r->pids[i] < 0) {
            perror("fork");
            exit(2);
        }
        r->left++;
    }
}

static void reap(run *r)
{
    for (int i = 0; i < r->plan->size; i++) {
        int status;
        if (r->pids[i] == 0 || waitpid(r->pids[i], &status, WNOHANG) != r->pids[i])
            continue;
        r->ended[i] = status;
        r->pids[i] = 0;
        r->left--;
    }
}

static void send_signal(run *r, int rank, int number)
{
    if (r->pids[rank] != 0)
        kill(r->pids[rank], number);
}

/* On a slow machine a round takes long, but it moves. */
static bool stands_still(run *r)
{
    long steps = r->plan->size - r->left;
    for (int i = 0; i < r->plan->size; i++)
        steps += r->board->reports[i].phase + r->board->reports[i].operation;
    if (steps != r->steps)
        r->moved = chaos_now();
    r->steps = steps;
    return chaos_now() - r->moved > STILL_LIMIT;
}

static void nap(board *b)
{
    int64_t began = chaos_now();
    chaos_sleep_us(NAP_US);
    int64_t late = chaos_now() - began - NAP_US * 1000;
    b->stall = late > b->stall ? late : b->stall;
}

/* The others have all got this far, or have ended. */
static bool others_reached(const run *r, phase phase)
{
    for (int i = 0; i < r->plan->size; i++)
        if (i != r->plan->victim && r->pids[i] != 0 && r->board->reports[i].phase < (int)phase)
            return false;
    return true;
}

static bool any_other_reached(const run *r, phase phase)
{
    for (int i = 0; i < r->plan->size; i++)
        if (i != r->plan->victim && r->board->reports[i].phase >= (int)phase)
            return true;
    return false;
}

/* Once: a process that is looked through by its leak checker minds signals. */
static void thaw(run *r)
{
    if (!r->thawed)
        send_signal(r, r->plan->victim, SIGCONT);
    r->thawed = true;
}

/* Short stops that stay far below the deadline. */
static void burst(run *r)
{
    int64_t began = chaos_now();
    if (began < r->next_burst)
        return;
    int victim = (int)(chaos_random(&r->random) % (unsigned)r->plan->size);
    send_signal(r, victim, SIGSTOP);
    chaos_sleep_us((long)(chaos_random(&r->random) % 150000));
    send_signal(r, victim, SIGCONT);
    int64_t stopped = chaos_now() - began;
    if (chaos_verbs(r->plan->backend) != NULL && stopped > r->board->stall)
        r->board->stall = stopped; /* who leaves waits until the others have what it said */
    r->next_burst = chaos_now() + (int64_t)(chaos_random(&r->random) % 30) * 1000000;
}

static void tend_frozen(run *r)
{
    const plan *p = r->plan;
    if (atomic_load(&r->board->fault_at) == 0)
        return;
    if (p->kind == FAULT_FREEZE_INIT && others_reached(r, PHASE_DONE)) {
        send_signal(r, p->victim, SIGKILL);
    } else if (p->kind == FAULT_FREEZE && p->thaw == THAW_NEVER &&
               others_reached(r, PHASE_SHRUNK)) {
        send_signal(r, p->victim, SIGKILL);
        atomic_store(&r->board->go_on, r->pids[p->victim] == 0);
    } else if (p->kind == FAULT_FREEZE && p->thaw != THAW_NEVER) {
        bool now = p->thaw == THAW_AT_VERDICT ? any_other_reached(r, PHASE_FAILED)
                                              : others_reached(r, PHASE_SHRUNK);
        if (now)
            thaw(r);
        if (r->pids[p->victim] == 0)
            atomic_store(&r->board->go_on, true);
    } else if (p->kind == FAULT_LATE_MESSAGE && others_reached(r, PHASE_FAILED)) {
        thaw(r);
    }
}

/* Those who do not end by themselves hang: a failure. */
static void end_ranks(run *r)
{
    for (int i = 0; i < r->plan->size; i++) {
        if (r->pids[i] == 0)
            continue;
        snprintf(r->board->reports[i].complaint, CHAOS_TEXT_MAX,
                 "hangs in phase %d at operation %d", r->board->reports[i].phase,
                 r->board->reports[i].operation);
        send_signal(r, i, SIGABRT);
        send_signal(r, i, SIGKILL);
    }
    while (r->left > 0) {
        reap(r);
        chaos_sleep_us(1000);
    }
}

/* === What is left behind ===================================================================== */

static bool listening(int port)
{
    char line[256];
    unsigned local, state;
    bool found = false;
    FILE *file = fopen("/proc/net/tcp", "r");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = sscanf(line, " %*d: %*x:%x %*x:%*x %x", &local, &state) == 2 &&
                (int)local == port && state == 10;
    if (file != NULL)
        fclose(file);
    return found;
}

static int shared_files(void)
{
    int count = 0;
    struct dirent *entry;
    DIR *dir = opendir("/dev/shm");
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        count += strstr(entry->d_name, "hocket") != NULL;
    if (dir != NULL)
        closedir(dir);
    return count;
}

/* === Telling ================================================================================= */

static void print_said(const char *what, const said *s, const board *b)
{
    if (s->status == HOCKET_OK && s->returned == 0)
        return;
    printf("    %s: %s", what, hocket_status_name(s->status));
    for (int i = 0; i < s->count && i < CHAOS_RANKS_MAX; i++)
        printf("%s%d", i == 0 ? ", ranks " : " ", s->ranks[i]);
    printf(", %.1f ms after the fault, took %.1f ms: %s\n",
           (double)(s->returned - b->fault_at) / 1e6, (double)(s->returned - s->began) / 1e6,
           s->text);
}

static void print_story(const options *o, const run *r, const char *wrong)
{
    const plan *p = r->plan;
    printf("\nFAILED: round %lu of seed %llu: %s of%s rank %d of %d", p->round,
           (unsigned long long)o->seed, fault_name(p->kind), p->hasty ? ", among the hasty," : "",
           p->victim, p->size);
    printf(
        " (second %d) over %s, at operation %d + %ld us, thaw %d, deadline %g s, the parent held "
        "up for %.1f ms\n",
        p->second, p->backend, p->operation, p->delay_us, p->thaw, p->timeout_s,
        (double)r->board->stall / 1e6);
    printf("  again: chaos --seed %llu --first %lu --rounds 1 --backend %s%s%s\n%s",
           (unsigned long long)o->seed, p->round, p->backend, o->kind != NULL ? " --kind " : "",
           o->kind != NULL ? o->kind : "", wrong);
    for (int i = 0; i < p->size; i++) {
        const report *one = &r->board->reports[i];
        printf("  rank %d: phase %d, operation %d, shrunk to %d (%#x) in %d\n", i, one->phase,
               one->operation, one->shrunk_to, one->members, one->shrink_rounds);
        print_said("first", &one->first, r->board);
        print_said("world", &one->world, r->board);
        print_said("later", &one->later, r->board);
        print_said("shrink", &one->shrink, r->board);
    }
    fflush(stdout);
}

static void add(tally *line, const run *r, bool failed)
{
    line->runs++;
    line->failures += failed;
    for (int i = 0; i < r->plan->size; i++) {
        const report *one = &r->board->reports[i];
        int64_t took;
        if (judge_detection(r->plan, r->board, i, &took) && took > line->slowest)
            line->slowest = took;
        int64_t shrink = one->shrink.returned - one->shrink.began;
        if (one->shrunk_to > 0 && shrink > line->slowest_shrink)
            line->slowest_shrink = shrink;
        if (one->free_ns > line->slowest_free)
            line->slowest_free = one->free_ns;
    }
}

static void print_table(const options *o, const tally *table)
{
    printf("\n%-13s %-8s %6s %8s %14s %14s %14s\n", "fault", "backend", "runs", "failures",
           "detected (ms)", "shrunk (ms)", "freed (ms)");
    for (int i = 0; i < FAULTS; i++)
        if (table[i].runs > 0)
            printf("%-13s %-8s %6lu %8lu %14.1f %14.1f %14.1f\n", fault_name((fault)i), o->backend,
                   table[i].runs, table[i].failures, (double)table[i].slowest / 1e6,
                   (double)table[i].slowest_shrink / 1e6, (double)table[i].slowest_free / 1e6);
    printf("the slowest of all survivors; after a freeze: from the deadline on\n");
}

/* === Rounds ================================================================================== */

static bool play(const options *o, unsigned long round, tally *table)
{
    plan p = make_plan(o, round);
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    run r = {.plan = &p, .board = b, .moved = chaos_now(), .random = p.seed};
    int shared = shared_files();
    const struct harness_backend *verbs = chaos_verbs(o->backend);
    if (verbs != NULL)
        verbs->begin(p.size);
    start_ranks(&r);
    while (r.left > 0 && !stands_still(&r)) {
        if (p.kind == FAULT_SLOW && any_other_reached(&r, PHASE_WORK))
            burst(&r);
        tend_frozen(&r);
        reap(&r);
        nap(b);
    }
    end_ranks(&r);
    if (verbs != NULL)
        verbs->end(NULL);
    char wrong[8192];
    judge(&p, b, r.ended, wrong, sizeof wrong);
    size_t used = strlen(wrong);
    if (listening(p.port))
        used += (size_t)snprintf(wrong + used, sizeof wrong - used, "  somebody still listens\n");
    if (shared_files() > shared)
        snprintf(wrong + used, sizeof wrong - used, "  shared memory is left behind\n");
    add(&table[p.kind], &r, wrong[0] != '\0');
    if (wrong[0] != '\0')
        print_story(o, &r, wrong);
    munmap(b, sizeof *b);
    return wrong[0] == '\0';
}

static bool read_options(int argc, char **argv, options *o)
{
    *o = (options){.rounds = 0, .seconds = 20, .backend = "tcp"};
    o->seed = (uint64_t)time(NULL) * 1000003u ^ (uint64_t)getpid();
    o->seed %= 1000000007u;
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--rounds") == 0)
            o->rounds = strtoul(value, NULL, 10);
        else if (strcmp(name, "--first") == 0)
            o->first = strtoul(value, NULL, 10);
        else if (strcmp(name, "--seconds") == 0)
            o->seconds = strtod(value, NULL);
        else if (strcmp(name, "--seed") == 0)
            o->seed = strtoull(value, NULL, 10);
        else if (strcmp(name, "--backend") == 0)
            o->backend = value;
        else if (strcmp(name, "--kind") == 0)
            o->kind = value;
        else
            return false;
    }
    bool known = strncmp(o->backend, "verbs", 5) != 0 || chaos_verbs(o->backend) != NULL;
    return argc % 2 == 1 && known;
}

int main(int argc, char **argv)
{
    options o;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: chaos [--rounds N] [--seconds S] [--seed X] [--first ROUND] "
                        "[--backend NAME|hosts|verbs-rc|verbs-uc|...] [--kind FAULT]\n");
        return 2;
    }
    tally table[FAULTS] = {{0}};
    unsigned long failures = 0, round = o.first;
    int64_t began = chaos_now();
    bool terminal = isatty(STDERR_FILENO);
    printf("chaos over %s, seed %llu\n", o.backend, (unsigned long long)o.seed);
    for (;; round++) {
        double passed = (double)(chaos_now() - began) / 1e9;
        if (o.rounds > 0 ? round - o.first >= o.rounds : passed >= o.seconds)
            break;
        failures += !play(&o, round, table);
        if (terminal)
            fprintf(stderr, "\r%lu rounds in %.0f s, %lu failed ", round + 1 - o.first, passed,
                    failures);
    }
    if (terminal)
        fprintf(stderr, "\n");
    print_table(&o, table);
    printf("%lu rounds, %lu failed\n", round - o.first, failures);
    return failures > 0;
}
