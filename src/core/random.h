/* Random numbers that a seed repeats: for faults on purpose, never for secrets. */
#ifndef HK_CORE_RANDOM_H
#define HK_CORE_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#define HK_MILLION 1000000 /* chances are kept in millionths */

/* splitmix64: small, and good from any seed. */
static inline uint64_t hk_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Chance 0 takes no number. */
static inline bool hk_random_happens(uint64_t *state, uint64_t millionths)
{
    return millionths > 0 && hk_random(state) % HK_MILLION < millionths;
}

#endif
