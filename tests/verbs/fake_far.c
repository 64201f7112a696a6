/* What queue pairs write and read from afar, and how what is written gets into memory. */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

static void land_first(fake_pair *pair)
{
    fake_landing *first = pair->landing;
    memcpy(first->to, first->bytes, first->length);
    pair->landing = first->next;
    if (pair->landing == NULL)
        pair->last_landing = &pair->landing;
    free(first->bytes);
    free(first);
}

void fake_land(fake_pair *pair)
{
    while (pair->landing != NULL)
        land_first(pair);
}

void fake_land_all(fake_context *context)
{
    for (fake_pair *pair = context->pairs; pair != NULL; pair = pair->next)
        fake_land(pair);
}

int64_t fake_land_due(fake_pair *pair)
{
    while (pair->landing != NULL && pair->landing->due_ns <= fake_now_ns())
        land_first(pair);
    return pair->landing != NULL ? pair->landing->due_ns : INT64_MAX;
}

/* The bytes are the landing's from now on. */
static void begin_landing(fake_pair *pair, void *to, unsigned char *bytes, uint32_t length)
{
    fake_landing *landing = calloc(1, sizeof *landing);
    if (landing == NULL)
        fake_broken("there is no memory for a write");
    *landing = (fake_landing){.to = to,
                              .bytes = bytes,
                              .length = length,
                              .due_ns = fake_now_ns() +
                                        (int64_t)fake_get_settings()->landing.at * 1000000};
    *pair->last_landing = landing;
    pair->last_landing = &landing->next;
}

static void *find(fake_context *context, const fake_pair *pair, int rights, uint32_t length)
{
    const fake_head *head = &pair->head;
    return (pair->attr.qp_access_flags & (unsigned)rights)
               ? fake_find_remote(context, head->rkey, rights, head->remote, length)
               : NULL;
}

bool fake_take_write(fake_context *context, fake_pair *pair)
{
    uint32_t length = pair->head.length;
    void *to = find(context, pair, HK_IBV_ACCESS_REMOTE_WRITE, length);
    if (to == NULL)
        return false;
    if (strcmp(fake_get_settings()->landing.device, context->device->name) == 0) {
        begin_landing(pair, to, pair->body, length);
        pair->body = NULL;
    } else {
        memcpy(to, pair->body, length);
    }
    return true;
}

bool fake_take_read(fake_context *context, fake_pair *pair, fake_head *answer)
{
    uint32_t length = pair->head.wanted;
    const void *from = find(context, pair, HK_IBV_ACCESS_REMOTE_READ, length);
    if (pair->attr.max_dest_rd_atomic == 0)
        fake_broken("a read comes to a queue pair that has max_dest_rd_atomic 0");
    if (from == NULL || length > sizeof answer->read)
        return false;
    fake_land(pair);
    memcpy(answer->read, from, length);
    answer->wanted = length;
    return true;
}
