/* The table of choices: its text, which row wins, and how it gets to all ranks. */
#include "harness.h"
#include "transport/choices.h"

#include <limits.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)

static hk_choices own; /* too large for the stack of a thread */

static void parse(const char *text)
{
    CHECK_OK(hk_choices_parse(text, strlen(text), &own));
}

static void refuse(const char *text, const char *part)
{
    CHECK_STATUS(HOCKET_ERR_INVALID, hk_choices_parse(text, strlen(text), &own));
    CHECK_HAS(hocket_last_error(), part);
}

static hk_algorithm look_up(hk_medium medium, hk_operation operation, int ranks, size_t bytes)
{
    return hk_choose(&own, medium, operation, ranks, bytes, false);
}

/* === The text ================================================================================= */

static void rows_are_read(void **state)
{
    (void)state;
    parse("# operation   medium    ranks  bytes     way\n"
          "\n"
          "all_reduce    memory    2      0-16K     flat # small\n"
          "\tall_gather\tmemory  2-4  1M-  read\r\n"
          "   # nothing\n"
          "reduce_scatter messages 9-64 4096 ring\n"
          "broadcast hosts 3- 1G-2G leaders");
    const hk_choice wanted[] = {
        {HK_ALL_REDUCE, HK_BY_MEMORY, 2, 2, 0, 16 * KIB, HK_FLAT},
        {HK_ALL_GATHER, HK_BY_MEMORY, 2, 4, KIB * KIB, SIZE_MAX, HK_READ},
        {HK_REDUCE_SCATTER, HK_BY_MESSAGES, 9, 64, 4096, 4096, HK_RING},
        {HK_BROADCAST, HK_BY_HOSTS, 3, INT_MAX, KIB * KIB * KIB, 2 * KIB * KIB * KIB, HK_LEADERS},
    };
    CHECK_INT(LENGTH(wanted), own.count);
    for (size_t i = 0; i < LENGTH(wanted); i++) {
        const hk_choice *a = &wanted[i], *b = &own.rows[i];
        CHECK_INT(a->operation, b->operation);
        CHECK_INT(a->medium, b->medium);
        CHECK_INT(a->ranks_from, b->ranks_from);
        CHECK_INT(a->ranks_to, b->ranks_to);
        CHECK(a->bytes_from == b->bytes_from && a->bytes_to == b->bytes_to);
        CHECK_INT(a->algorithm, b->algorithm);
    }
}

static void text_without_rows_is_an_empty_table(void **state)
{
    (void)state;
    const char *const texts[] = {"", "\n", "# all\n\n#", " \t\r\n", "#"};
    for (size_t i = 0; i < LENGTH(texts); i++) {
        own.count = 1;
        parse(texts[i]);
        CHECK_INT(0, own.count);
    }
}

static void every_way_has_a_name_and_its_media(void **state)
{
    (void)state;
    static const char *const media[HK_MEDIA] = {"messages", "memory", "hosts"};
    static const unsigned there[HK_MEDIA] = {
        [HK_BY_MESSAGES] = 1u << HK_FLAT | 1u << HK_TREE | 1u << HK_DIRECT | 1u << HK_RING,
        [HK_BY_MEMORY] = 1u << HK_FLAT | 1u << HK_STAGED | 1u << HK_READ | 1u << HK_LEARNED,
        [HK_BY_HOSTS] = 1u << HK_FLAT | 1u << HK_LEADERS | 1u << HK_LANES,
    };
    for (int medium = 0; medium < HK_MEDIA; medium++) {
        for (int way = 0; way < HK_ALGORITHMS; way++) {
            char row[80];
            snprintf(row, sizeof row, "all_reduce %s 2- 0- %s", media[medium],
                     hk_algorithm_name((hk_algorithm)way));
            if ((there[medium] >> way & 1) == 0) {
                refuse(row, "line 1");
                continue;
            }
            parse(row);
            CHECK_INT(way, look_up((hk_medium)medium, HK_ALL_REDUCE, 7, 12345));
        }
    }
}

