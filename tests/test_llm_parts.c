/* The small parts of examples/llm: who has what, what is picked, how a prompt is framed, what the
 * command line may say. */
#include "chat.h"
#include "fault.h"
#include "options.h"
#include "sampler.h"
#include "shares.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

static const model smol = {.layers = 30,
                           .width = 576,
                           .inside = 1536,
                           .heads = 9,
                           .kv_heads = 3,
                           .head_width = 64,
                           .vocabulary = 49152};

static share cut(const options *chosen, int ranks, int rank)
{
    grid place;
    share mine;
    if (!shares_grid(chosen, ranks, rank, &place) || !shares_cut(&smol, chosen, &place, &mine))
        fail_msg("rank %d of %d: %s", rank, ranks, fault_text());
    return mine;
}

static void expect_span(span got, int start, int stop)
{
    if (got.start != start || got.stop != stop)
        fail_msg("%d to %d, not %d to %d", got.start, got.stop, start, stop);
}

/* === Shares =================================================================================== */

static void nine_heads_for_two_are_five_and_four(void **state)
{
    (void)state;
    const options chosen = {.parallel = PARALLEL_TP};
    share first = cut(&chosen, 2, 0), second = cut(&chosen, 2, 1);
    expect_span(first.heads, 0, 5);
    expect_span(first.kv_heads, 0, 2); /* the middle one is on both */
    expect_span(second.heads, 5, 9);
    expect_span(second.kv_heads, 1, 3);
    expect_span(first.inside, 0, 768);
    expect_span(second.inside, 768, 1536);
    expect_span(second.rows, 24576, 49152);
    expect_span(second.layers, 0, 30);
    assert_true(first.is_first && first.is_last && second.is_first && second.is_last);
}

static void shares_cover_everything_once(void **state)
{
    (void)state;
    options chosen = {.parallel = PARALLEL_TP};
    for (int ranks = 1; ranks <= 9; ranks++) {
        int heads = 0, inside = 0, rows = 0, least = 9, most = 0;
        for (int rank = 0; rank < ranks; rank++) {
            share mine = cut(&chosen, ranks, rank);
            assert_int_equal(mine.heads.start, heads);
            assert_int_equal(mine.inside.start, inside);
            assert_int_equal(mine.rows.start, rows);
            assert_int_equal(mine.inside.stop % 32, 0);
            assert_int_equal(mine.kv_heads.start, mine.heads.start / 3);
            assert_int_equal(mine.kv_heads.stop, (mine.heads.stop + 2) / 3);
            heads = mine.heads.stop;
            inside = mine.inside.stop;
            rows = mine.rows.stop;
            least = span_length(mine.heads) < least ? span_length(mine.heads) : least;
            most = span_length(mine.heads) > most ? span_length(mine.heads) : most;
        }
        assert_int_equal(heads, 9);
        assert_int_equal(inside, 1536);
        assert_int_equal(rows, 49152);
        assert_true(most - least <= 1);
    }
}

static void unequal_shares_are_kept(void **state)
{
    (void)state;
    options chosen = {.parallel = PARALLEL_TP, .shares = {2, 1}, .share_count = 2};
    expect_span(cut(&chosen, 2, 0).heads, 0, 6);
    expect_span(cut(&chosen, 2, 0).inside, 0, 1024);
    expect_span(cut(&chosen, 2, 1).inside, 1024, 1536);
    chosen.parallel = PARALLEL_PP;
    expect_span(cut(&chosen, 2, 0).layers, 0, 20);
    expect_span(cut(&chosen, 2, 1).layers, 20, 30);
    expect_span(cut(&chosen, 2, 1).heads, 0, 9);
}

static void grids_cross_stages_and_parts(void **state)
{
    (void)state;
    options chosen = {.parallel = PARALLEL_BOTH};
    grid place;
    assert_true(shares_grid(&chosen, 6, 4, &place));
    assert_int_equal(place.stages, 2);
    assert_int_equal(place.parts, 3);
    assert_int_equal(place.stage, 1);
    assert_int_equal(place.part, 1);
    expect_span(cut(&chosen, 6, 4).layers, 15, 30);
    expect_span(cut(&chosen, 6, 4).heads, 3, 6);
    assert_true(cut(&chosen, 6, 4).is_last);
    assert_false(cut(&chosen, 6, 4).is_first);
    chosen.stages = 3;
    assert_true(shares_grid(&chosen, 6, 4, &place));
    assert_int_equal(place.parts, 2);
}

