/* The launchers' stores: PMI-1 against a server that is right and ones that are not, and the notice
 * that rank 0 leaves there. The real ones are tests/stores.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "wire/address.h"
#include "wire/notice.h"
#include "wire/store_pmi.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#define RANKS 3
#define PATIENCE (20 * HK_SECOND)
#define SHORT HK_SECOND
#define LINE 4096
#define PAIRS 16

/* === A launcher =============================================================================== */

typedef struct server {
    int ends[RANKS]; /* its ends of the ranks' sockets */
    int waiting;     /* ranks in the barrier */
    char keys[PAIRS][64], values[PAIRS][HK_WORD_MAX];
    int pairs;
    int inits;
} server;

static void answer(const server *s, int rank, const char *line)
{
    if (write(s->ends[rank], line, strlen(line)) < 0)
        perror("write");
}

static void answer_get(const server *s, int rank, const char *key)
{
    char line[LINE];
    for (int i = 0; i < s->pairs; i++) {
        if (strcmp(s->keys[i], key) == 0) {
            snprintf(line, sizeof line, "cmd=get_result rc=0 msg=success value=%s\n", s->values[i]);
            answer(s, rank, line);
            return;
        }
    }
    answer(s, rank, "cmd=get_result rc=-1 msg=key_not_found value=unknown\n");
}

static void serve(server *s, int rank, const char *line)
{
    char key[64], value[HK_WORD_MAX];
    if (strcmp(line, "cmd=init pmi_version=1 pmi_subversion=1") == 0) {
        s->inits++;
        answer(s, rank, "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n");
    } else if (strcmp(line, "cmd=get_maxes") == 0) {
        answer(s, rank, "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024\n");
    } else if (strcmp(line, "cmd=get_my_kvsname") == 0) {
        answer(s, rank, "cmd=my_kvsname kvsname=kvs_7\n");
    } else if (sscanf(line, "cmd=get kvsname=kvs_7 key=%63s", key) == 1) {
        answer_get(s, rank, key);
    } else if (sscanf(line, "cmd=put kvsname=kvs_7 key=%63s value=%479s", key, value) == 2) {
        snprintf(s->keys[s->pairs], sizeof s->keys[0], "%s", key);
        snprintf(s->values[s->pairs++], sizeof s->values[0], "%s", value);
        answer(s, rank, "cmd=put_result rc=0 msg=success\n");
    } else if (strcmp(line, "cmd=barrier_in") == 0) {
        if (++s->waiting == RANKS) {
            s->waiting = 0;
            for (int i = 0; i < RANKS; i++)
                answer(s, i, "cmd=barrier_out\n");
        }
    } else {
        answer(s, rank, "cmd=what\n");
    }
}

/* Until all have hung up. */
static void *run_server(void *argument)
{
    server *s = argument;
    for (int open = RANKS; open > 0;) {
        struct pollfd fds[RANKS];
        for (int i = 0; i < RANKS; i++)
            fds[i] = (struct pollfd){.fd = s->ends[i], .events = POLLIN};
        poll(fds, RANKS, -1);
        for (int i = 0; i < RANKS; i++) {
            char line[LINE];
            ssize_t got = fds[i].revents != 0 ? read(s->ends[i], line, sizeof line - 1) : -1;
            if (fds[i].revents != 0 && got <= 0) {
                close(s->ends[i]);
                s->ends[i] = -1;
                open--;
            } else if (got > 0) { /* a rank waits for its answer, so this is one line */
                line[got - 1] = '\0';
                serve(s, i, line);
            }
        }
    }
    return NULL;
}

typedef struct client {
    int rank;
    const char *mine; /* of rank 0 */
    hk_pmi pmi;
    char word[HK_WORD_MAX];
    hocket_status status;
} client;

static void *run_client(void *argument)
{
    client *c = argument;
    c->status = hk_pmi_talk(&c->pmi, c->rank == 0 ? c->mine : NULL, hk_now() + PATIENCE, c->word);
    return NULL;
}

