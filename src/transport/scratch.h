/* Scratch: memory for the length of a call. An endpoint keeps some of it from call to call, because
 * memory that goes back to the system in between has to be mapped and cleared again, which costs
 * more than a short collective.
 */
#ifndef HK_TRANSPORT_SCRATCH_H
#define HK_TRANSPORT_SCRATCH_H

#include <stdatomic.h>
#include <stddef.h>

#define HK_SCRATCH_ALIGNMENT 64
#define HK_SCRATCH_KEPT ((size_t)4 << 20) /* bytes, at most, for each endpoint */
#define HK_SCRATCH_KEPT_PIECES 32

typedef struct hk_piece hk_piece;

/* What is kept between calls; zeroed: nothing. Any thread may use it, without a lock. */
typedef _Atomic(hk_piece *) hk_scratch_shelf;

/* Of one call; zeroed: empty. */
typedef struct hk_scratch_list {
    hk_piece *used, *unused;
} hk_scratch_list;

/* A piece of so many bytes, aligned, with anything in it; NULL: no memory. It stays until
 * hk_scratch_end. */
void *hk_scratch_piece(hk_scratch_list *list, hk_scratch_shelf *shelf, size_t bytes);

/* What was taken since list->used was mark (NULL: all) may be taken again. */
void hk_scratch_release(hk_scratch_list *list, const void *mark);

/* Gives all pieces back. */
void hk_scratch_end(hk_scratch_list *list, hk_scratch_shelf *shelf);

/* Frees what is kept. */
void hk_scratch_fini(hk_scratch_shelf *shelf);

#endif
