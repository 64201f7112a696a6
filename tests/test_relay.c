/* The relay: what comes out of the pipeline, that its stages work at the same time, and what every
 * rank hears when one of them fails. */
#include <hocket/transport.h>
#include <signal.h>
#include <stdint.h>

#include "harness.h"

#define LIMIT_SECONDS 15 /* of a stage that waits for another one */

static void over_each(int size, member_body body, void *context)
{
    for (int b = 0; harness_backends[b] != NULL; b++)
        harness_run(&(struct harness_run){.backend = harness_backends[b],
                                          .size = size,
                                          .body = body,
                                          .context = context,
                                          .seconds = 60});
}

static void free_pieces(hocket_piece *pieces, int count)
{
    for (int i = 0; i < count; i++)
        free(pieces[i].bytes);
}

static hocket_status copy_piece(const hocket_piece *in, hocket_piece *out)
{
    out->length = in->length;
    out->bytes = malloc(in->length + 1);
    if (out->bytes == NULL)
        return HOCKET_ERR_NO_MEMORY;
    if (in->length > 0)
        memcpy(out->bytes, in->bytes, in->length);
    return HOCKET_OK;
}

/* === Values =================================================================================== */

enum { LENGTH_MAX = 200, GROWTH = 3 };

/* Longer, shorter, or empty, depending on rank and batch. */
static size_t length_after(int rank, int batch, size_t length)
{
    if ((rank + batch) % 5 == 4)
        return 0;
    return (rank + batch) % 3 == 0 ? length / 2 : length + GROWTH;
}

static size_t length_of_input(int batch)
{
    return batch % 4 == 1 ? 0 : (size_t)(batch * 37 % LENGTH_MAX);
}

/* What the pieces are after that many stages. */
static size_t simulate(int stages, int batch, unsigned char *bytes)
{
    size_t length = length_of_input(batch);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(i + (size_t)batch);
    for (int r = 0; r < stages; r++) {
        size_t before = length;
        length = length_after(r, batch, length);
        for (size_t i = 0; i < length; i++)
            bytes[i] = (unsigned char)(7 * (i < before ? bytes[i] : r) + batch);
    }
    return length;
}

static hocket_status calculate(void *context, int batch, const hocket_piece *in, hocket_piece *out)
{
    const struct member *me = context;
    const unsigned char *from = in->bytes;
    size_t length = length_after(me->rank, batch, in->length);
    unsigned char *to = length > 0 ? malloc(length) : NULL;
    CHECK(out->bytes == NULL && out->length == 0);
    for (size_t i = 0; i < length; i++)
        to[i] = (unsigned char)(7 * (i < in->length ? from[i] : me->rank) + batch);
    *out = (hocket_piece){to, length};
    return HOCKET_OK;
}

static void make_inputs(hocket_piece *inputs, int batches)
{
    for (int i = 0; i < batches; i++) {
        size_t length = length_of_input(i);
        inputs[i] = (hocket_piece){length > 0 ? malloc(length) : NULL, length};
        unsigned char whole[LENGTH_MAX];
        simulate(0, i, whole);
        if (length > 0)
            memcpy(inputs[i].bytes, whole, length);
    }
}

static void check_results(const struct member *me, const hocket_piece *results, int batches)
{
    for (int i = 0; i < batches; i++) {
        unsigned char expected[LENGTH_MAX + HARNESS_RANKS_MAX * GROWTH];
        size_t length = simulate(me->size, i, expected);
        CHECK_INT(length, results[i].length);
        CHECK_THAT(length == 0 || memcmp(results[i].bytes, expected, length) == 0,
                   "batch %d has other bytes", i);
    }
}

static void relay_some(struct member *me, int batches)
{
    hocket_piece *inputs = calloc((size_t)batches + 1, sizeof *inputs);
    hocket_piece *results = calloc((size_t)batches + 1, sizeof *results);
    if (me->rank == 0)
        make_inputs(inputs, batches);
    CHECK_OK(
        hocket_relay(me->world, calculate, me, me->rank == 0 ? inputs : NULL, batches, results));
    check_results(me, results, batches);
    free_pieces(inputs, batches);
    free_pieces(results, batches);
    free(inputs);
    free(results);
}

static void calculates(struct member *me)
{
    static const int counts[] = {0, 1, 2, 5, 23};
    for (size_t i = 0; i < LENGTH(counts); i++) {
        harness_note("%d batches", counts[i]);
        relay_some(me, counts[i]);
    }
    CHECK_OK(hocket_barrier(me->world));
}

