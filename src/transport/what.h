/* What a call is, for error texts and for ranks to compare. */
#ifndef HK_TRANSPORT_WHAT_H
#define HK_TRANSPORT_WHAT_H

#include <hocket/hocket.h>
#include <stdint.h>

typedef enum hk_operation {
    HK_ALL_REDUCE,
    HK_ALL_GATHER,
    HK_ALL_GATHER_V,
    HK_REDUCE_SCATTER,
    HK_REDUCE_SCATTER_V,
    HK_BROADCAST,
    HK_REDUCE_TO,
    HK_GATHER,
    HK_SCATTER,
    HK_ALL_TO_ALL,
    HK_ALL_TO_ALL_V,
    HK_PERMUTE,
    HK_BARRIER,
    HK_SPLIT,
    HK_RELAY,
    HK_INIT,
    HK_OPEN, /* of any other group */
    HK_SEND_BYTES,
    HK_RECV_BYTES,
    HK_RECV_INTO,
    HK_PROBE,
    HK_OPERATIONS
} hk_operation;

#define HK_WHAT_SHOWN 4

/* Every call makes one, hashes it and keeps it, so it is small. */
typedef struct hk_what {
    uint64_t kind;   /* hk_kind */
    uint64_t number; /* of the collective in its group, from 1; 0 for messages */
    size_t count;  /* elements, the same on all ranks; 0 where they may differ; of messages the tag,
                      of a relay the batches */
    uint64_t more; /* hash of whatever else must agree (arrays of counts) */
    const int64_t *shown; /* how such an array begins, for the text: HK_WHAT_SHOWN at most; the
                             group's, for as long as it knows the call */
    int listed;           /* its length, 0: there is none */
} hk_what;

/* What is small, in one word. dtype, root and reduce are -1 where there is none. */
static inline uint64_t hk_kind(hk_operation operation, int dtype, int root, int reduce)
{
    return (uint64_t)operation | (uint64_t)(uint8_t)dtype << 8 | (uint64_t)(uint16_t)root << 16 |
           (uint64_t)(uint32_t)reduce << 32;
}

static inline hk_operation hk_what_operation(const hk_what *what)
{
    return (hk_operation)(what->kind & 0xff);
}

static inline int hk_what_dtype(const hk_what *what)
{
    return (int8_t)(what->kind >> 8);
}

static inline int hk_what_root(const hk_what *what)
{
    return (int16_t)(what->kind >> 16);
}

static inline int hk_what_reduce(const hk_what *what)
{
    return (int32_t)(what->kind >> 32);
}

/* The number under which a group is opened, before its first collective. */
#define HK_NUMBER_OPENING UINT64_MAX

const char *hk_operation_name(hk_operation operation);

/* "all_reduce #17 (float32 sum, 262144 elements)", "all_gather_v #4 (float32, counts 5, 5, 6)".
 * What differs between ranks differs in the text. */
#define HK_WHAT_TEXT_MAX 160
void hk_what_print(const hk_what *what, char *text, size_t size);

/* Mixes a value into a hash. */
static inline uint64_t hk_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

/* Equal on ranks that call the same. Products of different odd numbers, which a processor forms
 * side by side, and one mix of their sum. */
static inline uint32_t hk_what_fingerprint(const hk_what *what)
{
    uint64_t sum =
        what->number * UINT64_C(0xD1342543DE82EF95) + what->kind * UINT64_C(0xBF58476D1CE4E5B9) +
        what->count * UINT64_C(0x94D049BB133111EB) + what->more * UINT64_C(0xFF51AFD7ED558CCD);
    return (uint32_t)(hk_mix(sum, sum >> 32) >> 32);
}

#endif