/* Rank 0 has no other word before all have come to it by this one. */
static void exchange(client *clients, const char *word)
{
    pthread_t threads[RANKS];
    for (int i = 0; i < RANKS; i++) {
        clients[i].mine = word;
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    }
    for (int i = 0; i < RANKS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < RANKS; i++) {
        assert_int_equal(clients[i].status, HOCKET_OK);
        assert_string_equal(clients[i].word, word);
    }
}

static void all_ranks_get_each_word_of_rank_0(void **state)
{
    (void)state;
    server s = {.pairs = 1, .keys = {"hocket-1"}, .values = {"of-a-program-before"}};
    client clients[RANKS];
    pthread_t thread;
    for (int i = 0; i < RANKS; i++) {
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        s.ends[i] = ends[0];
        clients[i] = (client){.rank = i, .pmi = {.fd = ends[1]}};
    }
    assert_int_equal(pthread_create(&thread, NULL, run_server, &s), 0);
    exchange(clients, "hocket.1/own/10.0.0.1:4711");
    exchange(clients, "second");
    for (int i = 0; i < RANKS; i++)
        close(clients[i].pmi.fd);
    pthread_join(thread, NULL);
    assert_int_equal(s.inits, RANKS);
    assert_int_equal(s.pairs, 3);
}

/* === Answers that are none ==================================================================== */

#define INIT "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n"
#define MAXES "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024\n"
#define NAME "cmd=my_kvsname kvsname=k\n"
#define OUT "cmd=barrier_out\n"
#define NONE "cmd=get_result rc=-1 msg=none value=unknown\n"

typedef struct script {
    const char *lines[8]; /* one to each question; then nothing, or the end */
    bool ends;
    hocket_status status;
    const char *says;
} script;

static const script scripts[] = {
    {{NULL}, true, HOCKET_ERR_UNAVAILABLE, "has closed PMI_FD"},
    {{NULL}, false, HOCKET_ERR_TIMEOUT, "does not answer"},
    {{"cmd=response_to_init rc=-1\n"}, false, HOCKET_ERR_UNAVAILABLE, "refuses PMI 1.1"},
    {{"cmd=maxes\n"}, false, HOCKET_ERR_PROTOCOL, "not response_to_init"},
    {{"rc=0\n"}, false, HOCKET_ERR_PROTOCOL, "not response_to_init"},
    {{"\n"}, false, HOCKET_ERR_PROTOCOL, "not response_to_init"},
    {{INIT MAXES}, false, HOCKET_ERR_PROTOCOL, "more than it was asked"},
    {{INIT, "cmd=maxes keylen_max=64 vallen_max=100\n"},
     false,
     HOCKET_ERR_UNAVAILABLE,
     "too short"},
    {{INIT, "cmd=maxes keylen_max=6 vallen_max=1024\n"},
     false,
     HOCKET_ERR_UNAVAILABLE,
     "too short"},
    {{INIT, MAXES, "cmd=my_kvsname\n"}, false, HOCKET_ERR_PROTOCOL, "names no space"},
    {{INIT, MAXES, "cmd=my_kvsname kvsname=\n"}, false, HOCKET_ERR_PROTOCOL, "names no space"},
    {{INIT, MAXES, NAME}, false, HOCKET_ERR_TIMEOUT, "not all ranks have come"},
    {{INIT, MAXES, NAME}, true, HOCKET_ERR_UNAVAILABLE, "has closed PMI_FD"},
    {{INIT, MAXES, NAME, "cmd=barrier_out rc=1\n"}, false, HOCKET_ERR_UNAVAILABLE, "a barrier"},
    {{INIT, MAXES, NAME, OUT, NONE}, false, HOCKET_ERR_PROTOCOL, "left no word"},
    {{INIT, MAXES, NAME, OUT, "cmd=get_result rc=0\n"}, false, HOCKET_ERR_PROTOCOL, "no word"},
    {{INIT, MAXES, NAME, OUT, "cmd=get_result rc=0 value=w\n", NONE}, false, HOCKET_OK, "w"},
};

