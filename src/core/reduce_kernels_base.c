/* The kernels for any processor that the library was compiled for. */
#include "core/half.h"

#if defined(__aarch64__)

/* Every 64-bit ARM converts halves by instructions, which compilers make vector code of. */
static inline void f16_widen_lanes(float *out, const uint16_t *in)
{
    __fp16 half;
    memcpy(&half, in, sizeof half);
    *out = half;
}

static inline void f16_narrow_lanes(uint16_t *out, const float *in)
{
    const __fp16 half = (__fp16)*in;
    memcpy(out, &half, sizeof half);
}

#else

static inline void f16_widen_lanes(float *out, const uint16_t *in)
{
    *out = hk_f16_to_f32(*in);
}

static inline void f16_narrow_lanes(uint16_t *out, const float *in)
{
    *out = hk_f32_to_f16(*in);
}

#endif

#define HK_F16_LANES 1
#define HK_KERNELS hk_kernels_base
#define HK_KERNELS_NAME "base"
#include "core/reduce_kernels.inc.h"