static void expect_no_share(options chosen, int ranks, int rank, const char *words)
{
    grid place;
    share mine;
    if (shares_grid(&chosen, ranks, rank, &place) && shares_cut(&smol, &chosen, &place, &mine))
        fail_msg("%d ranks are no fault", ranks);
    if (!strstr(fault_text(), words))
        fail_msg("'%s' does not say '%s'", fault_text(), words);
}

static void too_many_ranks_are_refused(void **state)
{
    (void)state;
    expect_no_share((options){.parallel = PARALLEL_TP}, 10, 0, "10 ranks cannot share 9 heads");
    expect_no_share((options){.parallel = PARALLEL_PP}, 31, 3, "31 stages cannot share 30 layers");
    expect_no_share((options){.parallel = PARALLEL_BOTH}, 5, 0, "5 ranks make no grid");
    expect_no_share((options){.parallel = PARALLEL_BOTH, .stages = 4}, 6, 0, "6 ranks make no");
    expect_no_share((options){.parallel = PARALLEL_BOTH}, 2, 0, "2 ranks make no grid");
    /* Every rank hears of it, not only the one that would have nothing. */
    for (int rank = 0; rank < 2; rank++)
        expect_no_share((options){.shares = {100, 1}, .share_count = 2}, 2, rank,
                        "rank 1 would have no part");
    expect_no_share((options){.shares = {1, 1, 1}, .share_count = 3}, 2, 0,
                    "3 numbers for 2 ranks");
}

/* === Sampler ================================================================================== */

static void greedy_takes_the_first_of_the_likeliest(void **state)
{
    (void)state;
    sampler from = {.temperature = 0};
    int token;
    assert_true(sampler_pick(&from, (const float[]){1, NAN, 3, 2, 3}, 5, &token));
    assert_int_equal(token, 2);
    assert_false(sampler_pick(&from, (const float[]){NAN, NAN}, 2, &token));
    assert_false(sampler_pick(&from, (const float[]){0, INFINITY}, 2, &token));
    assert_true(sampler_pick(&from, (const float[]){-INFINITY, -1}, 2, &token));
    assert_int_equal(token, 1);
}

/* Probabilities 1/2, 1/4, 1/8, 1/8 at temperature 1. */
static const float quarters[] = {-0.69314718f, -1.38629436f, -2.07944154f, -2.07944154f};

static void frequencies(double temperature, double top_p, int counts[4])
{
    sampler from = {.temperature = temperature, .top_p = top_p, .state = 7};
    memset(counts, 0, 4 * sizeof *counts);
    for (int i = 0; i < 16000; i++) {
        int token;
        assert_true(sampler_pick(&from, quarters, 4, &token));
        counts[token]++;
    }
    sampler_free(&from);
}

static void tokens_come_as_often_as_they_are_likely(void **state)
{
    (void)state;
    int counts[4];
    frequencies(1, 1, counts);
    assert_in_range(counts[0], 7700, 8300);
    assert_in_range(counts[1], 3700, 4300);
    assert_in_range(counts[2], 1800, 2200);
    frequencies(0.5, 1, counts); /* their squares: 16, 4, 1, 1 of 22 */
    assert_in_range(counts[0], 11300, 11950);
    frequencies(1, 0.7, counts); /* the first two alone */
    assert_in_range(counts[0], 10300, 11000);
    assert_int_equal(counts[0] + counts[1], 16000);
    frequencies(1, 0.5, counts);
    assert_int_equal(counts[0], 16000);
}