typedef struct actor {
    int fd;
    const script *script;
} actor;

static void *act(void *argument)
{
    const actor *a = argument;
    char line[LINE];
    for (int i = 0; a->script->lines[i] != NULL; i++) {
        if (read(a->fd, line, sizeof line) <= 0 ||
            write(a->fd, a->script->lines[i], strlen(a->script->lines[i])) < 0)
            break;
    }
    if (a->script->ends && read(a->fd, line, sizeof line) > 0)
        shutdown(a->fd, SHUT_RDWR);
    while (read(a->fd, line, sizeof line) > 0) {
    }
    return NULL;
}

static hocket_status talk_to(const script *script, char word[HK_WORD_MAX])
{
    int ends[2];
    pthread_t thread;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    actor a = {ends[0], script};
    hk_pmi pmi = {.fd = ends[1]};
    bool waits = script->status == HOCKET_ERR_TIMEOUT;
    assert_int_equal(pthread_create(&thread, NULL, act, &a), 0);
    hocket_status status = hk_pmi_talk(&pmi, NULL, hk_now() + (waits ? SHORT : PATIENCE), word);
    close(ends[1]);
    pthread_join(thread, NULL);
    close(ends[0]);
    return status;
}

static void wrong_answers_are_told(void **state)
{
    (void)state;
    char word[HK_WORD_MAX];
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        hocket_status status = talk_to(&scripts[i], word);
        const char *said = status == HOCKET_OK ? word : hocket_last_error();
        if (status != scripts[i].status || strstr(said, scripts[i].says) == NULL)
            fail_msg("script %zu: %d, %s", i, (int)status, said);
    }
}

static void long_answers_are_refused(void **state)
{
    (void)state;
    char word[HK_WORD_MAX], line[LINE], found[LINE];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    script endless = {{line}, false, HOCKET_ERR_PROTOCOL, NULL};
    assert_int_equal(talk_to(&endless, word), HOCKET_ERR_PROTOCOL);
    assert_non_null(strstr(hocket_last_error(), "longer than"));
    snprintf(found, sizeof found, "cmd=get_result rc=0 value=%.600s\n", line);
    script wide = {{INIT, MAXES, NAME, OUT, found}, false, HOCKET_ERR_PROTOCOL, NULL};
    assert_int_equal(talk_to(&wide, word), HOCKET_ERR_PROTOCOL);
    assert_non_null(strstr(hocket_last_error(), "too long"));
    snprintf(found, sizeof found, "cmd=my_kvsname kvsname=%.300s\n", line);
    script named = {{INIT, MAXES, found}, false, HOCKET_ERR_PROTOCOL, NULL};
    assert_int_equal(talk_to(&named, word), HOCKET_ERR_PROTOCOL);
}

