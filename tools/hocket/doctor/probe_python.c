/* MLX as programs in Python have it. */
#include "doctor/probe.h"

#include "library.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PYTHON "python3"
#define PYTHON_SECONDS 9 /* before who asks gives up */

/* MLX itself is asked whether it takes the library: it opens it and looks up its names. */
static const char script[] =
    "import sys\n"
    "print('%d.%d.%d (%s)' % (*sys.version_info[:3], sys.executable), end='')\n"
    "try:\n"
    "    import mlx.core as mx\n"
    "    print(' with MLX', mx.__version__, end='')\n"
    "    if not mx.distributed.is_available('mpi'):\n"
    "        print(', which does not take libhocket-mpi', end='')\n"
    "    from importlib.metadata import version\n"
    "    print(' and mlx-lm', version('mlx-lm'), end='')\n"
    "except ImportError as error:\n"
    "    if 'mlx.core' not in sys.modules:\n"
    "        print(' without MLX:', error, end='')\n";

static void become_python(int out)
{
    char library[PATH_MAX];
    char *const arguments[] = {PYTHON, "-c", (char *)script, NULL};
    if (dup2(out, STDOUT_FILENO) < 0 ||
        !hk_library_beside("libhocket-mpi", library, sizeof library) ||
        setenv("MLX_MPI_LIBNAME", library, 1) < 0)
        _exit(1);
    alarm(PYTHON_SECONDS);
    execvp(PYTHON, arguments);
    _exit(errno == ENOENT ? 127 : 126);
}

void hk_probe_python(char *text, size_t size)
{
    int fds[2], status = -1;
    if (pipe(fds) < 0)
        return;
    pid_t child = fork();
    if (child == 0)
        become_python(fds[1]);
    close(fds[1]);
    size_t length = 0;
    ssize_t more = 0;
    while (length + 1 < size && (more = read(fds[0], text + length, size - 1 - length)) > 0)
        length += (size_t)more;
    close(fds[0]);
    text[length] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        hk_append(text, size, "none: there is no " PYTHON " in PATH");
    else if (WIFSIGNALED(status))
        hk_append(text, size, "%sbroken: it ends with signal %d", text[0] ? "; " : "",
                  WTERMSIG(status));
    else if (status != 0)
        hk_append(text, size, "%sbroken: it ends with status %d", text[0] ? "; " : "",
                  WEXITSTATUS(status));
}
