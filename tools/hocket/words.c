#include "words.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048
#define WORD_MAX 31 /* longer words are not compared */

void hk_complain(const char *command, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    int length =
        snprintf(line, sizeof line, "hocket%s%s: ", command ? " " : "", command ? command : "");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
    va_end(arguments);
    size_t total = strlen(line);
    line[total++] = '\n';
    /* Nobody can be told when stderr itself is closed. */
    ssize_t written = write(STDERR_FILENO, line, total);
    (void)written;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* How many letters to add, drop, change or swap with their neighbour to get from a to b, each of at
 * most WORD_MAX letters: Levenshtein's distance with swaps. cost[i][j] is that of a's first i
 * letters and b's first j. */
static int distance(const char *a, const char *b)
{
    int cost[WORD_MAX + 1][WORD_MAX + 1];
    int rows = (int)strlen(a), columns = (int)strlen(b);
    for (int i = 0; i <= rows; i++) {
        for (int j = 0; j <= columns; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            cost[i][j] = least(cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
                               least(cost[i - 1][j], cost[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                cost[i][j] = least(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    }
    return cost[rows][columns];
}

const char *hk_closest(const char *word, const char *const *candidates, int count)
{
    size_t length = strlen(word);
    if (length == 0 || length > WORD_MAX)
        return NULL;
    const char *best = NULL;
    int best_distance = length < 4 ? 1 : 2; /* what is farther away is another word */
    for (int i = 0; i < count; i++) {
        if (strlen(candidates[i]) > WORD_MAX)
            continue;
        int d = distance(word, candidates[i]);
        if (d < best_distance || (d == best_distance && !best)) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}

const char *hk_signal_name(int signal_number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {
        {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
        {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
        {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"}, {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
        {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"}, {SIGXCPU, "SIGXCPU"},
        {SIGXFSZ, "SIGXFSZ"}, {SIGSYS, "SIGSYS"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].number == signal_number)
            return names[i].name;
    }
    return NULL;
}