static void results_are_the_same_on_every_rank(void **state)
{
    static const int sizes[] = {1, 2, 3, 4, 5, 8};
    (void)state;
    for (size_t i = 0; i < LENGTH(sizes); i++)
        over_each(sizes[i], calculates, NULL);
}

static void calculates_much(struct member *me)
{
    relay_some(me, 1000);
}

static void a_thousand_batches_go_through(void **state)
{
    (void)state;
    over_each(3, calculates_much, NULL);
}

static void starts_two(struct member *me)
{
    enum { BATCHES = 9 };
    hocket_piece inputs[BATCHES] = {{NULL, 0}}, first[BATCHES], second[BATCHES];
    hocket_request *requests[2];
    float one = 1;
    make_inputs(inputs, BATCHES);
    CHECK_OK(hocket_relay_async(me->world, calculate, me, inputs, BATCHES, first, &requests[0]));
    CHECK_OK(hocket_relay_async(me->world, calculate, me, inputs, BATCHES, second, &requests[1]));
    CHECK_OK(hocket_all_sum(me->world, &one, 1));
    CHECK_INT(me->size, one);
    CHECK_OK(hocket_wait(requests[1]));
    CHECK_OK(hocket_wait(requests[0]));
    check_results(me, first, BATCHES);
    check_results(me, second, BATCHES);
    free_pieces(inputs, BATCHES);
    free_pieces(first, BATCHES);
    free_pieces(second, BATCHES);
}

static void relays_are_requests_too(void **state)
{
    (void)state;
    over_each(3, starts_two, NULL);
}

/* === Large pieces ============================================================================= */

struct large {
    size_t length;
    int batches;
};

/* Stamps its rank on the piece, one of a large piece's bytes. */
static hocket_status stamp(void *context, int batch, const hocket_piece *in, hocket_piece *out)
{
    const struct member *me = context;
    (void)batch;
    hocket_status status = copy_piece(in, out);
    if (status == HOCKET_OK)
        ((unsigned char *)out->bytes)[in->length / 2 + (size_t)me->rank] = 200;
    return status;
}

static void moves_much(struct member *me)
{
    const struct large *large = me->context;
    hocket_piece inputs[8], results[8];
    unsigned char *bytes = malloc(large->length), *stamped;
    fill_bytes(bytes, large->length, 3);
    for (int i = 0; i < large->batches; i++)
        inputs[i] = (hocket_piece){bytes, large->length};
    CHECK_OK(hocket_relay(me->world, stamp, me, inputs, large->batches, results));
    stamped = bytes;
    memset(stamped + large->length / 2, 200, (size_t)me->size);
    for (int i = 0; i < large->batches; i++) {
        CHECK_INT(large->length, results[i].length);
        CHECK(memcmp(results[i].bytes, stamped, large->length) == 0);
    }
    free_pieces(results, large->batches);
    free(bytes);
}

static void large_pieces_do_not_block_each_other(void **state)
{
    size_t less = harness_slowness() > 1 ? 10 : 1; /* a sanitizer looks at each byte */
    (void)state;
    over_each(2, moves_much, &(struct large){100000000 / less, 1});
    over_each(3, moves_much, &(struct large){8000000 / less, 8});
    over_each(8, moves_much, &(struct large){3000000 / less, 8});
}

/* === At the same time ========================================================================= */

/* Slots of the shared numbers: the last batch that this rank's stage has begun, + 1. */
static bool wait_for_batch(struct member *me, int rank, int batch)
{
    double limit = seconds_now() + LIMIT_SECONDS * harness_slowness();
    while (me->shared[rank] < batch + 1 && seconds_now() < limit)
        sleep_seconds(0.001);
    return me->shared[rank] >= batch + 1;
}

struct ahead {
    size_t length;
    int batches;
    int lead; /* how far a stage must get ahead of the one after it; 0: that one must follow */
};

/* Does not end before the stage in front of it is at a later batch. */
static hocket_status wait_for_the_one_before(void *context, int batch, const hocket_piece *in,
                                             hocket_piece *out)
{
    struct member *me = context;
    const struct ahead *ahead = me->context;
    int least = batch + ahead->lead < ahead->batches ? batch + ahead->lead : ahead->batches - 1;
    me->shared[me->rank] = batch + 1;
    if (me->rank > 0 && !wait_for_batch(me, me->rank - 1, least))
        return hocket_transport_error(HOCKET_ERR_TIMEOUT,
                                      "batch %d here, and the stage before is not at %d", batch,
                                      least);
    return copy_piece(in, out);
}

