#include "transport/segment.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static hocket_status map(hk_segment *segment, int fd, size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "mapping %zu bytes of shared memory: %s", bytes,
                       strerror(errno));
    segment->memory = memory;
    segment->bytes = bytes;
    return HOCKET_OK;
}

hocket_status hk_segment_create(size_t bytes, hk_segment *segment, hk_segment_ticket *ticket)
{
    *segment = (hk_segment){.fd = -1};
    int fd = hk_segment_object(bytes, segment);
    if (fd < 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "making %zu bytes of shared memory: %s", bytes,
                       strerror(errno));
    hocket_status status = map(segment, fd, bytes);
    if (status != HOCKET_OK) {
        hk_segment_forget(segment);
        close(fd);
        return status;
    }
    segment->fd = fd;
    *ticket = (hk_segment_ticket){.bytes = bytes, .pid = getpid(), .fd = fd};
    randombytes_buf(&ticket->mark, sizeof ticket->mark);
    memcpy(ticket->name, segment->name, sizeof ticket->name);
    memcpy(segment->memory, &ticket->mark, sizeof ticket->mark);
    return HOCKET_OK;
}

static bool is_that_one(const hk_segment *segment, const hk_segment_ticket *ticket)
{
    return memcmp(segment->memory, &ticket->mark, sizeof ticket->mark) == 0;
}

hocket_status hk_segment_attach(const hk_segment_ticket *ticket, hk_segment *segment)
{
    *segment = (hk_segment){.fd = -1};
    int fd = hk_segment_find(ticket);
    if (fd < 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "opening the shared memory of process %lld: %s",
                       (long long)ticket->pid, strerror(errno));
    struct stat size;
    hocket_status status = HOCKET_OK;
    if (fstat(fd, &size) != 0 || (uint64_t)size.st_size < ticket->bytes)
        status = hk_fail(HOCKET_ERR_UNAVAILABLE, "the shared memory of process %lld is too small",
                         (long long)ticket->pid);
    if (status == HOCKET_OK)
        status = map(segment, fd, ticket->bytes);
    close(fd);
    if (status == HOCKET_OK && !is_that_one(segment, ticket)) {
        hk_segment_detach(segment);
        status = hk_fail(HOCKET_ERR_UNAVAILABLE,
                         "process %lld is another one here: its shared memory is not the group's",
                         (long long)ticket->pid);
    }
    return status;
}

void hk_segment_settle(hk_segment *segment)
{
    if (segment->memory == NULL)
        return; /* the descriptor of a zeroed segment is not its own */
    hk_segment_forget(segment);
    if (segment->fd >= 0)
        close(segment->fd);
    segment->fd = -1;
}

void hk_segment_detach(hk_segment *segment)
{
    if (segment->memory == NULL)
        return;
    hk_segment_settle(segment);
    munmap(segment->memory, segment->bytes);
    segment->memory = NULL;
}
