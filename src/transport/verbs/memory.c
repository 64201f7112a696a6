#include "transport/verbs/memory.h"

#include "transport/verbs/wiring.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hk_piece {
    hk_piece *next;
    uint8_t *bytes;
    size_t length;
    bool ours;
    hk_ibv_mr *regions[HK_RAILS_MAX]; /* by rail */
};

static void let_go(hk_memory *m, hk_piece *piece)
{
    for (int i = 0; i < m->rail_count; i++)
        hk_arena_unregister(&m->rails[i].arena, piece->regions[i]);
    if (piece->ours)
        free(piece->bytes);
    free(piece);
}

/* The piece is the memory's, also on failure. */
static hocket_status add(hk_memory *m, hk_piece *piece)
{
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < m->rail_count && status == HOCKET_OK; i++)
        if (m->rails[i].arena.mr != NULL)
            status = hk_arena_register(&m->rails[i].arena, piece->bytes, piece->length,
                                       &piece->regions[i]);
    if (status != HOCKET_OK) {
        let_go(m, piece);
        return status;
    }
    piece->next = m->pieces;
    m->pieces = piece;
    return HOCKET_OK;
}

hocket_status hk_memory_register(hk_memory *m, void *bytes, size_t length)
{
    hk_piece *piece = calloc(1, sizeof *piece);
    if (piece == NULL)
        return hk_fail_memory(sizeof *piece, "a region");
    piece->bytes = bytes;
    piece->length = length;
    return add(m, piece);
}

static hk_piece *take(hk_memory *m, const void *bytes, bool ours)
{
    hk_piece **at = &m->pieces;
    while (*at != NULL && ((*at)->bytes != bytes || (*at)->ours != ours))
        at = &(*at)->next;
    hk_piece *piece = *at;
    if (piece != NULL)
        *at = piece->next;
    return piece;
}

hocket_status hk_memory_unregister(hk_memory *m, void *bytes)
{
    hk_piece *piece = take(m, bytes, false);
    if (piece == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%p is not registered", bytes);
    let_go(m, piece);
    return HOCKET_OK;
}

hocket_status hk_memory_alloc(hk_memory *m, size_t length, void **bytes)
{
    hk_piece *piece = calloc(1, sizeof *piece);
    void *memory = NULL;
    long page = sysconf(_SC_PAGESIZE);
    size_t alignment = page > HK_VERBS_FRAME ? (size_t)page : HK_VERBS_FRAME;
    if (piece == NULL || posix_memalign(&memory, alignment, length) != 0) {
        free(piece);
        return hk_fail_memory(length, "hocket_alloc");
    }
    memset(memory, 0, length);
    *piece = (hk_piece){.bytes = memory, .length = length, .ours = true};
    hocket_status status = add(m, piece);
    if (status == HOCKET_OK)
        *bytes = memory;
    return status;
}

void hk_memory_dealloc(hk_memory *m, void *bytes)
{
    hk_piece *piece = take(m, bytes, true);
    if (piece != NULL)
        let_go(m, piece);
}

void hk_memory_fini(hk_memory *m)
{
    while (m->pieces != NULL) {
        hk_piece *piece = m->pieces;
        m->pieces = piece->next;
        let_go(m, piece);
    }
}

const hk_ibv_mr *hk_memory_find(const hk_memory *m, const hk_rail *rail, const void *bytes,
                                size_t length)
{
    const uint8_t *at = bytes;
    for (const hk_piece *p = m->pieces; p != NULL; p = p->next)
        if (at >= p->bytes && length <= p->length && (size_t)(at - p->bytes) <= p->length - length)
            return p->regions[rail - m->rails];
    return NULL;
}
