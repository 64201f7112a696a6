/* The kernels for x86 with AVX2 and F16C; compiled with -mavx2 -mf16c. */
#if defined(__AVX2__) && defined(__F16C__)

#include <immintrin.h>
#include <stdint.h>

static inline void f16_widen_lanes(float *out, const uint16_t *in)
{
    _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)in)));
}

static inline void f16_narrow_lanes(uint16_t *out, const float *in)
{
    _mm_storeu_si128((__m128i *)out,
                     _mm256_cvtps_ph(_mm256_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT));
}

#define HK_F16_LANES 8
#define HK_KERNELS hk_kernels_avx2
#define HK_KERNELS_NAME "avx2"
#include "core/reduce_kernels.inc.h"

#else

#include "core/reduce_kernels.h"

const struct hk_kernels *const hk_kernels_avx2 = NULL;

#endif