static void a_seed_repeats_its_tokens(void **state)
{
    (void)state;
    int picks[2][50], others = 0;
    for (int round = 0; round < 3; round++) {
        sampler from = {.temperature = 1, .top_p = 1, .state = round < 2 ? 42 : 43};
        for (int i = 0; i < 50; i++) {
            int token;
            assert_true(sampler_pick(&from, quarters, 4, &token));
            if (round < 2)
                picks[round][i] = token;
            else
                others += token != picks[0][i];
        }
        sampler_free(&from);
    }
    assert_memory_equal(picks[0], picks[1], sizeof picks[0]);
    assert_true(others > 5);
}

/* === Chat ===================================================================================== */

static void expect_chat(const char *template, const char *wanted, bool is_known)
{
    char *text;
    bool known;
    assert_true(chat_format(template, "Hi {x}", &text, &known));
    assert_string_equal(text, wanted);
    assert_int_equal(known, is_known);
    free(text);
}

static void prompts_become_conversations(void **state)
{
    (void)state;
    expect_chat("{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{{'<|im_start|>' + role}}",
                "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi {x}<|im_end|>\n"
                "<|im_start|>assistant\n",
                true);
    expect_chat("{{'<|im_start|>system\n' + content + '<|im_end|>'}}",
                "<|im_start|>user\nHi {x}<|im_end|>\n<|im_start|>assistant\n", true);
    expect_chat("[INST] {{ content }} [/INST]", "Hi {x}", false);
    expect_chat(NULL, "Hi {x}", false);
}

/* === Options ================================================================================== */

static bool parse(options *chosen, const char *const *words)
{
    char *argv[16] = {"llm", "--model", "m", "--prompt", "p"};
    int argc = 5;
    for (; *words; words++)
        argv[argc++] = (char *)*words;
    bool help;
    return options_parse(argc, argv, chosen, &help);
}

static void options_are_taken(void **state)
{
    (void)state;
    options chosen;
    const char *const words[] = {"--tokens",  "9",  "--parallel", "tp,pp",   "--device", "cpu",
                                 "--weights", "q4", "--shares",   "2:1:0.5", NULL};
    assert_true(parse(&chosen, words));
    assert_int_equal(chosen.tokens, 9);
    assert_int_equal(chosen.parallel, PARALLEL_BOTH);
    assert_string_equal(chosen.device, "cpu");
    assert_int_equal(chosen.weights, WEIGHTS_Q4);
    assert_int_equal(chosen.share_count, 3);
    assert_true(chosen.shares[2] == 0.5);
    assert_true(parse(&chosen, (const char *const[]){NULL}));
    assert_int_equal(chosen.tokens, 64);
    assert_true(chosen.temperature == 0);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"--tokens", "0"},       {"--tokens", "x"},
        {"--tokens", "1.5"},     {"--shares", "1:"},
        {"--shares", "1:-1"},    {"--shares", "1:inf"},
        {"--parallel", "dp"},    {"--device", "gpu"},
        {"--temperature", "-1"}, {"--top-p", "0"},
        {"--seed", "-1"},        {"--weights", "q5"},
        {"--stages", "2"},       {"--seed", "99999999999999999999"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options chosen;
        if (parse(&chosen, cases[i]))
            fail_msg("%s %s is taken", cases[i][0], cases[i][1]);
        assert_non_null(strstr(fault_text(), cases[i][0]));
    }
    options chosen;
    bool help;
    assert_false(options_parse(3, (char *[]){"llm", "--model", "m", NULL}, &chosen, &help));
    assert_non_null(strstr(fault_text(), "--prompt"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nine_heads_for_two_are_five_and_four),
        cmocka_unit_test(shares_cover_everything_once),
        cmocka_unit_test(unequal_shares_are_kept),
        cmocka_unit_test(grids_cross_stages_and_parts),
        cmocka_unit_test(too_many_ranks_are_refused),
        cmocka_unit_test(greedy_takes_the_first_of_the_likeliest),
        cmocka_unit_test(tokens_come_as_often_as_they_are_likely),
        cmocka_unit_test(a_seed_repeats_its_tokens),
        cmocka_unit_test(prompts_become_conversations),
        cmocka_unit_test(options_are_taken),
        cmocka_unit_test(wrong_options_are_named),
    };
    return cmocka_run_group_tests_name("llm_parts", tests, NULL, NULL);
}