/* Does not end before the stage after it has what this one made of the last batch. */
static hocket_status wait_for_the_one_after(void *context, int batch, const hocket_piece *in,
                                            hocket_piece *out)
{
    struct member *me = context;
    me->shared[me->rank] = batch + 1;
    if (me->rank < me->size - 1 && batch > 0 && !wait_for_batch(me, me->rank + 1, batch - 1))
        return hocket_transport_error(HOCKET_ERR_TIMEOUT,
                                      "batch %d here, and the stage after has not the one before",
                                      batch);
    return copy_piece(in, out);
}

static void works_ahead(struct member *me)
{
    const struct ahead *ahead = me->context;
    hocket_piece inputs[16], results[16];
    void *bytes = calloc(1, ahead->length);
    for (int i = 0; i < ahead->batches; i++)
        inputs[i] = (hocket_piece){bytes, ahead->length};
    hocket_stage_fn stage = ahead->lead > 0 ? wait_for_the_one_before : wait_for_the_one_after;
    CHECK_OK(hocket_relay(me->world, stage, me, inputs, ahead->batches, results));
    free_pieces(results, ahead->batches);
    free(bytes);
}

static void stages_work_at_the_same_time(void **state)
{
    (void)state;
    over_each(2, works_ahead, &(struct ahead){10, 3, 1});
    over_each(4, works_ahead, &(struct ahead){10, 16, 3});
}

/* Larger than what a socket or a segment holds: somebody has to send and to take them while stages
 * run. A lead of 5 is more than may be under way. */
static void pieces_move_while_stages_work(void **state)
{
    (void)state;
    over_each(2, works_ahead, &(struct ahead){16000000, 8, 5});
    over_each(3, works_ahead, &(struct ahead){16000000, 4, 0});
}

/* A stage of a model is itself shared by a group. */
static hocket_status sum_with_others(void *context, int batch, const hocket_piece *in,
                                     hocket_piece *out)
{
    hocket_status status = copy_piece(in, out);
    (void)batch;
    return status == HOCKET_OK ? hocket_all_sum(context, out->bytes, 1) : status;
}

static void has_a_grid(struct member *me)
{
    enum { BATCHES = 6 };
    hocket_group *stage, *pipeline;
    hocket_piece inputs[BATCHES], results[BATCHES];
    float values[BATCHES];
    CHECK_OK(hocket_split(me->world, me->rank / 2, 0, &stage));
    CHECK_OK(hocket_split(me->world, me->rank % 2, 0, &pipeline));
    for (int i = 0; i < BATCHES; i++) {
        values[i] = (float)(i + me->rank);
        inputs[i] = (hocket_piece){&values[i], sizeof values[i]};
    }
    CHECK_OK(hocket_relay(pipeline, sum_with_others, stage, inputs, BATCHES, results));
    for (int i = 0; i < BATCHES; i++)
        CHECK_INT(2 * (2 * i + 1), *(float *)results[i].bytes);
    free_pieces(results, BATCHES);
    hocket_free(stage);
    hocket_free(pipeline);
}

static void a_stage_may_call_other_groups(void **state)
{
    (void)state;
    over_each(4, has_a_grid, NULL);
}

/* === Failures ================================================================================= */

struct failing {
    int rank, batch, batches;
    hocket_status status, expected;
    const char *reason, *told; /* what the stage says, and what all ranks are told */
};

static hocket_status fail_somewhere(void *context, int batch, const hocket_piece *in,
                                    hocket_piece *out)
{
    const struct member *me = context;
    const struct failing *f = me->context;
    hocket_status status = copy_piece(in, out);
    if (status != HOCKET_OK || me->rank != f->rank || batch != f->batch)
        return status;
    return f->reason != NULL ? hocket_transport_error(f->status, "%s", f->reason) : f->status;
}

