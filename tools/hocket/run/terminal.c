#include "run/terminal.h"

#include "run/launch.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define ROWS 24 /* where the terminal does not say */
#define COLUMNS 80

static struct {
    bool open, raw;
    struct termios before, during;
    int line; /* to who looks after it: RAW or COOKED; hung up when this process has ended */
    pid_t guard;
} terminal = {.line = -1};

enum { RAW = 'r', COOKED = 'c' };

bool hk_terminal_is_here(void)
{
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

void hk_terminal_size(uint32_t size[2])
{
    struct winsize window = {0};
    ioctl(STDIN_FILENO, TIOCGWINSZ, &window);
    size[0] = window.ws_row > 0 ? window.ws_row : ROWS;
    size[1] = window.ws_col > 0 ? window.ws_col : COLUMNS;
}

/* === Who looks after it ======================================================================= */

/* A shell that has its terminal again may have set it up already. */
static bool is_ours(void)
{
    struct termios now;
    return tcgetattr(STDIN_FILENO, &now) == 0 && now.c_lflag == terminal.during.c_lflag &&
           now.c_iflag == terminal.during.c_iflag && now.c_oflag == terminal.during.c_oflag;
}

static void look_after(int line)
{
    static const int deaf[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGTSTP,
                               SIGTTIN, SIGTTOU, SIGPIPE, SIGWINCH};
    char state = COOKED;
    for (size_t i = 0; i < sizeof deaf / sizeof *deaf; i++)
        signal(deaf[i], SIG_IGN);
    setpgid(0, 0);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    ssize_t got;
    do
        got = read(line, &state, 1);
    while (got > 0 || (got < 0 && errno == EINTR));
    if (state == RAW && is_ours())
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
    _exit(0);
}

/* The raw terminal's settings come before the fork: what it compares with is a copy. */
static void make_raw(void)
{
    terminal.during = terminal.before;
    terminal.during.c_iflag &=
        ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON | IXOFF);
    terminal.during.c_oflag &= ~(tcflag_t)OPOST;
    terminal.during.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    terminal.during.c_cc[VMIN] = 1;
    terminal.during.c_cc[VTIME] = 0;
}

bool hk_terminal_open(void)
{
    int line[2];
    if (tcgetattr(STDIN_FILENO, &terminal.before) < 0 || !hk_pipe_make(line))
        return false;
    make_raw();
    terminal.guard = fork();
    if (terminal.guard == 0) {
        close(line[1]);
        look_after(line[0]);
    }
    close(line[0]);
    terminal.line = line[1];
    terminal.open = terminal.guard > 0;
    return terminal.open;
}

/* === Raw and back ============================================================================= */

/* Also from the background, where that would stop who asks. */
static void set(const struct termios *settings)
{
    sigset_t output, before;
    sigemptyset(&output);
    sigaddset(&output, SIGTTOU);
    sigprocmask(SIG_BLOCK, &output, &before);
    tcsetattr(STDIN_FILENO, TCSADRAIN, settings);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void tell(char state)
{
    hk_write_all(terminal.line, &state, 1);
}

void hk_terminal_take(void)
{
    if (!terminal.open || terminal.raw || tcgetpgrp(STDIN_FILENO) != getpgrp())
        return;
    tell(RAW); /* before it is, so that no moment is without */
    set(&terminal.during);
    terminal.raw = true;
}

void hk_terminal_give_back(void)
{
    if (!terminal.raw)
        return;
    set(&terminal.before);
    tell(COOKED);
    terminal.raw = false;
}

void hk_terminal_close(void)
{
    hk_terminal_give_back();
    hk_terminal_forget();
    while (terminal.guard > 0 && waitpid(terminal.guard, NULL, 0) < 0 && errno == EINTR) {
    }
    terminal.guard = 0;
}

void hk_terminal_forget(void)
{
    terminal.open = false;
    hk_fd_close(&terminal.line);
}
