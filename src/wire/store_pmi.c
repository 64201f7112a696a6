/* The simple wire protocol of PMI-1, which hydra (MPICH, Intel MPI) and Slurm's plugin for PMI-2
 * speak on the socket PMI_FD: a question is a line, and so is its answer.
 *
 *     cmd=init pmi_version=1 pmi_subversion=1     cmd=response_to_init ... rc=0
 *     cmd=get_maxes                               cmd=maxes kvsname_max=256 keylen_max=64
 * vallen_max=1024 cmd=get_my_kvsname                          cmd=my_kvsname kvsname=kvs_1_0
 *     cmd=put kvsname=K key=A value=B             cmd=put_result rc=0 msg=success
 *     cmd=barrier_in                              cmd=barrier_out
 *     cmd=get kvsname=K key=A                     cmd=get_result rc=0 msg=success value=B
 *     cmd=finalize                                cmd=finalize_ack
 *
 * MPI speaks it on the same socket. Nothing of ours is under way there between our questions, and a
 * second init is answered like the first, so both may use it in turn; finalize closes it for good.
 */
#include "wire/store_pmi.h"

#include "core/mpi_life.h"
#include "wire/socket.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define LINE_BYTES 2048 /* of a question or an answer, with its newline */
#define FAREWELL_PATIENCE (2 * HK_SECOND)
#define SHOWN 80 /* of an answer, in a sentence */

/* === Lines ==================================================================================== */

/* The value of a field of an answer, "... name=value ..."; false: there is none, or it is too long.
 */
static bool find_field(const char *line, const char *name, char *value, size_t size)
{
    size_t length = strlen(name);
    for (const char *at = line; *at != '\0'; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if (word > length && at[length] == '=' && memcmp(at, name, length) == 0) {
            word -= length + 1;
            if (word >= size)
                return false;
            memcpy(value, at + length + 1, word);
            value[word] = '\0';
            return true;
        }
        at += word;
    }
    return false;
}

static hocket_status fail_ended(int error)
{
    if (error == 0 || error == EPIPE || error == ECONNRESET)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "the launcher has closed PMI_FD, as it does after a program that has used "
                       "it ends");
    return hk_fail(HOCKET_ERR_UNAVAILABLE, "PMI_FD is of no use: %s", strerror(error));
}

