/* Copies past the caches are copies, wherever they begin and end. */
#include "harness.h"
#include "core/stream.h"

enum { LONGEST = 300, ROOM = LONGEST + 256, LINE = 64 };

static void every_place_and_length_is_copied(void **state)
{
    (void)state;
    static _Alignas(LINE) unsigned char from[ROOM], to[ROOM], wanted[ROOM];
    fill_bytes(from, sizeof from, 1);
    for (size_t start = 0; start < LINE; start++) {
        for (size_t length = 0; length <= LONGEST; length++) {
            size_t source = (start * 7 + length) % LINE;
            memset(to, 0xA5, sizeof to);
            memset(wanted, 0xA5, sizeof wanted);
            memcpy(wanted + LINE + start, from + source, length);
            hk_copy_stream(to + LINE + start, from + source, length);
            CHECK_THAT(memcmp(to, wanted, sizeof to) == 0, "%zu bytes from %zu to %zu", length,
                       source, start);
        }
    }
}

static void large_copies_are_whole(void **state)
{
    (void)state;
    enum { LARGE = (1 << 20) + 77 };
    unsigned char *from = malloc(LARGE), *to = guard_alloc(LARGE);
    CHECK(from != NULL);
    fill_bytes(from, LARGE, 2);
    hk_copy_stream(to, from, LARGE);
    CHECK(memcmp(to, from, LARGE) == 0);
    GUARD_FREE(to);
    free(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_place_and_length_is_copied),
        cmocka_unit_test(large_copies_are_whole),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
