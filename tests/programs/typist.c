/* Someone at a terminal, for the launcher's tests: typist STEP... -- PROGRAM [ARGUMENT...]. The
 * program runs in the foreground of a terminal, started as a shell would. Steps, each with a limit:
 *
 *   type:TEXT      TEXT is typed
 *   expect:TEXT    the terminal shows TEXT, after what was expected before
 *   size:R,C       the terminal gets this size
 *   kill:N         the program gets signal N
 *   raw            the terminal is as a program wants it that reads every key
 *   cooked         it is as it was at the beginning
 *   ends:STATUS    the program ends so; 128 and more: by a signal
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 20000
#define SHOWN_MAX (1 << 16)

static int terminal, news; /* ours of the terminal; the shell's reports: pid, then status */
static char shown[SHOWN_MAX];
static size_t shown_bytes, expected_bytes;
static struct termios first;
static pid_t shell, program; /* 0 until they are there */

static int fail(const char *step, const char *why)
{
    fprintf(stderr, "typist: %s: %s; shown after what was expected last:\n%s\n", step, why,
            shown + expected_bytes);
    if (program > 0)
        kill(program, SIGKILL);
    if (shell > 0)
        kill(shell, SIGKILL);
    exit(1);
}

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

/* Takes in what is shown, for up to so long. */
static void look(int ms)
{
    struct pollfd fd = {.fd = terminal, .events = POLLIN};
    if (poll(&fd, 1, ms) <= 0 || shown_bytes + 1 >= SHOWN_MAX)
        return;
    ssize_t got = read(terminal, shown + shown_bytes, SHOWN_MAX - 1 - shown_bytes);
    if (got <= 0) { /* nobody has it open just now */
        poll(NULL, 0, ms);
        return;
    }
    shown_bytes += (size_t)got;
}

/* === The program ============================================================================== */

static void be_shell(const char *name, int report, char **words)
{
    int status = 0;
    setsid();
    int fd = open(name, O_RDWR);
    ioctl(fd, TIOCSCTTY, 0);
    signal(SIGTTOU, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        tcsetpgrp(fd, getpid());
        signal(SIGTTOU, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        for (int i = 0; i < 3; i++)
            dup2(fd, i);
        if (fd > 2)
            close(fd);
        execvp(words[0], words);
        _exit(127);
    }
    if (write(report, &pid, sizeof pid) < 0)
        _exit(1);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    tcsetpgrp(fd, getpgrp());
    if (write(report, &status, sizeof status) < 0)
        _exit(1);
    pause(); /* it keeps the terminal */
}

static void start(char **words)
{
    int reports[2];
    terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0 || pipe(reports) < 0)
        fail("start", strerror(errno));
    fcntl(terminal, F_SETFD, FD_CLOEXEC);
    fcntl(reports[0], F_SETFD, FD_CLOEXEC);
    fcntl(reports[1], F_SETFD, FD_CLOEXEC);
    int other = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC); /* so that it is there */
    tcgetattr(other, &first);
    shell = fork();
    if (shell == 0)
        be_shell(ptsname(terminal), reports[1], words);
    close(reports[1]);
    news = reports[0];
    if (read(news, &program, sizeof program) != sizeof program)
        fail("start", "no program");
}

/* === Steps ==================================================================================== */

static void expect(const char *step, const char *text)
{
    long until = now_ms() + LIMIT_MS;
    const char *found;
    while ((found = strstr(shown + expected_bytes, text)) == NULL) {
        if (now_ms() > until)
            fail(step, "not shown");
        look(50);
    }
    expected_bytes = (size_t)(found - shown) + strlen(text);
}

static bool same_settings(const struct termios *one, const struct termios *other)
{
    return one->c_iflag == other->c_iflag && one->c_oflag == other->c_oflag &&
           one->c_cflag == other->c_cflag && one->c_lflag == other->c_lflag &&
           memcmp(one->c_cc, other->c_cc, sizeof one->c_cc) == 0;
}

static void settings(const char *step, bool raw)
{
    long until = now_ms() + LIMIT_MS;
    for (;;) {
        struct termios now;
        tcgetattr(terminal, &now);
        bool is_raw = (now.c_lflag & (ICANON | ECHO | ISIG)) == 0 && (now.c_oflag & OPOST) == 0;
        if (raw ? is_raw : same_settings(&now, &first))
            return;
        if (now_ms() > until)
            fail(step, "it is not");
        look(20);
    }
}

static void ends(const char *step, int wanted)
{
    long until = now_ms() + LIMIT_MS;
    struct pollfd fd = {.fd = news, .events = POLLIN};
    while (poll(&fd, 1, 0) <= 0) {
        if (now_ms() > until)
            fail(step, "it has not");
        look(20);
    }
    int status = 0;
    if (read(news, &status, sizeof status) != sizeof status)
        fail(step, "no status");
    status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (status != wanted) {
        char why[64];
        snprintf(why, sizeof why, "it ended with %d", status);
        fail(step, why);
    }
}

static void take(const char *step)
{
    const char *colon = strchr(step, ':'), *text = colon != NULL ? colon + 1 : "";
    struct winsize size = {0};
    if (strncmp(step, "type:", 5) == 0) {
        if (write(terminal, text, strlen(text)) < 0)
            fail(step, strerror(errno));
    } else if (strncmp(step, "expect:", 7) == 0) {
        expect(step, text);
    } else if (sscanf(step, "size:%hu,%hu", &size.ws_row, &size.ws_col) == 2) {
        ioctl(terminal, TIOCSWINSZ, &size);
    } else if (strncmp(step, "kill:", 5) == 0) {
        kill(program, atoi(text));
    } else if (strcmp(step, "raw") == 0 || strcmp(step, "cooked") == 0) {
        settings(step, step[0] == 'r');
    } else if (strncmp(step, "ends:", 5) == 0) {
        ends(step, atoi(text));
    } else {
        fail(step, "there is no such step");
    }
}

int main(int argc, char **argv)
{
    int at = 1;
    while (at < argc && strcmp(argv[at], "--") != 0)
        at++;
    if (at + 1 >= argc)
        fail("start", "typist STEP... -- PROGRAM");
    start(argv + at + 1);
    for (int i = 1; i < at; i++)
        take(argv[i]);
    kill(shell, SIGKILL);
    waitpid(shell, NULL, 0);
    return 0;
}