static hocket_status say(int fd, const char *line, size_t length, hk_time deadline)
{
    while (length > 0) {
        if (!hk_socket_wait(fd, POLLOUT, deadline))
            return hk_fail(HOCKET_ERR_TIMEOUT, "the launcher does not read PMI_FD");
        ssize_t sent = send(fd, line, length, HK_SEND_FLAGS | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return fail_ended(errno);
        line += sent > 0 ? sent : 0;
        length -= sent > 0 ? (size_t)sent : 0;
    }
    return HOCKET_OK;
}

/* One line, without its newline. Nothing may follow it: nothing was asked. */
static hocket_status hear(int fd, char line[LINE_BYTES], hk_time deadline)
{
    size_t length = 0;
    while (length < LINE_BYTES) {
        if (!hk_socket_wait(fd, POLLIN, deadline))
            return hk_fail(HOCKET_ERR_TIMEOUT, "the launcher does not answer");
        ssize_t got = recv(fd, line + length, LINE_BYTES - length, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            continue;
        if (got <= 0)
            return fail_ended(got == 0 ? 0 : errno);
        char *newline = memchr(line + length, '\n', (size_t)got);
        length += (size_t)got;
        if (newline == NULL)
            continue;
        if (newline != line + length - 1 || memchr(line, '\0', length) != NULL)
            return hk_fail(HOCKET_ERR_PROTOCOL, "the launcher says more than it was asked");
        *newline = '\0';
        return HOCKET_OK;
    }
    return hk_fail(HOCKET_ERR_PROTOCOL, "the launcher's answer is longer than %d bytes",
                   LINE_BYTES);
}

/* Asks, and takes the answer, which must begin with "cmd=" and what is wanted. */
static hocket_status ask(int fd, hk_time deadline, char answer[LINE_BYTES], const char *wanted,
                         const char *format, ...) HK_PRINTF(5, 6);

static hocket_status ask(int fd, hk_time deadline, char answer[LINE_BYTES], const char *wanted,
                         const char *format, ...)
{
    char line[LINE_BYTES], command[64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof line)
        return hk_fail(HOCKET_ERR_INVALID, "a question of %d bytes is too long", length);
    hocket_status status = say(fd, line, (size_t)length, deadline);
    if (status == HOCKET_OK)
        status = hear(fd, answer, deadline);
    if (status != HOCKET_OK)
        return status;
    if (!find_field(answer, "cmd", command, sizeof command) || strcmp(command, wanted) != 0)
        return hk_fail(HOCKET_ERR_PROTOCOL, "the launcher answers \"%.*s\", not %s", SHOWN, answer,
                       wanted);
    return HOCKET_OK;
}

static bool is_success(const char *answer)
{
    char code[16];
    return !find_field(answer, "rc", code, sizeof code) || strcmp(code, "0") == 0;
}

static hocket_status fail_refused(const char *what, const char *answer)
{
    return hk_fail(HOCKET_ERR_UNAVAILABLE, "the launcher refuses %s: \"%.*s\"", what, SHOWN,
                   answer);
}

/* === Questions ================================================================================ */

static hocket_status greet(hk_pmi *pmi, hk_time deadline)
{
    char answer[LINE_BYTES], number[16];
    hocket_status status = ask(pmi->fd, deadline, answer, "response_to_init",
                               "cmd=init pmi_version=1 pmi_subversion=1\n");
    if (status == HOCKET_OK && !is_success(answer))
        return fail_refused("PMI 1.1", answer);
    if (status == HOCKET_OK)
        status = ask(pmi->fd, deadline, answer, "maxes", "cmd=get_maxes\n");
    if (status != HOCKET_OK)
        return status;
    if (!find_field(answer, "vallen_max", number, sizeof number) ||
        strtol(number, NULL, 10) < HK_WORD_MAX ||
        !find_field(answer, "keylen_max", number, sizeof number) ||
        strtol(number, NULL, 10) < HK_STORE_KEY_MAX)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "the launcher keeps too short words: \"%.*s\"",
                       SHOWN, answer);
    status = ask(pmi->fd, deadline, answer, "my_kvsname", "cmd=get_my_kvsname\n");
    if (status != HOCKET_OK)
        return status;
    if (!find_field(answer, "kvsname", pmi->space, sizeof pmi->space) || pmi->space[0] == '\0')
        return hk_fail(HOCKET_ERR_PROTOCOL, "the launcher names no space: \"%.*s\"", SHOWN, answer);
    pmi->greeted = true;
    return HOCKET_OK;
}

static hocket_status get(const hk_pmi *pmi, int number, hk_time deadline, bool *found,
                         char word[HK_WORD_MAX])
{
    char answer[LINE_BYTES], key[HK_STORE_KEY_MAX], value[LINE_BYTES];
    hk_store_key(number, key);
    hocket_status status = ask(pmi->fd, deadline, answer, "get_result",
                               "cmd=get kvsname=%s key=%s\n", pmi->space, key);
    *found = status == HOCKET_OK && is_success(answer);
    if (!*found)
        return status;
    if (!find_field(answer, "value", value, sizeof value))
        return hk_fail(HOCKET_ERR_PROTOCOL, "the launcher gives no word: \"%.*s\"", SHOWN, answer);
    return hk_store_take(value, word);
}

/* The last word, and the first number without one. */
static hocket_status get_last(const hk_pmi *pmi, hk_time deadline, int *next,
                              char word[HK_WORD_MAX])
{
    hocket_status status = HOCKET_OK;
    bool found = true;
    word[0] = '\0';
    for (*next = 0; status == HOCKET_OK && found;) {
        if (++*next > HK_WORDS_MAX)
            return hk_fail(HOCKET_ERR_UNAVAILABLE, "there are too many words: %d", HK_WORDS_MAX);
        status = get(pmi, *next, deadline, &found, word);
    }
    return status;
}

static hocket_status put(const hk_pmi *pmi, const char *word, hk_time deadline)
{
    char answer[LINE_BYTES], key[HK_STORE_KEY_MAX], last[HK_WORD_MAX];
    int next;
    hocket_status status = get_last(pmi, deadline, &next, last);
    if (status != HOCKET_OK)
        return status;
    hk_store_key(next, key);
    status = ask(pmi->fd, deadline, answer, "put_result", "cmd=put kvsname=%s key=%s value=%s\n",
                 pmi->space, key, word);
    return status == HOCKET_OK && !is_success(answer) ? fail_refused("a word", answer) : status;
}

static hocket_status meet(const hk_pmi *pmi, hk_time deadline)
{
    char answer[LINE_BYTES];
    hocket_status status = ask(pmi->fd, deadline, answer, "barrier_out", "cmd=barrier_in\n");
    if (status == HOCKET_ERR_TIMEOUT)
        return hk_fail(status, "not all ranks have come to its barrier");
    return status == HOCKET_OK && !is_success(answer) ? fail_refused("a barrier", answer) : status;
}

/* What is put before a barrier is there for all behind it. */
hocket_status hk_pmi_talk(hk_pmi *pmi, const char *mine, hk_time deadline, char word[HK_WORD_MAX])
{
    struct pollfd door = {.fd = pmi->fd, .events = POLLIN};
    int next;
    if (poll(&door, 1, 0) > 0 && (door.revents & POLLIN) != 0 &&
        recv(pmi->fd, word, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "someone else is talking on PMI_FD");
    hocket_status status = pmi->greeted ? HOCKET_OK : greet(pmi, deadline);
    if (status == HOCKET_OK && mine != NULL)
        status = put(pmi, mine, deadline);
    if (status == HOCKET_OK)
        status = meet(pmi, deadline);
    if (status == HOCKET_OK)
        status = get_last(pmi, deadline, &next, word);
    if (status == HOCKET_OK && word[0] == '\0')
        return hk_fail(HOCKET_ERR_PROTOCOL, "rank 0 has left no word");
    return status;
}

/* === The process's own ======================================================================== */

static hk_pmi own = {.fd = -1};
static struct stat own_socket;

/* PMI_FD, where it is still what the launcher has made: MPI closes it when it is finalised, and
 * then any file may get its number. */
static hocket_status find_socket(int *fd, struct stat *found)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    const char *text = hk_variable("PMI_FD");
    char *end = NULL;
    long number = text != NULL ? strtol(text, &end, 10) : -1;
    if (number < 0 || number > INT_MAX || *end != '\0')
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "PMI_FD is \"%.32s\": no descriptor",
                       text != NULL ? text : "");
    *fd = (int)number;
    if (fstat(*fd, found) != 0 || !S_ISSOCK(found->st_mode) ||
        getsockname(*fd, (struct sockaddr *)&name, &length) != 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "PMI_FD=%ld is no socket of the launcher's", number);
#ifdef SO_NOSIGPIPE /* where send() has no flag for it */
    (void)setsockopt(*fd, SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
    return HOCKET_OK;
}

static bool is_same(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

hocket_status hk_pmi_exchange(int rank, const char *mine, hk_time deadline, char word[HK_WORD_MAX])
{
    (void)rank;
    int fd;
    struct stat found;
    hocket_status status = find_socket(&fd, &found);
    if (status != HOCKET_OK)
        return status;
    if (own.fd != fd || !is_same(&own_socket, &found))
        own = (hk_pmi){.fd = fd};
    own_socket = found;
    hk_store_joined();
    return hk_pmi_talk(&own, mine, deadline, word);
}

/* Not when MPI has begun: then it says so itself, or has. */
void hk_pmi_leave(void)
{
    struct stat found;
    char answer[LINE_BYTES];
    int fd;
    hk_mpi_life mpi = hk_mpi_look();
    if (mpi == HK_MPI_RUNNING || mpi == HK_MPI_OVER || find_socket(&fd, &found) != HOCKET_OK ||
        fd != own.fd || !is_same(&own_socket, &found))
        return;
    (void)ask(fd, hk_now() + FAREWELL_PATIENCE, answer, "finalize_ack", "cmd=finalize\n");
}
