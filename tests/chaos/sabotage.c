#include "chaos.h"

#include <errno.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILES_MAX 256

static struct {
    fault kind;
    board *board;
    _Atomic int64_t *at;
    hocket_group *group;
    long delay_us;
    pthread_t victim; /* the main thread */
    pthread_t thread;
    bool under_way;
} deed;

/* In the main thread, so that it sees all its connections end at once. */
static void cut(int number)
{
    (void)number;
    int error = errno;
    for (int fd = 3; fd < FILES_MAX; fd++) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
            (peer.ss_family == AF_INET || peer.ss_family == AF_INET6))
            shutdown(fd, SHUT_RDWR);
    }
    errno = error;
}

static void *break_something(void *unused)
{
    chaos_sleep_us(deed.delay_us);
    atomic_store(deed.at, chaos_now());
    switch (deed.kind) {
    case FAULT_EXIT: _exit(0);
    case FAULT_CUT: pthread_kill(deed.victim, SIGUSR1); break;
    case FAULT_ABORT: hocket_abort(deed.group, "chaos"); break;
    case FAULT_FREEZE:
    case FAULT_FREEZE_INIT:
    case FAULT_LATE_MESSAGE: kill(getpid(), SIGSTOP); break;
    default: kill(getpid(), SIGKILL); break;
    }
    return unused;
}

void sabotage(const plan *p, board *b, int rank, hocket_group *group, long delay_us)
{
    deed.kind = p->kind;
    deed.board = b;
    deed.at = rank == p->victim ? &b->fault_at : &b->second_at;
    deed.group = group;
    deed.delay_us = delay_us;
    deed.victim = pthread_self();
    signal(SIGUSR1, cut);
    deed.under_way = pthread_create(&deed.thread, NULL, break_something, NULL) == 0;
}

void sabotage_is_over(void)
{
    if (deed.under_way)
        pthread_join(deed.thread, NULL);
    deed.under_way = false;
}
