/* A rank for the launcher's tests: rank MODE [ARGUMENT]. It uses nothing of the library.
 *
 *   meet          rank 0 listens on HOCKET_COORDINATOR until all others have connected
 *   lines COUNT   COUNT long lines with characters of 1 to 4 bytes, written in crumbs
 *   long          one line of 200000 bytes of 3-byte characters
 *   tail          a line without its newline
 *   family        prints its pid, a child's, and that of a child that left the session; all sleep
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TRIES 1000 /* of 10 ms each */

static int number_from(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : -1;
}

static void nap_ms(int ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L};
    nanosleep(&t, NULL);
}

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

/* Whoever does not share the address must not get the port: the launcher keeps it for rank 0. */
static bool is_kept(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool kept = bind(fd, (const struct sockaddr *)address, sizeof *address) < 0;
    close(fd);
    return kept;
}

static int listen_for(const struct sockaddr_in *address, int others)
{
    if (!is_kept(address)) {
        fprintf(stderr, "rank 0's port was free for anyone\n");
        return 1;
    }
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 || listen(fd, 64) < 0)
        return fail("bind");
    while (others-- > 0) {
        if (accept(fd, NULL, NULL) < 0)
            return fail("accept");
    }
    return 0;
}

static int meet(void)
{
    const char *coordinator = getenv("HOCKET_COORDINATOR");
    if (!coordinator || strncmp(coordinator, "127.0.0.1:", 10) != 0)
        return fail("HOCKET_COORDINATOR");
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)atoi(coordinator + 10))};
    alarm(60);
    if (number_from("HOCKET_RANK") == 0)
        return listen_for(&address, number_from("HOCKET_WORLD_SIZE") - 1);
    for (int i = 0; i < TRIES; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            return 0;
        close(fd);
        nap_ms(10);
    }
    return fail("connect");
}

static void write_all(const char *bytes, size_t length, size_t crumb)
{
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, length < crumb ? length : crumb);
        if (written <= 0)
            exit(1);
        bytes += written;
        length -= (size_t)written;
    }
}

static int lines(int count)
{
    char line[2048];
    for (int i = 0; i < count; i++) {
        int length = snprintf(line, sizeof line, "rank %d line %d ", number_from("HOCKET_RANK"), i);
        while (length < 1500)
            length += sprintf(line + length, "aß€𝄞");
        length += sprintf(line + length, " end\n");
        write_all(line, (size_t)length, 7 + (size_t)i % 1000);
    }
    return 0;
}

static int long_line(void)
{
    for (int i = 0; i < 66667; i++)
        write_all("€", 3, 2);
    write_all("\n", 1, 1);
    return 0;
}

static int family(bool deaf)
{
    if (deaf)
        signal(SIGTERM, SIG_IGN);
    pid_t child = fork();
    if (child == 0) {
        nap_ms(60000);
        _exit(0);
    }
    pid_t stray = fork();
    if (stray == 0) {
        setsid();
        nap_ms(60000);
        _exit(0);
    }
    printf("pids %d %d %d\n", (int)getpid(), (int)child, (int)stray);
    fflush(stdout);
    nap_ms(60000);
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "meet") == 0)
        return meet();
    if (strcmp(mode, "lines") == 0 && argc > 2)
        return lines(atoi(argv[2]));
    if (strcmp(mode, "long") == 0)
        return long_line();
    if (strcmp(mode, "tail") == 0)
        return fputs("no newline €", stdout) < 0;
    if (strcmp(mode, "family") == 0)
        return family(argc > 2);
    fprintf(stderr, "rank: there is no mode '%s'\n", mode);
    return 1;
}
