/* Memory with a random name that is unlinked as soon as the group has mapped it. */
#include "transport/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int hk_segment_object(size_t bytes, hk_segment *segment)
{
    snprintf(segment->name, sizeof segment->name, "/hocket-%08x%08x", randombytes_random(),
             randombytes_random());
    int fd = shm_open(segment->name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) != 0) {
        int error = errno;
        close(fd);
        hk_segment_forget(segment);
        errno = error;
        return -1;
    }
    return fd;
}

/* A name must stay until all have mapped it, and a killed rank leaves it behind. */
bool hk_segment_is_nameless(void)
{
    return false;
}

int hk_segment_find(const hk_segment_ticket *ticket)
{
    char name[sizeof ticket->name + 1];
    snprintf(name, sizeof name, "%.*s", (int)sizeof ticket->name, ticket->name);
    return shm_open(name, O_RDWR, 0600);
}

void hk_segment_forget(hk_segment *segment)
{
    if (segment->name[0] != '\0')
        shm_unlink(segment->name);
    segment->name[0] = '\0';
}