static void what_is_no_row_is_refused_with_its_line(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "all_reduce",
        "all_reduce memory 2 0-16K",
        "all_reduce memory 2 0-16K flat flat",
        "all-reduce memory 2 0-16K flat",
        "ALL_REDUCE memory 2 0-16K flat",
        "all_reduce shm 2 0-16K flat",
        "all_reduce memory 2 0-16K quick",
        "all_reduce memory two 0-16K flat",
        "all_reduce memory -2 0-16K flat",
        "all_reduce memory - 0-16K flat",
        "all_reduce memory +2 0-16K flat",
        "all_reduce memory 0x2 0-16K flat",
        "all_reduce memory 2-4-8 0-16K flat",
        "all_reduce memory 4-2 0-16K flat",
        "all_reduce memory 2147483648 0- flat",
        "all_reduce memory 2-3G 0- flat",
        "all_reduce memory 2 0-16k flat",
        "all_reduce memory 2 0-16KB flat",
        "all_reduce memory 2 0-16KK flat",
        "all_reduce memory 2 16K-4K flat",
        "all_reduce memory 2 0--4K flat",
        "all_reduce memory 2 0-, flat",
        "all_reduce memory 2 K flat",
        "all_reduce memory 2 18446744073709551616 flat",
        "all_reduce memory 2 17179869184G flat",
        "all_reduce memory 2 0-99999999999999999999 flat",
        "all_reduce memory 2 1.5K flat",
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        char text[200];
        snprintf(text, sizeof text, "# first\nbroadcast memory 2 0-16K flat\n%s\n", rows[i]);
        refuse(text, "line 3");
        CHECK_HAS(hocket_last_error(), "all_reduce memory 2-4 0-16K flat");
    }
}

static void the_largest_numbers_are_read(void **state)
{
    (void)state;
    parse("all_reduce memory 0-2147483647 18446744073709551615 flat\n"
          "all_reduce memory 1 17179869183G- flat\n");
    CHECK_INT(INT_MAX, own.rows[0].ranks_to);
    CHECK(own.rows[0].bytes_from == SIZE_MAX && own.rows[0].bytes_to == SIZE_MAX);
    CHECK(own.rows[1].bytes_from == SIZE_MAX - (KIB * KIB * KIB - 1));
}

static void limits_hold(void **state)
{
    (void)state;
    const char *row = "all_reduce memory 2 0-16K flat\n";
    size_t length = strlen(row), used = 0;
    char *text = malloc((HK_CHOICES_MAX + 1) * length + 600);
    CHECK(text != NULL);
    for (int i = 0; i < HK_CHOICES_MAX; i++, used += length)
        memcpy(text + used, row, length);
    CHECK_OK(hk_choices_parse(text, used, &own));
    CHECK_INT(HK_CHOICES_MAX, own.count);
    memcpy(text + used, row, length);
    CHECK_STATUS(HOCKET_ERR_INVALID, hk_choices_parse(text, used + length, &own));
    CHECK_HAS(hocket_last_error(), "line 257");
    CHECK_HAS(hocket_last_error(), "256 rows");

    memset(text, ' ', 600);
    memcpy(text, row, length - 1);
    CHECK_OK(hk_choices_parse(text, 255, &own)); /* as it ends with the text, or with a newline */
    text[255] = '\n';
    CHECK_OK(hk_choices_parse(text, 400, &own));
    text[255] = ' ';
    text[256] = '\n';
    CHECK_STATUS(HOCKET_ERR_INVALID, hk_choices_parse(text, 257, &own));
    text[10] = '\0';
    CHECK_STATUS(HOCKET_ERR_INVALID, hk_choices_parse(text, length, &own));
    CHECK_HAS(hocket_last_error(), "no text");
    free(text);
}

/* === The look-up ============================================================================== */

static void the_first_row_that_fits_wins(void **state)
{
    (void)state;
    parse("all_reduce memory 2 0-4K staged\n"
          "all_reduce memory 2-4 0-16K read\n"
          "all_reduce memory 2- 0-16K flat\n"
          "all_reduce memory 2 1M- flat\n");
    CHECK_INT(HK_STAGED, look_up(HK_BY_MEMORY, HK_ALL_REDUCE, 2, 4 * KIB));
    CHECK_INT(HK_READ, look_up(HK_BY_MEMORY, HK_ALL_REDUCE, 2, 4 * KIB + 1));
    CHECK_INT(HK_READ, look_up(HK_BY_MEMORY, HK_ALL_REDUCE, 3, 4 * KIB));
    CHECK_INT(HK_READ, look_up(HK_BY_MEMORY, HK_ALL_REDUCE, 4, 16 * KIB));
    CHECK_INT(HK_FLAT, look_up(HK_BY_MEMORY, HK_ALL_REDUCE, 5, 16 * KIB));
    CHECK_INT(HK_FLAT, look_up(HK_BY_MEMORY, HK_ALL_REDUCE, 2, SIZE_MAX));
}

