/* Numbers on the wire: little-endian, whatever the machine is. */
#ifndef HK_WIRE_BYTES_H
#define HK_WIRE_BYTES_H

#include <stdint.h>

static inline void hk_put_u32(unsigned char *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
}

static inline void hk_put_u64(unsigned char *bytes, uint64_t value)
{
    hk_put_u32(bytes, (uint32_t)value);
    hk_put_u32(bytes + 4, (uint32_t)(value >> 32));
}

static inline uint32_t hk_get_u32(const unsigned char *bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value |= (uint32_t)bytes[i] << (8 * i);
    return value;
}

static inline uint64_t hk_get_u64(const unsigned char *bytes)
{
    return hk_get_u32(bytes) | (uint64_t)hk_get_u32(bytes + 4) << 32;
}

#endif
