#include "wire/frame.h"

static void put(uint8_t *bytes, uint64_t value, int size)
{
    for (int i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *bytes, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

void hk_frame_pack(const hk_frame *frame, uint8_t bytes[HK_FRAME_BYTES])
{
    put(bytes, (uint64_t)frame->kind, 4);
    put(bytes + 4, frame->tag, 4);
    put(bytes + 8, frame->context, 8);
    put(bytes + 16, frame->length, 8);
    put(bytes + 24, frame->ticket, 8);
}

bool hk_frame_unpack(const uint8_t bytes[HK_FRAME_BYTES], hk_frame *frame)
{
    uint64_t kind = get(bytes, 4);
    frame->kind = (hk_frame_kind)kind;
    frame->tag = (uint32_t)get(bytes + 4, 4);
    frame->context = get(bytes + 8, 8);
    frame->length = get(bytes + 16, 8);
    frame->ticket = get(bytes + 24, 8);
    return kind >= HK_FRAME_MESSAGE && kind < HK_FRAME_KINDS &&
           frame->length <= HK_FRAME_LENGTH_MAX;
}