static void what_fits_no_own_row_goes_by_the_built_in_ones(void **state)
{
    (void)state;
    parse("all_reduce memory 2 100-200 read\n");
    for (int ranks = 2; ranks <= 20; ranks++)
        for (int operation = 0; operation < HK_OPERATIONS; operation++)
            for (int medium = 0; medium < HK_MEDIA; medium++)
                for (size_t bytes = 1; bytes < (size_t)1 << 30; bytes *= 3) {
                    bool fits = operation == HK_ALL_REDUCE && medium == HK_BY_MEMORY &&
                                ranks == 2 && bytes >= 100 && bytes <= 200;
                    hk_algorithm built_in = hk_choose(NULL, (hk_medium)medium,
                                                      (hk_operation)operation, ranks, bytes, false);
                    CHECK_INT(fits ? HK_READ : built_in,
                              look_up((hk_medium)medium, (hk_operation)operation, ranks, bytes));
                }
}

/* A fold that must go from first to last is never given to a ring, whose folds begin elsewhere. */
static void an_ordered_reduction_never_goes_by_a_ring(void **state)
{
    (void)state;
    parse("all_reduce messages 2- 0- ring\n"
          "all_reduce messages 2- 0- tree\n"
          "reduce_scatter messages 2- 0- ring\n");
    CHECK_INT(HK_RING, hk_choose(&own, HK_BY_MESSAGES, HK_ALL_REDUCE, 3, 100, false));
    CHECK_INT(HK_TREE, hk_choose(&own, HK_BY_MESSAGES, HK_ALL_REDUCE, 3, 100, true));
    CHECK_INT(HK_DIRECT, hk_choose(&own, HK_BY_MESSAGES, HK_REDUCE_SCATTER, 3, 100, true));
    CHECK_INT(HK_DIRECT, hk_choose(NULL, HK_BY_MESSAGES, HK_ALL_REDUCE, 16, 64 << 20, true));
    CHECK_INT(HK_RING, hk_choose(NULL, HK_BY_MESSAGES, HK_ALL_REDUCE, 16, 64 << 20, false));
}

/* === A file =================================================================================== */

static void a_file_is_read_whole(void **state)
{
    (void)state;
    char path[] = "/tmp/hocket-test-choices-XXXXXX", *text;
    size_t length;
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK(write(fd, "all_reduce memory 2 0-1 flat", 28) == 28);
    CHECK_OK(hk_choices_load(path, &text, &length));
    CHECK_INT(28, length);
    CHECK(memcmp(text, "all_reduce memory 2 0-1 flat", 28) == 0);
    free(text);

    CHECK(ftruncate(fd, HK_CHOICES_TEXT_MAX) == 0);
    CHECK_OK(hk_choices_load(path, &text, &length));
    CHECK_INT(HK_CHOICES_TEXT_MAX, length);
    free(text);
    CHECK(ftruncate(fd, HK_CHOICES_TEXT_MAX + 1) == 0);
    CHECK_STATUS(HOCKET_ERR_INVALID, hk_choices_load(path, &text, &length));
    CHECK(text == NULL);
    CHECK_HAS(hocket_last_error(), path);
    close(fd);
    unlink(path);
    CHECK_STATUS(HOCKET_ERR_SYSTEM, hk_choices_load(path, &text, &length));
    CHECK(text == NULL);
    CHECK_HAS(hocket_last_error(), "No such file");
    CHECK_STATUS(HOCKET_ERR_SYSTEM, hk_choices_load("/tmp", &text, &length));
    CHECK(text == NULL);
}

/* === hocket_tune ============================================================================== */

static void check_sum(hocket_group *group, size_t count)
{
    int size = hocket_world_size(group);
    float *data = malloc(count * sizeof *data);
    CHECK(data != NULL);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(i % 100 + (size_t)hocket_rank(group));
    CHECK_OK(hocket_all_sum(group, data, count));
    for (size_t i = 0; i < count; i++)
        CHECK(data[i] == (float)((int)(i % 100) * size + size * (size - 1) / 2));
    free(data);
}

