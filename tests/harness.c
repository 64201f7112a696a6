#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ORPHAN_PATIENCES 10
#define RUN_SECONDS 30.0
#define CALL_SECONDS 20.0
#define INIT_SECONDS 15.0
#define WAIT_ROUNDS 60000 /* of a millisecond, for other ranks */

/* === Small things ============================================================================= */

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void sleep_seconds(double seconds)
{
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

double harness_slowness(void)
{
    const char *sanitizers = getenv("HOCKET_SANITIZE"), *slower = getenv("HOCKET_TEST_SLOWNESS");
    if (slower != NULL)
        return atof(slower);
    return sanitizers != NULL && sanitizers[0] != '\0' ? 5.0 : 1.0;
}

static bool port_is_free(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return false;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool bound = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return bound;
}

int harness_free_port(void)
{
    enum { FIRST = 10000, COUNT = 22000 }; /* below 32768, where ephemeral ports begin */
    static atomic_uint next;
    static atomic_bool seeded;
    if (!atomic_exchange(&seeded, true))
        next = (unsigned)getpid() % (COUNT / 1000) * 1000; /* apart from its neighbours */
    for (int tries = 0; tries < COUNT; tries++) {
        int port = FIRST + (int)(atomic_fetch_add(&next, 1) % COUNT);
        if (port_is_free(port))
            return port;
    }
    harness_fail(__FILE__, __LINE__, "no free port between %d and %d", FIRST, FIRST + COUNT);
}

void harness_clear_environment(void)
{
    static const char *const names[] = {
        "HOCKET_RANK",        "HOCKET_WORLD_SIZE", "HOCKET_COORDINATOR", "HOCKET_BACKEND",
        "HOCKET_HOSTFILE",    "HOCKET_SECRET",     "HOCKET_SECRET_FILE", "HOCKET_TIMEOUT",
        "HOCKET_INSECURE",    "MLX_RANK",          "MLX_HOSTFILE",       "MLX_WORLD_SIZE",
        "MLX_IBV_DEVICES",    "PMI_RANK",          "PMI_SIZE",           "PMIX_RANK",
        "SLURM_PROCID",       "SLURM_NTASKS",      "RANK",               "WORLD_SIZE",
        "HOCKET_FAULT",       "HOCKET_TRACE",      "HOCKET_ENCRYPT",     "OMPI_COMM_WORLD_RANK",
        "HOCKET_HOST",        "HOCKET_TUNE",       "JACCL_IBV_DEVICES",  "OMPI_COMM_WORLD_SIZE",
        "JACCL_RANK"};
    for (size_t i = 0; i < LENGTH(names); i++)
        unsetenv(names[i]);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void fill_bytes(void *bytes, size_t length, uint64_t seed)
{
    unsigned char *at = bytes;
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word = mix(seed * UINT64_C(0x9e3779b97f4a7c15) + i);
        memcpy(at + i, &word, length - i < 8 ? length - i : 8);
    }
}

void check_filled(const char *file, int line, const void *bytes, size_t length, uint64_t seed)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word = mix(seed * UINT64_C(0x9e3779b97f4a7c15) + i);
        if (memcmp(at + i, &word, length - i < 8 ? length - i : 8) != 0)
            harness_fail(file, line, "the bytes differ from position %zu of %zu on", i, length);
    }
}

/* === Guarded memory =========================================================================== */

#define GUARD_BYTES 64
#define GUARD_VALUE 0xA5

struct guard {
    size_t bytes;
    unsigned char before[GUARD_BYTES - sizeof(size_t)];
};

void *guard_alloc(size_t bytes)
{
    struct guard *guard = malloc(sizeof(*guard) + bytes + GUARD_BYTES);
    if (guard == NULL)
        harness_fail(__FILE__, __LINE__, "no memory for %zu bytes", bytes);
    guard->bytes = bytes;
    memset(guard->before, GUARD_VALUE, sizeof(guard->before));
    memset((char *)(guard + 1) + bytes, GUARD_VALUE, GUARD_BYTES);
    return guard + 1;
}

void guard_check(const char *file, int line, const void *memory)
{
    const struct guard *guard = (const struct guard *)memory - 1;
    const unsigned char *after = (const unsigned char *)memory + guard->bytes;
    for (size_t i = 0; i < sizeof(guard->before); i++)
        if (guard->before[i] != GUARD_VALUE)
            harness_fail(file, line, "something wrote before a buffer of %zu bytes", guard->bytes);
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (after[i] != GUARD_VALUE)
            harness_fail(file, line, "something wrote %zu bytes behind a buffer of %zu bytes", i,
                         guard->bytes);
}

