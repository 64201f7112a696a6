/* Which way a collective goes: one table, one look-up, for messages and for shared memory.
 *
 * A program's own rows (HOCKET_TUNE, hocket_tune) are text, a row a line, and come before the
 * built-in ones; the first row that fits decides:
 *
 *     # operation   medium    ranks  bytes     way
 *     all_reduce    memory    2      0-16K     flat
 *     all_reduce    messages  9-     4M-       ring
 */
#ifndef HK_TRANSPORT_CHOICES_H
#define HK_TRANSPORT_CHOICES_H

#include "core/status.h"
#include "transport/what.h"

typedef enum hk_medium {
    HK_BY_MESSAGES, /* between any ranks: collective/ */
    HK_BY_MEMORY,   /* ranks of one host: shm_ways.c, shm_reach.c */
    HK_BY_HOSTS,    /* several ranks on several hosts; `ranks` counts hosts: collective/hosts.c */
    HK_MEDIA
} hk_medium;

typedef enum hk_algorithm {
    HK_FLAT,    /* whole vectors, at once, and everyone (or the root) folds: one step; of hosts:
                   by messages between all ranks, as if there were none */
    HK_TREE,    /* whole vectors or growing runs of blocks: log n steps */
    HK_DIRECT,  /* blocks straight to where they belong: one step, n - 1 messages */
    HK_RING,    /* blocks from neighbour to neighbour: n - 1 steps */
    HK_STAGED,  /* blocks through shared memory, chunk by chunk */
    HK_READ,    /* blocks out of the others' own memory */
    HK_LEARNED, /* staged or read, whichever was faster lately */
    HK_LEADERS, /* one rank of each host exchanges with the other hosts */
    HK_LANES,   /* each rank of a host does so with its share */
    HK_ALGORITHMS
} hk_algorithm;

typedef struct hk_choice {
    hk_operation operation;
    hk_medium medium;
    int ranks_from, ranks_to;
    size_t bytes_from, bytes_to; /* both included */
    hk_algorithm algorithm;
} hk_choice;

#define HK_CHOICES_MAX 256              /* own rows */
#define HK_CHOICES_TEXT_MAX (64u << 10) /* bytes */

/* A program's own rows. */
typedef struct hk_choices {
    size_t count;
    hk_choice rows[HK_CHOICES_MAX];
} hk_choices;

/* bytes: of the vector (all_reduce, broadcast, reduce_to), or of all ranks' blocks together.
 * ordered: a reduction that one rank must do from first to last, for which a ring is never chosen.
 * Depends on nothing else, so ranks with the same rows choose alike. own may be NULL. */
hk_algorithm hk_choose(const hk_choices *own, hk_medium medium, hk_operation operation, int ranks,
                       size_t bytes, bool ordered);

/* Rows from text, which need not end with 0. INVALID, with the line's number. */
hocket_status hk_choices_parse(const char *text, size_t length, hk_choices *own);

/* A whole file of them; *text is to free(). SYSTEM, INVALID. */
hocket_status hk_choices_load(const char *path, char **text, size_t *length);

const char *hk_algorithm_name(hk_algorithm algorithm);

#endif
