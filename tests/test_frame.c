/* Frames: the bytes they are, and bytes that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "wire/frame.h"

static void fields_keep_their_places(void **state)
{
    (void)state;
    static const uint8_t expected[HK_FRAME_BYTES] = {
        4, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, /* kind, tag */
        8, 7, 6, 5, 4,    3,    2,    1,    /* context */
        5, 0, 0, 0, 0,    0x20, 0,    0,    /* length */
        0, 0, 0, 0, 0,    0,    0,    0x80, /* ticket */
    };
    hk_frame frame = {.kind = HK_FRAME_BYTES_OF,
                      .tag = 0x12345678,
                      .context = UINT64_C(0x0102030405060708),
                      .length = UINT64_C(0x200000000005),
                      .ticket = UINT64_C(1) << 63};
    uint8_t bytes[HK_FRAME_BYTES];
    hk_frame_pack(&frame, bytes);
    assert_memory_equal(bytes, expected, sizeof expected);
}

static void what_is_packed_comes_back(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 1, 255, 65536, UINT64_C(1) << 46, UINT64_MAX};
    for (int kind = HK_FRAME_MESSAGE; kind < HK_FRAME_KINDS; kind++) {
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            uint64_t length = numbers[i] < HK_FRAME_LENGTH_MAX ? numbers[i] : HK_FRAME_LENGTH_MAX;
            hk_frame in = {.kind = (hk_frame_kind)kind,
                           .tag = (uint32_t)numbers[i],
                           .context = numbers[i],
                           .length = length,
                           .ticket = ~numbers[i]};
            hk_frame out;
            uint8_t bytes[HK_FRAME_BYTES];
            hk_frame_pack(&in, bytes);
            assert_true(hk_frame_unpack(bytes, &out));
            assert_int_equal(out.kind, in.kind);
            assert_int_equal(out.tag, in.tag);
            assert_true(out.context == in.context && out.length == in.length);
            assert_true(out.ticket == in.ticket);
        }
    }
}

static bool is_ours(uint32_t kind, uint64_t length)
{
    hk_frame frame = {.kind = HK_FRAME_MESSAGE, .length = length};
    uint8_t bytes[HK_FRAME_BYTES];
    hk_frame_pack(&frame, bytes);
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(kind >> (8 * i));
    return hk_frame_unpack(bytes, &frame);
}

static void unknown_kinds_are_no_frames(void **state)
{
    (void)state;
    static const uint32_t kinds[] = {0,          HK_FRAME_KINDS, 255, 256 + HK_FRAME_MESSAGE,
                                     0x80000001, UINT32_MAX};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        assert_false(is_ours(kinds[i], 0));
    assert_true(is_ours(HK_FRAME_MESSAGE, 0));
}

static void lengths_have_a_limit(void **state)
{
    (void)state;
    assert_true(is_ours(HK_FRAME_ANNOUNCE, HK_FRAME_LENGTH_MAX));
    assert_false(is_ours(HK_FRAME_ANNOUNCE, HK_FRAME_LENGTH_MAX + 1));
    assert_false(is_ours(HK_FRAME_READ, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_keep_their_places),
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(unknown_kinds_are_no_frames),
        cmocka_unit_test(lengths_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
