/*
 * float16 and bfloat16 to float32 and back, in integer arithmetic, the same bits on every machine.
 *
 * Narrowing rounds to the nearest, ties to even. A NaN stays a NaN: its sign and the upper bits of
 * its payload are kept, and it comes out quiet, as the conversion instructions of x86 and ARM have
 * it (bfloat16 to float32 alone is a mere shift and keeps all). There is no branch, so that a loop
 * over these functions becomes vector code.
 */
#ifndef HK_CORE_HALF_H
#define HK_CORE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t hk_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float hk_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Both sides are computed: a conditional expression would become a branch around the side with
 * float arithmetic. */
static inline uint32_t hk_pick(int condition, uint32_t yes, uint32_t no)
{
    return no ^ ((yes ^ no) & (0u - (uint32_t)condition));
}

/* The bits of a number without its sign are below 2^31: compared as signed, which every vector unit
 * can. */
static inline float hk_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t bits = (uint32_t)(half & 0x7fffu)
                          << 13; /* exponent and fraction at float's places */
    const int32_t exponent = (int32_t)(bits >> 23);

    const uint32_t normal = bits + (112u << 23); /* the biases differ by 127 - 15 */
    /* A subnormal is f * 2^-24: put f behind a leading one of 2^-14 and take that one away again.
     */
    const float one = hk_f32_from_bits(113u << 23);
    const uint32_t subnormal = hk_f32_bits(hk_f32_from_bits(bits + (113u << 23)) - one);
    const uint32_t quiet = (bits & 0x007fffffu) != 0 ? 0x00400000u : 0;
    const uint32_t special = bits | 0x7f800000u | quiet;

    const uint32_t finite = hk_pick(exponent == 0, subnormal, normal);
    return hk_f32_from_bits(sign | hk_pick(exponent == 31, special, finite));
}

static inline uint16_t hk_f32_to_f16(float value)
{
    const uint32_t all = hk_f32_bits(value);
    const uint32_t sign = (all >> 16) & 0x8000u;
    const int32_t bits = (int32_t)(all & 0x7fffffffu);

    /* Adding just under half of the last place kept, and its parity, carries exactly when rounding
     * goes up; a carry out of the fraction is the next exponent, and out of the largest exponent is
     * infinity. */
    const uint32_t parity = ((uint32_t)bits >> 13) & 1u;
    const uint32_t normal = ((uint32_t)bits - (112u << 23) + 0x0fffu + parity) >> 13;
    /* Next to 0.5 a float's last place is 2^-24, the step of subnormals: the addition does the
     * rounding. */
    const float half = 0.5f;
    const float magnitude = hk_f32_from_bits((uint32_t)bits);
    const uint32_t subnormal = hk_f32_bits(magnitude + half) - hk_f32_bits(half);
    const uint32_t nan = 0x7e00u | (((uint32_t)bits >> 13) & 0x03ffu);

    uint32_t result = hk_pick(bits < (113 << 23), subnormal, normal);
    result = hk_pick(bits >= (143 << 23), 0x7c00u, result);
    result = hk_pick(bits > (255 << 23), nan, result);
    return (uint16_t)(sign | result);
}

static inline float hk_bf16_to_f32(uint16_t half)
{
    return hk_f32_from_bits((uint32_t)half << 16);
}

/* Rounds the bits of a number, or of a NaN whose lower half is small: others could carry over into
 * the sign. */
static inline uint32_t hk_bf16_round(uint32_t bits)
{
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

static inline uint16_t hk_f32_to_bf16(float value)
{
    const uint32_t bits = hk_f32_bits(value);
    const uint32_t nan = (bits >> 16) | 0x0040u;
    const int is_nan = (int32_t)(bits & 0x7fffffffu) > 0x7f800000;
    return (uint16_t)hk_pick(is_nan, nan, hk_bf16_round(bits));
}

#endif
