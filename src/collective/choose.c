#include "collective/choose.h"

#include <limits.h>
#include <stdint.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define ANY INT_MAX
#define MORE SIZE_MAX

/* The first row that fits decides; what fits no row is HK_DIRECT.
 *
 * Few ranks and few bytes: the number of steps counts. Many ranks: the number of messages counts,
 * hence trees. Many bytes: every rank should move each byte as seldom as possible, and with many
 * ranks it should not listen to all of them at once, hence rings. */
static const hk_choice choices[] = {
    {HK_ALL_REDUCE, 2, 2, 0, 256 * KIB, HK_FLAT},
    {HK_ALL_REDUCE, 3, 4, 0, 32 * KIB, HK_FLAT},
    {HK_ALL_REDUCE, 5, 8, 0, 8 * KIB, HK_FLAT},
    {HK_ALL_REDUCE, 9, ANY, 0, 4 * KIB, HK_TREE},
    {HK_ALL_REDUCE, 9, ANY, 4 * MIB, MORE, HK_RING},

    {HK_ALL_GATHER, 9, ANY, 0, 64 * KIB, HK_TREE},
    {HK_ALL_GATHER, 9, ANY, 4 * MIB, MORE, HK_RING},

    {HK_REDUCE_SCATTER, 9, ANY, 4 * MIB, MORE, HK_RING},

    {HK_BROADCAST, 2, 2, 0, MORE, HK_TREE},
    {HK_BROADCAST, 3, 8, 0, 128 * KIB, HK_TREE},
    {HK_BROADCAST, 9, ANY, 0, 512 * KIB, HK_TREE},

    {HK_REDUCE_TO, 2, 8, 0, 32 * KIB, HK_FLAT},
    {HK_REDUCE_TO, 9, ANY, 0, 4 * KIB, HK_TREE},

    {HK_GATHER, 9, ANY, 0, 64 * KIB, HK_TREE},
    {HK_SCATTER, 9, ANY, 0, 64 * KIB, HK_TREE},
};

hk_algorithm hk_choose(hk_operation operation, int ranks, size_t bytes, bool ordered)
{
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        const hk_choice *row = &choices[i];
        if (row->operation == operation && row->ranks_from <= ranks && ranks <= row->ranks_to &&
            row->bytes_from <= bytes && bytes <= row->bytes_to &&
            !(ordered && row->algorithm == HK_RING))
            return row->algorithm;
    }
    return HK_DIRECT;
}