static void one_stage_fails(struct member *me)
{
    const struct failing *f = me->context;
    hocket_piece inputs[32] = {{NULL, 0}}, results[32];
    char told[128];
    harness_note("rank %d at batch %d with %d", f->rank, f->batch, (int)f->status);
    hocket_split(me->world, 0, 0, NULL); /* an error of long ago is nobody's reason */
    CHECK_STATUS(f->expected,
                 hocket_relay(me->world, fail_somewhere, me, inputs, f->batches, results));
    CHECK_INT(f->rank, hocket_last_error_rank());
    CHECK_INT(1, hocket_last_error_ranks(NULL, 0));
    snprintf(told, sizeof told, "rank %d's stage failed at batch %d: %s", f->rank, f->batch,
             f->told);
    CHECK_HAS(hocket_last_error(), told);
    for (int i = 0; i < f->batches; i++)
        CHECK(results[i].bytes == NULL && results[i].length == 0);
    CHECK_STATUS(f->expected, hocket_barrier(me->world));
    CHECK_HAS(hocket_last_error(), told);
}

static void a_failed_stage_is_an_error_on_every_rank(void **state)
{
    static const struct failing cases[] = {
        {0, 0, 1, HOCKET_ERR_BACKEND, HOCKET_ERR_BACKEND, "no more paper", "no more paper"},
        {2, 3, 5, HOCKET_ERR_NO_MEMORY, HOCKET_ERR_NO_MEMORY, NULL, "out of memory"},
        {1, 30, 32, HOCKET_ERR_UNSUPPORTED, HOCKET_ERR_UNSUPPORTED, NULL, "unsupported"},
        {1, 1, 3, HOCKET_ERR_INVALID, HOCKET_ERR_INVALID, "a token of -3", "a token of -3"},
        {2, 0, 3, (hocket_status)77, HOCKET_ERR_BACKEND, NULL, "unknown status"},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        over_each(3, one_stage_fails, (void *)&cases[i]);
    over_each(1, one_stage_fails, (void *)&cases[0]);
    over_each(8, one_stage_fails, (void *)&cases[3]);
}

static hocket_status make_nothing_much(void *context, int batch, const hocket_piece *in,
                                       hocket_piece *out)
{
    (void)context, (void)batch, (void)in;
    out->length = 12;
    return HOCKET_OK;
}

static void makes_bytes_nowhere(struct member *me)
{
    hocket_piece input = {NULL, 0}, result;
    CHECK_STATUS(HOCKET_ERR_INVALID,
                 hocket_relay(me->world, make_nothing_much, me, &input, 1, &result));
    CHECK_HAS(hocket_last_error(), "rank 0's stage failed at batch 0: it made 12 bytes at NULL");
}

static void what_a_stage_made_is_looked_at(void **state)
{
    (void)state;
    over_each(2, makes_bytes_nowhere, NULL);
}

/* Rank 0 never has to wait for anybody. */
static hocket_status abort_in_stage(void *context, int batch, const hocket_piece *in,
                                    hocket_piece *out)
{
    struct member *me = context;
    CHECK_THAT(batch < 999, "an abort long ago has not ended the relay");
    if (me->rank == 1 && batch == 1)
        CHECK_OK(hocket_abort(me->world, "the user went home"));
    if (me->rank == 0)
        sleep_seconds(0.01);
    return copy_piece(in, out);
}

static void aborts(struct member *me)
{
    enum { BATCHES = 1000 };
    static hocket_piece inputs[BATCHES];
    hocket_piece *results = calloc(BATCHES, sizeof *results);
    CHECK_STATUS(HOCKET_ERR_ABORTED,
                 hocket_relay(me->world, abort_in_stage, me, inputs, BATCHES, results));
    CHECK_INT(1, hocket_last_error_rank());
    CHECK_HAS(hocket_last_error(), "the user went home");
    me->shared[me->rank] = 1;
    CHECK(wait_for_batch(me, 1 - me->rank, 0)); /* nobody's leaving is what ends it */
    free(results);
}

static void an_abort_ends_it(void **state)
{
    (void)state;
    for (int b = 0; harness_backends[b] != NULL; b++)
        RANKS(harness_backends[b], 2, aborts, NULL);
}

/* === Deaths =================================================================================== */

static hocket_status die_somewhere(void *context, int batch, const hocket_piece *in,
                                   hocket_piece *out)
{
    struct member *me = context;
    const struct failing *f = me->context;
    if (me->rank == f->rank && batch == f->batch)
        member_end_by(me, SIGKILL);
    return copy_piece(in, out);
}

static void one_dies(struct member *me)
{
    const struct failing *f = me->context;
    hocket_piece inputs[32] = {{NULL, 0}}, results[32];
    harness_note("rank %d at batch %d", f->rank, f->batch);
    CHECK_STATUS(HOCKET_ERR_PEER_LOST,
                 hocket_relay(me->world, die_somewhere, me, inputs, f->batches, results));
    CHECK_INT(f->rank, hocket_last_error_rank());
    CHECK_INT(1, hocket_last_error_ranks(NULL, 0));
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_barrier(me->world));
}

