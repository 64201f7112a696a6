#include "core/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Not every compiler's __builtin_cpu_supports knows this one. */
static bool has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C) != 0;
}

bool hk_cpu_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && has_f16c();
}

bool hk_cpu_has_avx512(void)
{
    return hk_cpu_has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

#else

bool hk_cpu_has_avx2(void)
{
    return false;
}

bool hk_cpu_has_avx512(void)
{
    return false;
}

#endif
