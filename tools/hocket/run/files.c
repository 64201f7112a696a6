/* What the ranks need to find on this host: ports and small files. */
#include "run/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A port is reserved by a socket that is bound to it and never listens. With SO_REUSEADDR on both
 * sides a rank may bind the same port as long as nobody listens there, but the system never picks
 * it for anyone who asks for any port. BSD and macOS allow that only to an address other than ours,
 * hence the wildcard here and 127.0.0.1 there. */
int hk_port_hold(int *port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t length = sizeof address;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

void hk_fill_standard_fds(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

bool hk_pipe_make(int fds[2])
{
    if (pipe(fds) < 0) {
        fds[0] = fds[1] = -1;
        return false;
    }
    for (int end = 0; end < 2; end++)
        fcntl(fds[end], F_SETFD, FD_CLOEXEC);
    return true;
}

void hk_fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int hk_temporary_file(char **path)
{
    const char *folder = getenv("TMPDIR");
    if (!folder || !*folder)
        folder = "/tmp";
    size_t size = strlen(folder) + sizeof "/hocket-XXXXXX";
    *path = malloc(size);
    if (!*path)
        return -1;
    snprintf(*path, size, "%s/hocket-XXXXXX", folder);
    int fd = mkstemp(*path); /* mode 0600 */
    if (fd < 0) {
        int error = errno;
        free(*path);
        *path = NULL;
        errno = error;
        return -1;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

bool hk_write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

char *hk_temporary_text(const char *text)
{
    char *path;
    int fd = hk_temporary_file(&path);
    if (fd < 0)
        return NULL;
    bool written = hk_write_all(fd, text, strlen(text));
    int error = errno;
    close(fd);
    if (!written) {
        unlink(path);
        free(path);
        errno = error;
        return NULL;
    }
    return path;
}
