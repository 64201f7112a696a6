/* The star of a meeting: rank 0 in the middle with a link to each other rank, and the steps they
 * take together.
 *
 *     rank 1, 2, ...   ask:      head {kind, step, bytes} and a block -->
 *     rank 0           collect:  all heads and blocks; all must agree
 *                      answer:   <-- head {result, step, bytes} and the result
 *                      or        <-- head {failure, ...} and an hk_error, the same to all
 *
 * Blocks and results have sizes that both ends know before they read: nothing is sized by a peer.
 * A link is sealed when either end wants it to be.
 */
#ifndef HK_WIRE_STAR_H
#define HK_WIRE_STAR_H

#include "wire/pipe.h"
#include <poll.h>

#define HK_STAR_HEAD_BYTES 24

typedef struct hk_star_link {
    hk_pipe pipe; /* closed: not there */
    hk_address address;
    unsigned char head[HK_STAR_HEAD_BYTES];
    size_t done;    /* bytes of this step read, or of this answer written */
    bool delivered; /* all of this step is read */
} hk_star_link;

typedef struct hk_star {
    int rank, world_size;
    hk_time opened, deadline;
    const char *where;       /* the coordinator */
    hk_star_link *links;     /* of rank 0: one a rank, its own unused; of others: one, to rank 0 */
    struct pollfd *polls;    /* one a rank */
    uint64_t step;           /* steps done */
    hk_reception *reception; /* rank 0, while not all have arrived */
    bool seal;               /* this rank wants its links sealed */
    hk_address outward;      /* this rank's end of its links, beyond loopback if any is */
    bool broken;
    hk_error fault; /* why; later steps fail with it at once */
} hk_star;

typedef enum hk_step_kind { /* on the wire; only ever appended */
                            HK_STEP_ARRIVE = 1,
                            HK_STEP_GATHER = 2,
                            HK_STEP_BROADCAST = 3
} hk_step_kind;

typedef struct hk_step {
    hk_step_kind kind;
    size_t bytes;        /* what all must agree on */
    size_t block_bytes;  /* from each rank to rank 0 */
    size_t result_bytes; /* from rank 0 to each rank */
} hk_step;

/* Takes the proven connection over, also on failure. */
hocket_status hk_star_link_open(const hk_star *star, hk_star_link *link, int fd,
                                const hk_peer *peer);

/* Rank 0: takes each rank's block into blocks + rank * block_bytes. While there is a reception,
 * lets ranks in. A failure is told to all ranks. */
hocket_status hk_star_collect(hk_star *star, const hk_step *step, void *blocks);

/* Rank 0: hands the result to all. */
hocket_status hk_star_answer(hk_star *star, const hk_step *step, const void *result);

/* The others: a block for a result. */
hocket_status hk_star_ask(hk_star *star, const hk_step *step, const void *block, void *result);

/* Between steps: HOCKET_OK, or a failure when a rank is gone (rank 0 tells the others) or rank 0
 * says so. Does not wait. */
hocket_status hk_star_look(hk_star *star);

void hk_star_close(hk_star *star);

#endif
