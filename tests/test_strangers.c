/* Five hundred strangers at every door of a job: they say nothing, or garbage, or half a handshake.
 * Ranks are processes; what the kernel lists as listening is held against what must be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/deadline.h"
#include "wire/proof.h"
#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <hocket/hocket.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORLD 4
#define STRANGERS 500
#define LISTENERS_MAX 16
#define SECRET "a secret that strangers do not know"
#define STATE_LISTEN 10
#define TRIES 20 /* to come between a rank's steps */
#define STEP_US 100
#define INIT_S 20.0
#define RANK_LIFE_S 40

typedef struct board { /* shared with the ranks */
    atomic_bool stop;
    struct {
        atomic_int status; /* of hocket_init, -1: not yet */
        atomic_int wrong;  /* sums, or failed calls */
        atomic_int calls;
        double init_s;
        char text[300];
    } ranks[WORLD];
} board;

typedef struct job {
    int port;
    board *board;
    pid_t pids[WORLD];
} job;

/* === Ranks =================================================================================== */

static void run_rank(const job *j, int rank, const char *secret, double init_s)
{
    char where[64];
    alarm(RANK_LIFE_S); /* whatever becomes of the test */
    snprintf(where, sizeof where, "127.0.0.1:%d", j->port);
    hocket_config config = {.size = sizeof config,
                            .backend = "tcp",
                            .rank = rank,
                            .world_size = WORLD,
                            .coordinator = where,
                            .timeout_s = 10,
                            .init_timeout_s = init_s,
                            .secret = secret};
    hocket_group *group;
    hk_time began = hk_now();
    hocket_status status = hocket_init(&config, &group);
    j->board->ranks[rank].init_s = hk_to_seconds(hk_now() - began);
    snprintf(j->board->ranks[rank].text, sizeof j->board->ranks[rank].text, "%s",
             hocket_last_error());
    atomic_store(&j->board->ranks[rank].status, (int)status);
    float go_on = 1;
    while (status == HOCKET_OK && go_on != 0) {
        float x[2] = {1, 0}; /* rank 0 says whether there is more */
        x[1] = rank == 0 && !atomic_load(&j->board->stop);
        if (hocket_all_sum(group, x, 2) != HOCKET_OK || x[0] != WORLD) {
            atomic_fetch_add(&j->board->ranks[rank].wrong, 1);
            break;
        }
        atomic_fetch_add(&j->board->ranks[rank].calls, 1);
        go_on = x[1];
    }
    if (status == HOCKET_OK)
        hocket_free(group);
    _exit(0);
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void make_job(job *j)
{
    *j = (job){.port = free_port()};
    j->board =
        mmap(NULL, sizeof *j->board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(j->board != MAP_FAILED);
    for (int r = 0; r < WORLD; r++)
        atomic_store(&j->board->ranks[r].status, -1);
}

static void start_rank(job *j, int rank, const char *secret, double init_s)
{
    fflush(NULL);
    j->pids[rank] = fork();
    assert_true(j->pids[rank] >= 0);
    if (j->pids[rank] == 0)
        run_rank(j, rank, secret, init_s);
}

static void end_job(job *j, double seconds)
{
    hk_time limit = hk_deadline_after(seconds);
    for (int r = 0; r < WORLD; r++) {
        bool gone = j->pids[r] == 0;
        while (!gone && hk_deadline_left(limit) > 0 &&
               !(gone = waitpid(j->pids[r], NULL, WNOHANG) == j->pids[r]))
            usleep(2000);
        if (gone)
            continue;
        kill(j->pids[r], SIGKILL);
        waitpid(j->pids[r], NULL, 0);
        snprintf(j->board->ranks[r].text, sizeof j->board->ranks[r].text, "it hung");
        atomic_store(&j->board->ranks[r].wrong, 1);
    }
}

/* === What the kernel says ==================================================================== */

typedef struct listener {
    uint32_t address; /* as in /proc/net/tcp: network order */
    int port;
} listener;

static bool owns(pid_t pid, unsigned long inode)
{
    char folder[64], wanted[64];
    snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *dir = opendir(folder);
    struct dirent *entry;
    bool found = false;
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
        char target[64] = "";
        ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        found = length > 0 && strcmp(target, wanted) == 0;
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* Where these ranks listen. IPv6 sockets count as one at address 0. */
static int find_listeners(const job *j, listener *found)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    int count = 0;
    for (int t = 0; t < 2; t++) {
        char line[512];
        FILE *file = fopen(tables[t], "r");
        while (file != NULL && fgets(line, sizeof line, file) != NULL) {
            char address[40];
            unsigned port, state;
            unsigned long inode;
            if (sscanf(line, " %*d: %39[0-9A-F]:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %*d %*d %lu",
                       address, &port, &state, &inode) != 4 ||
                state != STATE_LISTEN)
                continue;
            for (int r = 0; r < WORLD && count < LISTENERS_MAX; r++)
                if (j->pids[r] > 0 && owns(j->pids[r], inode))
                    found[count++] =
                        (listener){t == 0 ? (uint32_t)strtoul(address, NULL, 16) : 0, (int)port};
        }
        if (file != NULL)
            fclose(file);
    }
    return count;
}

static bool listens(const job *j, int port)
{
    listener found[LISTENERS_MAX];
    int count = find_listeners(j, found);
    for (int i = 0; i < count; i++)
        if (found[i].port == port)
            return true;
    return false;
}

static void wait_until_listening(const job *j)
{
    hk_time limit = hk_deadline_after(10);
    while (!listens(j, j->port) && hk_deadline_left(limit) > 0)
        usleep(1000);
    assert_true(listens(j, j->port));
}

/* === Strangers =============================================================================== */

typedef struct crowd {
    int fds[STRANGERS];
    int count, refused;
} crowd;

/* The hello of somebody who has read the source but does not know the secret. */
static void half_a_handshake(int fd)
{
    hk_proof proof;
    hk_key key = {.open = false};
    memset(key.bytes, 'x', sizeof key.bytes);
    hk_hello hello = {.purpose = HK_PURPOSE_MEETING, .rank = 1, .peer = 0, .world_size = WORLD};
    hk_proof_begin(&proof, &key, &hello, true);
    ssize_t sent = send(fd, proof.hello, sizeof proof.hello, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
    hk_proof_wipe(&proof);
}

static void misbehave(int fd, int kind)
{
    char garbage[2000];
    memset(garbage, 'A' + kind, sizeof garbage);
    if (kind % 3 == 1) {
        ssize_t sent = send(fd, garbage, sizeof garbage, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)sent;
    }
    if (kind % 3 == 2)
        half_a_handshake(fd);
}

static void send_in(crowd *c, int port, int count)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (int i = 0; i < count && c->count < STRANGERS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(fd >= 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
            c->refused++;
            close(fd);
            continue;
        }
        misbehave(fd, i);
        c->fds[c->count++] = fd;
    }
}

static void send_out(crowd *c)
{
    while (c->count > 0)
        close(c->fds[--c->count]);
}

static void assert_undisturbed(const job *j, double init_s)
{
    for (int r = 0; r < WORLD; r++) {
        if (j->board->ranks[r].status != HOCKET_OK || j->board->ranks[r].wrong != 0 ||
            j->board->ranks[r].init_s > init_s)
            fail_msg("rank %d: init %s after %.1f s, %d wrong: %s", r,
                     hocket_status_name((hocket_status)j->board->ranks[r].status),
                     j->board->ranks[r].init_s, (int)j->board->ranks[r].wrong,
                     j->board->ranks[r].text);
        assert_true(j->board->ranks[r].calls > 0);
    }
}

static bool all_joined(const job *j)
{
    for (int r = 0; r < WORLD; r++)
        if (atomic_load(&j->board->ranks[r].status) < 0)
            return false;
    return true;
}

static void wait_until_joined(const job *j)
{
    hk_time limit = hk_deadline_after(INIT_S + 2);
    while (!all_joined(j) && hk_deadline_left(limit) > 0)
        usleep(2000);
}

/* === Tests =================================================================================== */

static void strangers_at_the_coordinator_change_nothing(void **state)
{
    (void)state;
    static crowd early, late;
    job j;
    make_job(&j);
    start_rank(&j, 0, SECRET, INIT_S);
    wait_until_listening(&j);
    send_in(&early, j.port, STRANGERS);
    assert_true(early.count > STRANGERS / 2);
    for (int r = 1; r < WORLD; r++)
        start_rank(&j, r, SECRET, INIT_S);
    wait_until_joined(&j);
    listener found[LISTENERS_MAX];
    assert_int_equal(find_listeners(&j, found), 0); /* all have met: nobody listens */
    send_in(&late, j.port, STRANGERS);
    assert_int_equal(late.refused, STRANGERS);
    usleep(300000);
    atomic_store(&j.board->stop, true);
    end_job(&j, 10);
    assert_undisturbed(&j, 10);
    send_out(&early);
    send_out(&late);
}

/* The last rank goes by small steps until the others' doors are open. False: it was too quick. */
static bool catch_open_doors(job *j, listener *doors, int *count)
{
    hk_time limit = hk_deadline_after(5);
    while (!all_joined(j) && hk_deadline_left(limit) > 0) {
        kill(j->pids[WORLD - 1], SIGSTOP);
        *count = find_listeners(j, doors);
        if (*count > 1 || (*count == 1 && doors[0].port != j->port))
            return true;
        kill(j->pids[WORLD - 1], SIGCONT);
        usleep(STEP_US);
    }
    return false;
}

static void strangers_at_the_mesh_change_nothing(void **state)
{
    (void)state;
    static crowd c;
    int attacked = 0;
    for (int i = 0; i < TRIES && attacked == 0; i++) {
        job j;
        listener doors[LISTENERS_MAX];
        int count = 0;
        make_job(&j);
        for (int r = 0; r < WORLD; r++)
            start_rank(&j, r, SECRET, INIT_S);
        bool open = catch_open_doors(&j, doors, &count);
        for (int k = 0; k < count && open; k++)
            send_in(&c, doors[k].port, STRANGERS / count);
        attacked = open ? c.count : 0;
        kill(j.pids[WORLD - 1], SIGCONT);
        wait_until_joined(&j);
        usleep(100000);
        atomic_store(&j.board->stop, true);
        end_job(&j, 10);
        assert_undisturbed(&j, 10);
        send_out(&c);
    }
    print_message("%d strangers came to the mesh\n", attacked);
    assert_true(attacked > 0);
}

static void a_wrong_secret_is_turned_away(void **state)
{
    (void)state;
    job j;
    make_job(&j);
    for (int r = 0; r < WORLD; r++)
        start_rank(&j, r, r == 2 ? "the secret of another job" : SECRET, 2);
    end_job(&j, 10);
    for (int r = 0; r < WORLD; r++)
        if (j.board->ranks[r].status != HOCKET_ERR_AUTH)
            fail_msg("rank %d: %s: %s", r,
                     hocket_status_name((hocket_status)j.board->ranks[r].status),
                     j.board->ranks[r].text);
}

static void without_a_secret_ranks_listen_on_loopback_only(void **state)
{
    (void)state;
    job j;
    listener found[LISTENERS_MAX];
    make_job(&j);
    start_rank(&j, 0, NULL, INIT_S);
    wait_until_listening(&j);
    int count = find_listeners(&j, found);
    assert_int_equal(count, 1);
    assert_int_equal(found[0].address, htonl(INADDR_LOOPBACK));
    for (int r = 1; r < WORLD; r++)
        start_rank(&j, r, NULL, INIT_S);
    while (!all_joined(&j)) {
        count = find_listeners(&j, found);
        for (int i = 0; i < count; i++)
            assert_int_equal(found[i].address, htonl(INADDR_LOOPBACK));
    }
    atomic_store(&j.board->stop, true);
    end_job(&j, 10);
    assert_undisturbed(&j, 10);
}

static void without_a_secret_nobody_goes_beyond_loopback(void **state)
{
    (void)state;
    hocket_group *group;
    hocket_config config = {.size = sizeof config,
                            .backend = "tcp",
                            .world_size = 2,
                            .coordinator = "192.0.2.1:7000",
                            .init_timeout_s = 1};
    for (config.rank = 0; config.rank < 2; config.rank++)
        assert_int_equal(hocket_init(&config, &group), HOCKET_ERR_AUTH);
}

int main(void)
{
    unsetenv("HOCKET_SECRET");
    unsetenv("HOCKET_SECRET_FILE");
    unsetenv("HOCKET_INSECURE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_at_the_coordinator_change_nothing),
        cmocka_unit_test(strangers_at_the_mesh_change_nothing),
        cmocka_unit_test(a_wrong_secret_is_turned_away),
        cmocka_unit_test(without_a_secret_ranks_listen_on_loopback_only),
        cmocka_unit_test(without_a_secret_nobody_goes_beyond_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
