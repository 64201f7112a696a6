/* The kernels for x86 with AVX-512; compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl
 * -mf16c. */
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include <immintrin.h>
#include <stdint.h>

static inline void f16_widen_lanes(float *out, const uint16_t *in)
{
    _mm512_storeu_ps(out, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)in)));
}

static inline void f16_narrow_lanes(uint16_t *out, const float *in)
{
    _mm256_storeu_si256((__m256i *)out,
                        _mm512_cvtps_ph(_mm512_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT));
}

#define HK_F16_LANES 16
#define HK_KERNELS hk_kernels_avx512
#define HK_KERNELS_NAME "avx512"
#include "core/reduce_kernels.inc.h"

#else

#include "core/reduce_kernels.h"

const struct hk_kernels *const hk_kernels_avx512 = NULL;

#endif
