#include "wire/frame.h"

#include "wire/bytes.h"

void hk_frame_pack(const hk_frame *frame, uint8_t bytes[HK_FRAME_BYTES])
{
    hk_put_u32(bytes, (uint32_t)frame->kind);
    hk_put_u32(bytes + 4, frame->tag);
    hk_put_u64(bytes + 8, frame->context);
    hk_put_u64(bytes + 16, frame->length);
    hk_put_u64(bytes + 24, frame->ticket);
}

bool hk_frame_unpack(const uint8_t bytes[HK_FRAME_BYTES], hk_frame *frame)
{
    uint32_t kind = hk_get_u32(bytes);
    frame->kind = (hk_frame_kind)kind;
    frame->tag = hk_get_u32(bytes + 4);
    frame->context = hk_get_u64(bytes + 8);
    frame->length = hk_get_u64(bytes + 16);
    frame->ticket = hk_get_u64(bytes + 24);
    return kind >= HK_FRAME_MESSAGE && kind < HK_FRAME_KINDS &&
           frame->length <= HK_FRAME_LENGTH_MAX;
}