void guard_free(const char *file, int line, void *memory)
{
    guard_check(file, line, memory);
    free((struct guard *)memory - 1);
}

/* === Checks =================================================================================== */

/* Where a failing check of this thread jumps to. */
struct frame {
    struct member *me;
    jmp_buf escape;
};
static _Thread_local struct frame *frame;

void harness_at(const char *file, int line)
{
    if (frame == NULL)
        return;
    atomic_store_explicit(&frame->me->file, file, memory_order_relaxed);
    atomic_store_explicit(&frame->me->line, line, memory_order_relaxed);
    atomic_fetch_add_explicit(&frame->me->checks, 1, memory_order_relaxed);
}

void harness_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (frame != NULL)
        vsnprintf(frame->me->note, sizeof(frame->me->note), format, arguments);
    va_end(arguments);
}

/* The first failure of a rank is kept; what follows from it is noise. */
static void record_failure(struct member *me, const char *file, int line, const char *text)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!me->failed) {
        me->failed_at = seconds_now();
        snprintf(me->failure, sizeof(me->failure), "%s:%d: %s%s%s", file, line, me->note,
                 me->note[0] != '\0' ? ": " : "", text);
        me->failed = true;
    }
    pthread_mutex_unlock(&lock);
}

void harness_fail(const char *file, int line, const char *format, ...)
{
    char text[1400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (frame == NULL) {
        print_error("%s:%d: %s\n", file, line, text);
        _fail(file, line);
        abort(); /* cmocka does not return */
    }
    record_failure(frame->me, file, line, text);
    if (frame->me->world != NULL)
        hocket_abort(frame->me->world, "a check failed on this rank");
    longjmp(frame->escape, 1);
}

void harness_check_status(const char *file, int line, const char *call, hocket_status expected,
                          hocket_status got)
{
    if (got != expected)
        harness_fail(file, line, "%s: %s instead of %s (%s)", call, hocket_status_name(got),
                     hocket_status_name(expected), got == HOCKET_OK ? "" : hocket_last_error());
}

void harness_check_int(const char *file, int line, const char *what, long long expected,
                       long long got)
{
    if (got != expected)
        harness_fail(file, line, "%s is %lld instead of %lld", what, got, expected);
}

void harness_check_has(const char *file, int line, const char *text, const char *part)
{
    harness_at(file, line);
    if (strstr(text, part) == NULL)
        harness_fail(file, line, "\"%s\" does not say \"%s\"", text, part);
}

/* === A rank =================================================================================== */

static bool some_are_behind(const struct member *me)
{
    const struct member *members = me - me->rank;
    for (int i = 0; i < me->size; i++)
        if (members[i].meetings < me->meetings && !members[i].failed && !members[i].ended)
            return true;
    return false;
}

void member_wait_for_all(struct member *me)
{
    me->meetings++;
    for (int i = 0; i < WAIT_ROUNDS && some_are_behind(me); i++)
        sleep_seconds(0.001);
}

hocket_config member_config(const struct member *me)
{
    double slow = harness_slowness(), timeout_s = me->run->timeout_s;
    return (hocket_config){.size = sizeof(hocket_config),
                           .backend = me->run->backend->name,
                           .strict = true,
                           .rank = me->rank,
                           .world_size = me->size,
                           .coordinator = me->coordinator,
                           .timeout_s = timeout_s > 0 ? timeout_s : CALL_SECONDS * slow,
                           .init_timeout_s = INIT_SECONDS * slow,
                           .secret = me->secret};
}

static hocket_status open_by_init(struct member *me, hocket_group **world)
{
    hocket_config config = member_config(me);
    return hocket_init(&config, world);
}

const char *harness_placement;

static hocket_status open_on_host(struct member *me, hocket_group **world)
{
    const char name[] = {harness_placement[me->rank], '\0'};
    setenv("HOCKET_HOST", name, 1);
    return open_by_init(me, world);
}

const struct harness_backend harness_hosts = {
    .name = "shm", .open = open_on_host, .duplicates = true};
const struct harness_backend harness_local = {
    .name = "local", .open = open_by_init, .duplicates = true};
const struct harness_backend harness_tcp = {
    .name = "tcp", .open = open_by_init, .duplicates = true};
const struct harness_backend harness_shm = {
    .name = "shm", .open = open_by_init, .duplicates = true};
const struct harness_backend *const harness_backends[] = {&harness_local, &harness_tcp,
                                                          &harness_shm, NULL};

/* All, before the first goes on: what it did would break the world in which others open theirs. */
static void open_world(struct member *me)
{
    CHECK_OK(me->run->backend->open(me, &me->world));
    member_wait_for_all(me);
}

static void member_run(struct member *me)
{
    struct frame here = {.me = me};
    frame = &here;
    if (setjmp(here.escape) == 0) {
        if (!me->run->without_world)
            open_world(me);
        me->run->body(me);
    }
    frame = NULL;
    hocket_free(me->world);
    me->world = NULL;
    me->ended = true;
}

void member_end_by(struct member *me, int signal)
{
    me->ends_by = signal;
    if (signal == HARNESS_BY_EXIT)
        _exit(0);
    raise(signal);
}

static void *side_main(void *argument)
{
    struct side *side = argument;
    struct frame here = {.me = side->me};
    frame = &here;
    if (setjmp(here.escape) == 0)
        side->body(side->argument);
    frame = NULL;
    return NULL;
}

void side_start(struct side *side, void (*body)(void *argument), void *argument)
{
    *side = (struct side){.me = frame->me, .body = body, .argument = argument};
    CHECK(pthread_create(&side->thread, NULL, side_main, side) == 0);
}

void side_join(struct side *side)
{
    pthread_join(side->thread, NULL);
    if (side->me->failed)
        longjmp(frame->escape, 1);
}

/* === A world ================================================================================== */

struct world {
    _Atomic double shared[HARNESS_SLOTS];
    char coordinator[64], secret[40];
    void *arena;
    double patience; /* seconds without a check, then ranks are said to hang */
    pthread_t threads[HARNESS_RANKS_MAX];
    pid_t pids[HARNESS_RANKS_MAX]; /* 0 when it has been waited for */
    struct member members[HARNESS_RANKS_MAX];
};

static void make_secret(char *text, size_t size)
{
    unsigned char bytes[16];
    int fd = open("/dev/urandom", O_RDONLY);
    if (fd < 0 || read(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
        harness_fail(__FILE__, __LINE__, "/dev/urandom does not answer");
    close(fd);
    for (size_t i = 0; i < sizeof(bytes) && 2 * i + 2 < size; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static struct world *world_make(const struct harness_run *run)
{
    struct world *world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (world == MAP_FAILED)
        harness_fail(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    if (run->size > HARNESS_RANKS_MAX)
        harness_fail(__FILE__, __LINE__, "%d ranks are too many", run->size);
    make_secret(world->secret, sizeof(world->secret));
    snprintf(world->coordinator, sizeof(world->coordinator), "127.0.0.1:%d", harness_free_port());
    if (run->backend->begin != NULL)
        world->arena = run->backend->begin(run->size);
    double seconds = run->seconds > 0 ? run->seconds : RUN_SECONDS;
    world->patience = seconds * harness_slowness();
    for (int rank = 0; rank < run->size; rank++) {
        struct member *me = &world->members[rank];
        me->rank = rank;
        me->size = run->size;
        me->context = run->context;
        me->arena = world->arena;
        me->shared = world->shared;
        me->run = run;
        me->coordinator = world->coordinator;
        me->secret = world->secret;
    }
    return world;
}

static void *thread_main(void *argument)
{
    member_run(argument);
    return NULL;
}

static pid_t process_start(struct member *me, double patience)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    alarm((unsigned)(patience * ORPHAN_PATIENCES)); /* should the parent die */
    member_run(me);
    _exit(0);
}

static void world_start(struct world *world, const struct harness_run *run)
{
    fflush(NULL);
    for (int rank = 0; rank < run->size; rank++) {
        struct member *me = &world->members[rank];
        if (run->processes)
            world->pids[rank] = process_start(me, world->patience);
        else if (pthread_create(&world->threads[rank], NULL, thread_main, me) != 0)
            harness_fail(__FILE__, __LINE__, "pthread_create failed");
    }
}

/* A child that ended otherwise than it should is a failure of its rank. */
static void judge_exit(struct member *me, int status)
{
    char text[128] = "";
    if (WIFSIGNALED(status) && WTERMSIG(status) != me->ends_by)
        snprintf(text, sizeof(text), "ended by signal %d", WTERMSIG(status));
    else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        snprintf(text, sizeof(text), "ended with status %d", WEXITSTATUS(status));
    else if (WIFEXITED(status) && !me->ended && me->ends_by != HARNESS_BY_EXIT)
        snprintf(text, sizeof(text), "ended too early");
    if (text[0] != '\0')
        record_failure(me, me->file != NULL ? me->file : "before the first check", me->line, text);
    me->ended = true;
}

static void collect_children(struct world *world, int size)
{
    for (int rank = 0; rank < size; rank++) {
        int status;
        if (world->pids[rank] <= 0 || waitpid(world->pids[rank], &status, WNOHANG) <= 0)
            continue;
        world->pids[rank] = 0;
        judge_exit(&world->members[rank], status);
    }
}

static void end_child(struct world *world, int rank)
{
    int status;
    if (world->pids[rank] <= 0)
        return;
    kill(world->pids[rank], SIGKILL);
    waitpid(world->pids[rank], &status, 0);
    world->pids[rank] = 0;
}

/* How many have not ended; a stopped rank is not waited for. */
static int count_running(const struct world *world, const struct harness_run *run)
{
    int running = 0;
    for (int rank = 0; rank < run->size; rank++) {
        const struct member *me = &world->members[rank];
        bool gone = run->processes ? world->pids[rank] == 0 : me->ended;
        running += !gone && me->ends_by != SIGSTOP;
    }
    return running;
}

static void report_hanging(struct world *world, const struct harness_run *run)
{
    for (int rank = 0; rank < run->size; rank++) {
        struct member *me = &world->members[rank];
        if (!me->ended && me->ends_by != SIGSTOP) {
            char text[160];
            snprintf(text, sizeof(text), "rank %d of %d over %s hangs", rank, run->size,
                     run->backend->name);
            const char *file = me->file != NULL ? me->file : "before the first check";
            record_failure(me, file, me->line, text);
        }
        if (!run->processes && me->failure[0] != '\0') /* it may hang because another has failed */
            print_error("%s\n", me->failure);
    }
    if (!run->processes)
        _exit(1); /* threads cannot be ended: nothing after this would mean anything */
}

/* A machine that is slow takes its time to many checks; a rank that hangs comes to none. */
static unsigned long count_checks(const struct world *world, const struct harness_run *run)
{
    unsigned long checks = 0;
    for (int rank = 0; rank < run->size; rank++)
        checks += atomic_load_explicit(&world->members[rank].checks, memory_order_relaxed);
    return checks;
}

static void world_watch(struct world *world, const struct harness_run *run)
{
    double nap = 0.0002, deadline = seconds_now() + world->patience;
    unsigned long seen = 0;
    for (;;) {
        collect_children(world, run->processes ? run->size : 0);
        if (count_running(world, run) == 0)
            break;
        unsigned long checks = count_checks(world, run);
        if (checks != seen)
            deadline = seconds_now() + world->patience;
        seen = checks;
        if (seconds_now() > deadline) {
            report_hanging(world, run);
            break;
        }
        sleep_seconds(nap);
        nap = nap < 0.01 ? nap * 1.5 : nap;
    }
    for (int rank = 0; rank < run->size; rank++)
        if (run->processes)
            end_child(world, rank);
        else
            pthread_join(world->threads[rank], NULL);
}

/* The failures in the order in which they happened: the first is the cause. */
static size_t collect_failures(struct world *world, const struct harness_run *run, char *text,
                               size_t size)
{
    size_t used = 0;
    double after = 0;
    for (;;) {
        const struct member *next = NULL;
        for (int rank = 0; rank < run->size; rank++) {
            const struct member *me = &world->members[rank];
            if (me->failed && me->failed_at > after && (!next || me->failed_at < next->failed_at))
                next = me;
        }
        if (next == NULL)
            return used;
        after = next->failed_at;
        if (used < size)
            used += (size_t)snprintf(text + used, size - used, "%s, rank %d of %d: %s\n",
                                     run->backend->name, next->rank, run->size, next->failure);
    }
}

/* Where there are not devices for more, larger worlds are left out, which is said once. */
static bool too_large(int size)
{
    static bool said;
    const char *most = getenv("HOCKET_TEST_RANKS");
    if (most == NULL || size <= atoi(most))
        return false;
    if (!said)
        print_message("worlds of more than %s ranks are left out\n", most);
    return said = true;
}

void harness_run(const struct harness_run *run)
{
    if (too_large(run->size))
        return;
    struct world *world = world_make(run);
    world_start(world, run);
    world_watch(world, run);
    if (run->backend->end != NULL)
        run->backend->end(world->arena);
    char text[4096];
    size_t length = collect_failures(world, run, text, sizeof(text));
    munmap(world, sizeof(*world));
    if (length > 0) {
        print_error("%s", text);
        fail();
    }
}
