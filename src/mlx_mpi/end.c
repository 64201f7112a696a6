/* The one place where hocket ends the process that it is in. MLX looks at no return code of MPI's:
 * a failure that was only returned would be a wrong number in the program's arrays. */
#include "mlx_mpi/mpi.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SENTENCE_MAX 2048 /* and less than a pipe takes at once when it takes anything */
#define WRITABLE_MS 300

static atomic_flag ending = ATOMIC_FLAG_INIT;

/* Of several threads that fail the first speaks. Not exit(): what it would call, such as MLX's
 * destructors, waits for the thread that this is. */
static _Noreturn void end(char *text, size_t length)
{
    if (atomic_flag_test_and_set(&ending)) {
        for (;;)
            pause();
    }
    text[length] = '\n';
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, WRITABLE_MS) == 1) { /* of a full pipe that nobody reads no room would come */
        ssize_t written = write(STDERR_FILENO, text, length + 1);
        (void)written;
    }
    _exit(HK_MLX_MPI_EXIT);
}

static const char name[] = "hocket: ";
enum { NAME_LENGTH = sizeof name - 1 };

/* Writes the name and what follows; returns the length, with room left for the end of the line. */
static size_t sentence(char *text, const char *format, va_list arguments)
{
    memcpy(text, name, sizeof name);
    vsnprintf(text + NAME_LENGTH, SENTENCE_MAX - 1 - NAME_LENGTH, format, arguments);
    return strlen(text);
}

static size_t say(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static size_t say(char *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t length = sentence(text, format, arguments);
    va_end(arguments);
    return length;
}

/* The ranks that wait for this one must hear the reason, not that it is gone. */
static void tell(hocket_group *group, const char *reason)
{
    hocket_group *world = ompi_mpi_comm_world.group;
    if (group != NULL)
        hocket_abort(group, reason);
    if (world != NULL && world != group)
        hocket_abort(world, reason);
}

/* After most failures a group is broken, and all know why. What breaks no group is told. */
void hk_mpi_end_failed(hocket_group *group, hocket_status status)
{
    char text[SENTENCE_MAX];
    size_t length = say(text, "%s", hocket_last_error());
    if (status == HOCKET_ERR_INVALID || status == HOCKET_ERR_TIMEOUT)
        tell(group, text + NAME_LENGTH);
    end(text, length);
}

void hk_mpi_end_refused(hocket_group *group, const char *format, ...)
{
    char text[SENTENCE_MAX];
    va_list arguments;
    va_start(arguments, format);
    size_t length = sentence(text, format, arguments);
    va_end(arguments);
    tell(group, text + NAME_LENGTH);
    end(text, length);
}
