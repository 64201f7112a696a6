/* What a launcher answers over PMI-1: whatever it says, hk_pmi_talk ends, with a word or a failure.
 */
#include "input.h"
#include "wire/socket.h"
#include "wire/store_pmi.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MAX = 4096 };
#define PATIENCE (5 * HK_MILLISECOND)

typedef struct launcher {
    int fd;
    fuzz_input input;
} launcher;

/* The right answers up to some question; from there on what the input has. */
static const char *const right[] = {
    "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n",
    "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024\n",
    "cmd=my_kvsname kvsname=kvs\n",
    "cmd=barrier_out\n",
    "cmd=get_result rc=0 msg=success value=word\n",
};

static void *answer(void *argument)
{
    launcher *l = argument;
    char asked[ANSWER_MAX];
    uint8_t good = fuzz_byte(&l->input) % 6;
    for (int i = 0; read(l->fd, asked, sizeof asked) > 0; i++) {
        if (i < good && i < 5) {
            if (send(l->fd, right[i], strlen(right[i]), HK_SEND_FLAGS) < 0)
                break;
            continue;
        }
        uint8_t how = fuzz_byte(&l->input);
        char *text = fuzz_text(&l->input, '\n');
        size_t length = strlen(text);
        ssize_t sent = send(l->fd, text, length, HK_SEND_FLAGS);
        free(text);
        if (sent < 0 || l->input.left == 0 ||
            ((how & 1) && send(l->fd, "\n", 1, HK_SEND_FLAGS) < 0))
            break;
    }
    shutdown(l->fd, SHUT_RDWR);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ends[2];
    pthread_t thread;
    char word[HK_WORD_MAX];
    fuzz_input input = {data, size};
    uint8_t first = fuzz_byte(&input) & 1;
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    launcher l = {ends[0], input};
    hk_pmi pmi = {.fd = ends[1]};
    FUZZ_CHECK(pthread_create(&thread, NULL, answer, &l) == 0);
    hocket_status status = hk_pmi_talk(&pmi, first ? "mine" : NULL, hk_now() + PATIENCE, word);
    if (status == HOCKET_OK)
        FUZZ_CHECK(pmi.greeted && strnlen(word, sizeof word) < sizeof word && word[0] != '\0');
    else
        FUZZ_CHECK(status == HOCKET_ERR_UNAVAILABLE || status == HOCKET_ERR_TIMEOUT ||
                   status == HOCKET_ERR_PROTOCOL);
    FUZZ_CHECK(strnlen(pmi.space, sizeof pmi.space) < sizeof pmi.space);
    close(ends[1]);
    pthread_join(thread, NULL);
    close(ends[0]);
    return 0;
}