/* What lies there unasked is an answer to someone else. */
static void a_socket_in_use_is_left_alone(void **state)
{
    (void)state;
    int ends[2];
    char word[HK_WORD_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(write(ends[0], "cmd=", 4), 4);
    hk_pmi pmi = {.fd = ends[1]};
    assert_int_equal(hk_pmi_talk(&pmi, NULL, hk_now() + SHORT, word), HOCKET_ERR_UNAVAILABLE);
    assert_non_null(strstr(hocket_last_error(), "someone else"));
    char asked;
    assert_int_equal(recv(ends[0], &asked, 1, MSG_DONTWAIT), -1); /* nothing was said */
    close(ends[0]);
    close(ends[1]);
}

/* === The notice =============================================================================== */

#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static hk_settings settings;

static hocket_status take(const char *text, const char *secret)
{
    settings = (hk_settings){.rank = 1, .world_size = 2, .store = HK_STORE_PMI};
    settings.secret_length = strlen(secret);
    memcpy(settings.secret, secret, settings.secret_length);
    return hk_notice_read(text, &settings);
}

static void notices_are_read(void **state)
{
    (void)state;
    assert_int_equal(take("hocket.1/" DIGITS "/10.0.0.1:1/[fd00::1]:2", ""), HOCKET_OK);
    assert_string_equal(settings.coordinator, "10.0.0.1:1/[fd00::1]:2");
    assert_int_equal(settings.secret_length, 64);
    assert_memory_equal(settings.secret, DIGITS, 64);
    assert_int_equal(take("hocket.1/own/10.0.0.1:1", "a secret of my own"), HOCKET_OK);
    assert_memory_equal(settings.secret, "a secret of my own", 18);
    assert_int_equal(take("hocket.1/own/10.0.0.1:1", ""), HOCKET_ERR_AUTH);
    assert_int_equal(take("hocket.1/" DIGITS "/10.0.0.1:1", "a secret of my own"), HOCKET_ERR_AUTH);
    assert_int_equal(take("hocket.1/!", ""), HOCKET_ERR_SYSTEM);
    settings = (hk_settings){.rank = 1, .world_size = 2, .encrypt = true};
    assert_int_equal(hk_notice_read("hocket.1/" DIGITS "/1.2.3.4:5", &settings), HOCKET_ERR_AUTH);
    assert_non_null(strstr(hocket_last_error(), "HOCKET_ENCRYPT=1"));
}

static void other_texts_are_no_notices(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "hocket.1/",
                                      "hocket.2/own/1.2.3.4:5",
                                      "hocket.1/" DIGITS,
                                      "hocket.1/" DIGITS "/",
                                      "hocket.1/" DIGITS "0/1.2.3.4:5",
                                      "hocket.1/ABC/1.2.3.4:5",
                                      "hocket.1//1.2.3.4:5",
                                      "hocket.1/" DIGITS "/name:5",
                                      "hocket.1/" DIGITS "/1.2.3.4:0",
                                      "hocket.1/" DIGITS "/1.2.3.4:5/",
                                      "hocket.1/" DIGITS "/1.2.3.4:5,6",
                                      "hocket.1/" DIGITS "/1.2.3.4",
                                      "hocket.1/" DIGITS "/1.2.3.4:5//1.2.3.4:5"};
    char wide[2 * HK_COORDINATOR_MAX] = "hocket.1/" DIGITS;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (take(bad[i], "") != HOCKET_ERR_PROTOCOL)
            fail_msg("\"%s\" is taken", bad[i]);
        assert_int_equal(settings.secret_length, 0);
    }
    while (strlen(wide) < HK_COORDINATOR_MAX + 80)
        strcat(wide, "/1.2.3.4:5");
    assert_int_equal(take(wide, ""), HOCKET_ERR_PROTOCOL);
}

static void choices_may_be_of_several_hosts(void **state)
{
    (void)state;
    static const char *const texts[] = {"a:1,2/[b::c]:3/d:4,5", "a:1", "[::1]:7,8"};
    static const char *const choices[][6] = {{"a:1", "a:2", "[b::c]:3", "d:4", "d:5", NULL},
                                             {"a:1", NULL},
                                             {"[::1]:7", "[::1]:8", NULL}};
    char one[HK_COORDINATOR_MAX];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int n = 0;
        for (; choices[i][n] != NULL; n++) {
            assert_true(hk_address_choice(texts[i], n, one, sizeof one));
            assert_string_equal(one, choices[i][n]);
        }
        assert_false(hk_address_choice(texts[i], n, one, sizeof one));
    }
    assert_false(hk_address_choice("a:1/host-b:22", 1, one, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_ranks_get_each_word_of_rank_0),
        cmocka_unit_test(wrong_answers_are_told),
        cmocka_unit_test(long_answers_are_refused),
        cmocka_unit_test(a_socket_in_use_is_left_alone),
        cmocka_unit_test(notices_are_read),
        cmocka_unit_test(other_texts_are_no_notices),
        cmocka_unit_test(choices_may_be_of_several_hosts),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