static void each_way_works(struct member *me)
{
    static const char *const rows[] = {
        "all_reduce messages 2- 0- flat\nall_reduce memory 2- 0- flat\n",
        "all_reduce messages 2- 0- tree\nall_reduce memory 2- 0- staged\n",
        "all_reduce messages 2- 0- direct\nall_reduce memory 2- 0- read\n",
        "all_reduce messages 2- 0- ring\n",
        "# none\n",
        "",
        NULL,
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        /* What the others hand over does not matter. */
        CHECK_OK(hocket_tune(me->world, me->rank == 0 ? rows[i] : "these are no rows"));
        check_sum(me->world, 3);
        check_sum(me->world, 5001);
        check_sum(me->world, 50000);
    }
}

/* What it does to the look-up of everyone: a ring's sum of floats has other bits on some rank. */
static void the_table_decides(struct member *me)
{
    enum { COUNT = 1000 };
    float data[2][COUNT];
    const char *rows[] = {NULL, "all_reduce messages 2- 0- ring\n"};
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < COUNT; i++)
            data[turn][i] = me->rank == 0 ? 1.0f : 1e-8f * (float)(i % 7 + 4);
        CHECK_OK(hocket_tune(me->world, rows[turn]));
        CHECK_OK(hocket_all_sum(me->world, data[turn], COUNT));
    }
    CHECK(memcmp(data[0], data[1], sizeof data[0]) != 0);
}

static void bad_rows_change_nothing(struct member *me)
{
    char *large = malloc(HK_CHOICES_TEXT_MAX + 2);
    CHECK(large != NULL);
    memset(large, '\n', HK_CHOICES_TEXT_MAX + 1);
    large[HK_CHOICES_TEXT_MAX + 1] = '\0';
    CHECK_OK(hocket_tune(me->world, "all_reduce messages 2- 0- tree\n"));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_tune(me->world, "\nall_reduce by pigeon\n"));
    CHECK_HAS(hocket_last_error(), "line 2");
    check_sum(me->world, 100);
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_tune(me->world, large));
    CHECK_HAS(hocket_last_error(), "65536");
    check_sum(me->world, 100);
    large[HK_CHOICES_TEXT_MAX] = '\0';
    CHECK_OK(hocket_tune(me->world, large));
    check_sum(me->world, 100);
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_tune(NULL, NULL));
    free(large);
}

static void only_a_group_of_all_may(struct member *me)
{
    hocket_group *half, *again;
    CHECK_OK(hocket_split(me->world, me->rank % 2, 0, &half));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_tune(half, "all_reduce messages 2- 0- ring\n"));
    CHECK_HAS(hocket_last_error(), "group of all");
    check_sum(half, 100);
    hocket_free(half);
    CHECK_OK(hocket_split(me->world, 0, -me->rank, &again)); /* all, the other way round */
    CHECK_OK(hocket_tune(again, me->rank == me->size - 1 ? "all_reduce messages 2- 0- ring\n"
                                                         : "no rows"));
    check_sum(again, 100);
    hocket_free(again);
}

static void a_bad_table_leaves_the_group_alive(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        RANKS(harness_backends[i], 3, bad_rows_change_nothing, NULL);
}

static void tuned_ranks_go_every_way(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        for (int size = 1; size <= 4; size += 1 + (size == 2))
            RANKS(harness_backends[i], size, each_way_works, NULL);
}

static void tuning_reaches_all_ranks(void **state)
{
    (void)state;
    RANKS(&harness_tcp, 4, the_table_decides, NULL);
    RANKS(&harness_local, 3, the_table_decides, NULL);
}

static void tuning_belongs_to_the_world(void **state)
{
    (void)state;
    RANKS(&harness_tcp, 4, only_a_group_of_all_may, NULL);
    RANKS(&harness_shm, 4, only_a_group_of_all_may, NULL);
}

int main(void)
{
    harness_clear_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read),
        cmocka_unit_test(text_without_rows_is_an_empty_table),
        cmocka_unit_test(every_way_has_a_name_and_its_media),
        cmocka_unit_test(what_is_no_row_is_refused_with_its_line),
        cmocka_unit_test(the_largest_numbers_are_read),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(the_first_row_that_fits_wins),
        cmocka_unit_test(what_fits_no_own_row_goes_by_the_built_in_ones),
        cmocka_unit_test(an_ordered_reduction_never_goes_by_a_ring),
        cmocka_unit_test(a_file_is_read_whole),
        cmocka_unit_test(a_bad_table_leaves_the_group_alive),
        cmocka_unit_test(tuned_ranks_go_every_way),
        cmocka_unit_test(tuning_reaches_all_ranks),
        cmocka_unit_test(tuning_belongs_to_the_world),
    };
    return cmocka_run_group_tests_name("choices", tests, NULL, NULL);
}
