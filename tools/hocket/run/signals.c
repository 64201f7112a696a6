#include "run/signals.h"

#include "run/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define NAP_MS_MAX 60000

static int signal_pipe[2] = {-1, -1};

/* When the pipe is full, enough is waiting there. */
static void on_signal(int number)
{
    int error = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t written = write(signal_pipe[1], &byte, 1);
    (void)written;
    errno = error;
}

int hk_signals_catch(void)
{
    static const int numbers[] = {SIGCHLD, SIGINT,  SIGTERM, SIGHUP,
                                  SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};
    for (int end = 0; end < 2; end++)
        hk_fd_close(&signal_pipe[end]);
    if (!hk_pipe_make(signal_pipe))
        return -1;
    sigset_t none;
    sigemptyset(&none);
    for (int end = 0; end < 2; end++)
        fcntl(signal_pipe[end], F_SETFL, O_NONBLOCK);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
        sigaction(numbers[i], NULL, &before);
        /* nohup's wish. An ignored SIGINT, which shells give to background jobs, is no wish. */
        if (numbers[i] == SIGHUP && before.sa_handler == SIG_IGN)
            continue;
        sigaction(numbers[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return signal_pipe[0];
}

pid_t hk_signals_fork(void)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

void hk_signals_reset(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            signal(number, SIG_DFL);
    }
    signal(SIGPIPE, SIG_DFL); /* the launcher ignores it, and that would outlive exec */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

int64_t hk_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int hk_nap_until(int64_t when_ms)
{
    if (when_ms == HK_FOREVER)
        return -1;
    int64_t left = when_ms - hk_now_ms();
    return left < 0 ? 0 : left > NAP_MS_MAX ? NAP_MS_MAX : (int)left;
}
