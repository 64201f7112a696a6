/* What a call is, for error texts and for ranks to compare. */
#ifndef HK_TRANSPORT_WHAT_H
#define HK_TRANSPORT_WHAT_H

#include <hocket/hocket.h>

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

typedef struct hk_what {
    hk_operation operation;
    uint64_t number; /* of the collective in its group, from 1; 0 for messages */
    int dtype;       /* hocket_dtype, or -1 */
    int reduce;      /* hocket_reduce, or -1 */
    int root;        /* or -1 */
    size_t count;  /* elements, the same on all ranks; 0 where they may differ; of messages the tag,
                      of a relay the batches */
    uint64_t more; /* hash of whatever else must agree (arrays of counts) */
    int listed;    /* the length of such an array, 0: there is none */
    int64_t shown[HK_WHAT_SHOWN]; /* how it begins, for the text */
} hk_what;

/* The number under which a group is opened, before its first collective. */
#define HK_NUMBER_OPENING UINT64_MAX

const char *hk_operation_name(hk_operation operation);

/* "all_reduce #17 (float32 sum, 262144 elements)", "all_gather_v #4 (float32, counts 5, 5, 6)".
 * What differs between ranks differs in the text. */
#define HK_WHAT_TEXT_MAX 160
void hk_what_print(const hk_what *what, char *text, size_t size);

/* Equal on ranks that call the same. */
uint32_t hk_what_fingerprint(const hk_what *what);

/* Mixes a value into a hash. */
uint64_t hk_mix(uint64_t hash, uint64_t value);

#endif
