/* The program's own rows of the table of choices. */
#include "group/group.h"

#include <stdlib.h>
#include <string.h>

static hocket_status check(const hocket_group *group, const char *rows, uint64_t *length)
{
    hocket_status status = hk_check_group(group, "hocket_tune");
    if (status != HOCKET_OK)
        return status;
    int members = group->comm->size, world = hk_endpoint_size(group->comm->endpoint);
    if (members != world)
        return hk_fail(HOCKET_ERR_INVALID,
                       "hocket_tune on rank %d of %d: the table is the world's, of %d ranks; call "
                       "it on a group of all of them",
                       group->comm->rank, members, world);
    *length = rows != NULL && group->comm->rank == 0 ? strlen(rows) : 0;
    return HOCKET_OK;
}

static hocket_status hand_out(hocket_group *group, const char *rows, uint64_t length,
                              hk_choices *own)
{
    char *text = malloc(length + 1);
    if (text == NULL) { /* the others wait for this rank */
        hk_fail_memory(length, "a table of choices");
        hk_error error = *hk_error_last();
        return hk_comm_break(group->comm, &error);
    }
    if (group->comm->rank == 0 && rows != NULL)
        memcpy(text, rows, length);
    hocket_status status = hocket_broadcast(group, text, length, HOCKET_UINT8, 0);
    if (status == HOCKET_OK)
        status = hk_choices_parse(text, length, own);
    free(text);
    return status;
}

hocket_status hocket_tune(hocket_group *group, const char *rows)
{
    uint64_t length;
    hk_choices own = {.count = 0};
    hocket_status status = check(group, rows, &length);
    if (status == HOCKET_OK)
        status = hocket_broadcast(group, &length, 1, HOCKET_UINT64, 0);
    if (status == HOCKET_OK && length > HK_CHOICES_TEXT_MAX)
        status = hk_fail(HOCKET_ERR_INVALID, "hocket_tune: rank 0's table is over %u bytes",
                         HK_CHOICES_TEXT_MAX);
    if (status == HOCKET_OK)
        status = hand_out(group, rows, length, &own);
    if (status == HOCKET_OK)
        hk_endpoint_tune(group->comm->endpoint, &own);
    return status;
}
