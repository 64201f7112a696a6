#include "core/stream.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>

#define LINE 64

static void stream_lines(uint8_t *to, const uint8_t *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += LINE)
        for (size_t i = 0; i < LINE; i += sizeof(__m128i))
            _mm_stream_si128((__m128i *)(to + at + i),
                             _mm_loadu_si128((const __m128i *)(from + at + i)));
    _mm_sfence();
}

void hk_copy_stream(void *to, const void *from, size_t bytes)
{
    size_t head = (LINE - (uintptr_t)to % LINE) % LINE;
    if (bytes < head + LINE) {
        memcpy(to, from, bytes);
        return;
    }
    size_t lines = (bytes - head) / LINE * LINE, done = head + lines;
    memcpy(to, from, head);
    stream_lines((uint8_t *)to + head, (const uint8_t *)from + head, lines);
    memcpy((uint8_t *)to + done, (const uint8_t *)from + done, bytes - done);
}

#else

/* Elsewhere memcpy notices by itself that it writes one line after the other. */
void hk_copy_stream(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

#endif
