/* What this processor and its system can run, asked at run time. False on other architectures. */
#ifndef HK_CORE_CPU_H
#define HK_CORE_CPU_H

#include <stdbool.h>

bool hk_cpu_has_avx2(void);   /* AVX2 with F16C */
bool hk_cpu_has_avx512(void); /* AVX-512 F, BW, DQ and VL, with all of the above */

#endif
