/* What the tests of shared memory share: a collective on any mixture of buffers, checked bit by
 * bit, and a look at whether it went through the stages. */
#ifndef SHM_HELP_H
#define SHM_HELP_H

#include "harness.h"
#include "transport/shm_seats.h"

/* This world's team; fails where it has none. */
hk_shm *shm_team(const struct member *me);

/* Fills this rank's stages with a pattern; it is gone where something was staged since. Collective:
 * everyone has done with what lay there. */
void shm_mark_stages(struct member *me);
bool shm_stages_touched(const struct member *me);

enum shm_way { SHM_ALL_REDUCE, SHM_ALL_GATHER, SHM_REDUCE_SCATTER, SHM_BROADCAST, SHM_WAYS };

/* Where a rank's buffers come from. */
struct shm_buffers {
    bool send_shared, recv_shared; /* from hocket_alloc, else from malloc */
    bool in_place;                 /* then the larger one is the one there is */
};

/* Memory for one rank's buffers of up to so many bytes each. */
struct shm_memory {
    size_t room;
    uint8_t *plain[2], *shared[2]; /* for sending and receiving */
    uint8_t *expected, *inputs[HARNESS_RANKS_MAX];
};
void shm_memory_open(struct member *me, struct shm_memory *memory, size_t room, bool one_region);
void shm_memory_close(struct member *me, struct shm_memory *memory);

struct shm_case {
    enum shm_way way;
    size_t bytes; /* of the vector, about: blocks are alike */
    hocket_dtype dtype;
    struct shm_buffers buffers[HARNESS_RANKS_MAX]; /* by rank */
    uint64_t seed;
    int root;
};

/* Runs it and checks what came, what lies around it, and what must not have changed. */
void shm_run_case(struct member *me, const struct shm_memory *memory, const struct shm_case *c);

/* Whether all of this goes directly, once all have mapped what there is. */
bool shm_goes_directly(const struct member *me, const struct shm_case *c);
/* Whether it is more than a slot or the table lets everyone post at once. */
bool shm_goes_by_steps(const struct member *me, const struct shm_case *c);
/* Whether it is staged or read, as earlier calls of the kind went faster. */
bool shm_learns(const struct member *me, const struct shm_case *c);
/* Whether the others' memory is read by the kernel. */
bool shm_reads(const struct member *me, const struct shm_case *c);

/* Open descriptors of this process, and segments that it maps; -1: this system does not say. */
int count_descriptors(void);
int count_segments(void);

#endif