static void a_rank_that_dies_in_its_stage_is_named_by_all(void **state)
{
    static const struct harness_backend *const backends[] = {&harness_tcp, &harness_shm};
    (void)state;
    for (size_t b = 0; b < LENGTH(backends); b++) {
        for (int rank = 0; rank < 4; rank++) {
            struct failing f = {.rank = rank, .batch = 2 * rank, .batches = 9};
            PROCESSES(backends[b], 4, one_dies, &f);
        }
    }
}

/* === Arguments ================================================================================ */

static void disagrees(struct member *me)
{
    hocket_piece inputs[4] = {{NULL, 0}}, results[4];
    int batches = me->rank == me->size - 1 ? 4 : *(const int *)me->context;
    hocket_status status = hocket_relay(me->world, calculate, me, inputs, batches, results);
    if (status == HOCKET_OK) {
        free_pieces(results, batches);
        status = hocket_barrier(me->world);
    }
    CHECK_THAT(status == HOCKET_ERR_MISMATCH, "%s", hocket_status_name(status));
    CHECK_HAS(hocket_last_error(), "relay #1 (4 batches)");
}

static void ranks_that_disagree_are_told(void **state)
{
    (void)state;
    for (int batches = 0; batches < 4; batches++)
        over_each(3, disagrees, &batches);
}

static void asks_wrong(struct member *me)
{
    hocket_group *g = me->world;
    hocket_piece inputs[2] = {{NULL, 0}}, results[2], bad = {NULL, 9};
    hocket_request *request;
    bool first = me->rank == 0;
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_relay(NULL, calculate, me, inputs, 2, results));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_relay(g, NULL, me, inputs, 2, results));
    CHECK_HAS(hocket_last_error(), "stage is NULL");
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_relay(g, calculate, me, inputs, -1, results));
    CHECK_HAS(hocket_last_error(), "batches is -1");
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_relay(g, calculate, me, inputs, 2, NULL));
    CHECK_STATUS(HOCKET_ERR_INVALID,
                 hocket_relay_async(g, calculate, me, inputs, 2, results, NULL));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_relay_async(g, NULL, me, inputs, 2, results, &request));
    CHECK(request == NULL);
    if (first) {
        CHECK_STATUS(HOCKET_ERR_INVALID, hocket_relay(g, calculate, me, NULL, 2, results));
        CHECK_HAS(hocket_last_error(), "inputs is NULL");
        CHECK_STATUS(HOCKET_ERR_INVALID, hocket_relay(g, calculate, me, &bad, 1, results));
        CHECK_HAS(hocket_last_error(), "inputs[0] has 9 bytes at NULL");
    }
    char before[256];
    snprintf(before, sizeof before, "%s", hocket_last_error());
    relay_some(me, 3);
    CHECK_TEXT(before, hocket_last_error());
    CHECK_OK(hocket_relay(g, calculate, me, NULL, 0, NULL));
}

static void wrong_arguments_break_nothing(void **state)
{
    (void)state;
    over_each(2, asks_wrong, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_the_same_on_every_rank),
        cmocka_unit_test(a_thousand_batches_go_through),
        cmocka_unit_test(relays_are_requests_too),
        cmocka_unit_test(large_pieces_do_not_block_each_other),
        cmocka_unit_test(stages_work_at_the_same_time),
        cmocka_unit_test(pieces_move_while_stages_work),
        cmocka_unit_test(a_stage_may_call_other_groups),
        cmocka_unit_test(a_failed_stage_is_an_error_on_every_rank),
        cmocka_unit_test(what_a_stage_made_is_looked_at),
        cmocka_unit_test(an_abort_ends_it),
        cmocka_unit_test(a_rank_that_dies_in_its_stage_is_named_by_all),
        cmocka_unit_test(ranks_that_disagree_are_told),
        cmocka_unit_test(wrong_arguments_break_nothing),
    };
    harness_clear_environment();
    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
