/* Collectives inside lazy graphs on mlx: when they run, in which order, and how they fail. */
#include "mlx_help.h"

#include <hocket/transport.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

static const hocket_mode modes[] = {HOCKET_EAGER, HOCKET_LAZY, HOCKET_COMPILED};
enum { MODES = 3, LOG_MAX = 16 };

/* === A transport that only counts ============================================================= */

/* Rank 0 of a world of two whose other rank always sends what this one does. */
typedef struct counter {
    int calls;
    size_t counts[LOG_MAX]; /* of each call, to tell them apart */
    int fail_at;            /* this call fails; -1: none */
    hocket_status failure;
} counter;

static int zero(void *self)
{
    (void)self;
    return 0;
}

static int two(void *self)
{
    (void)self;
    return 2;
}

static hocket_status no_messages(void *self, hocket_op *op)
{
    (void)self;
    (void)op;
    return hocket_transport_error(HOCKET_ERR_UNSUPPORTED, "no messages here");
}

static void cancel(void *self, hocket_op *op)
{
    (void)self;
    (void)op;
}

static hocket_status progress(void *self, int64_t wait_ns)
{
    (void)self;
    (void)wait_ns;
    return HOCKET_OK;
}

static bool probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    (void)self;
    (void)from;
    (void)context;
    (void)tag;
    (void)length;
    return false;
}

static hocket_status team_open(void *self, const int *ranks, int count, uint64_t context,
                               hocket_patience *patience, void **team)
{
    (void)ranks;
    (void)count;
    (void)context;
    (void)patience;
    *team = self;
    return HOCKET_OK;
}

static hocket_status all_reduce(void *team, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce, hocket_patience *patience)
{
    (void)dtype;
    (void)reduce;
    (void)patience;
    counter *c = team;
    if (c->calls == c->fail_at)
        return hocket_transport_error_ranks(c->failure, (int[]){1}, 1, "rank 1 is 100%% broken");
    c->counts[c->calls++ % LOG_MAX] = count;
    for (size_t i = 0; i < count; i++)
        ((float *)recv)[i] = 2 * ((const float *)send)[i];
    return HOCKET_OK;
}

static const hocket_collectives counting_collectives = {
    .size = sizeof(hocket_collectives),
    .team_open = team_open,
    .all_reduce = all_reduce,
};

static const hocket_transport counting = {
    .size = sizeof(hocket_transport),
    .name = "counting",
    .flags = HOCKET_TRANSPORT_DELEGATE,
    .rank = zero,
    .world_size = two,
    .post = no_messages,
    .cancel = cancel,
    .progress = progress,
    .probe = probe,
    .collectives = &counting_collectives,
};

static hocket_group *bind_counter(counter *c)
{
    hocket_group *group;
    *c = (counter){.fail_at = -1};
    OK(hocket_init_with(&counting, c, &group));
    OK(hocket_graph_bind_group(0, group));
    return group;
}

static void unbind(hocket_group *group)
{
    OK(hocket_graph_unbind_group(0));
    hocket_free(group);
}

/* === Graphs =================================================================================== */

/* "first" is the all_reduce of x, "second" that of first + 1, "third" that of x alone again. The
 * collectives have 2, 3 and 4 elements, so that a log tells which ran. */
static hocket_executable *three_collectives(const char *device, hocket_mode mode)
{
    hocket_graph *graph;
    hocket_executable *executable;
    hocket_node x, y, parts[2];
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, (int64_t[]){2}, &x));
    OK(hocket_graph_all_reduce(graph, x, &y));
    OK(hocket_graph_output(graph, "first", y));
    OK(hocket_graph_scalar(graph, HOCKET_FLOAT32, 1, &parts[1]));
    OK(hocket_graph_reshape(graph, parts[1], 1, (int64_t[]){1}, &parts[1]));
    parts[0] = y;
    OK(hocket_graph_concatenate(graph, parts, 2, 0, &y));
    OK(hocket_graph_all_reduce(graph, y, &y));
    OK(hocket_graph_output(graph, "second", y));
    parts[0] = parts[1] = x;
    OK(hocket_graph_concatenate(graph, parts, 2, 0, &y));
    OK(hocket_graph_all_reduce(graph, y, &y));
    OK(hocket_graph_output(graph, "third", y));
    OK(hocket_executable_compile(graph, device, mode, &executable));
    hocket_graph_free(graph);
    return executable;
}

static void run(hocket_executable *executable, float a, float b)
{
    OK(hocket_executable_set(executable, "x", (float[]){a, b}, 2 * sizeof(float)));
    OK(hocket_executable_run(executable));
}

/* === Tests ==================================================================================== */

static void group_of_one_without_a_launcher(void **state)
{
    (void)state;
    const char *const backends[] = {"mlx", "mlx:any", "mlx:ring"};
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        hocket_group *group;
        hocket_config config = {.size = sizeof config, .backend = backends[i]};
        OK(hocket_init(&config, &group));
        assert_int_equal(hocket_rank(group), 0);
        assert_int_equal(hocket_world_size(group), 1);
        float x[3] = {1, 2, 3}, y[3] = {0};
        OK(hocket_all_sum(group, x, 3));
        OK(hocket_all_gather(group, x, y, 3, HOCKET_FLOAT32));
        assert_memory_equal(x, y, sizeof x);
        OK(hocket_send_bytes(group, 0, 7, "voice", 6));
        void *bytes;
        size_t length;
        OK(hocket_recv_bytes(group, 0, 7, &bytes, &length));
        assert_int_equal(length, 6);
        assert_string_equal(bytes, "voice");
        free(bytes);
        OK(hocket_barrier(group));
        hocket_free(group);
        config.strict = true;
        assert_int_equal(hocket_init(&config, &group), HOCKET_ERR_UNAVAILABLE);
        assert_non_null(strstr(hocket_last_error(), "MLX_RANK"));
        assert_null(group);
    }
    assert_true(hocket_is_available("mlx:ring"));
    assert_false(hocket_is_available("mlx:nccl"));
    assert_non_null(strstr(hocket_last_error(), "CUDA"));
}

static void all_reduce_with_empty_attributes(const char *device, hocket_mode mode)
{
    hocket_graph *graph;
    hocket_node x, y;
    hocket_executable *executable;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, (int64_t[]){3}, &x));
    OK(hocket_graph_exp(graph, x, &y));
    OK(hocket_graph_op(graph, "collective.all_reduce", &y, 1, NULL, 0, &y));
    OK(hocket_graph_add(graph, y, x, &y));
    OK(hocket_graph_output(graph, "y", y));
    OK(hocket_executable_compile(graph, device, mode, &executable));
    hocket_graph_free(graph);
    for (int i = 0; i < 3; i++) {
        float values[3] = {0, 1, (float)i}, result[3];
        OK(hocket_executable_set(executable, "x", values, sizeof values));
        OK(hocket_executable_run(executable));
        OK(hocket_executable_read(executable, "y", result, sizeof result));
        for (int j = 0; j < 3; j++)
            assert_float_equal(result[j], expf(values[j]) + values[j], 1e-5);
    }
    hocket_executable_free(executable);
    OK(hocket_graph_unbind_group(0)); /* the world that the first use opened */
}

static void all_reduce_on_mlx_with_empty_attributes_in_each_mode(void **state)
{
    (void)state;
    for (int i = 0; i < MODES; i++)
        all_reduce_with_empty_attributes("mlx", modes[i]);
}

static void the_same_graph_on_cpu(void **state)
{
    (void)state;
    for (int i = 0; i < MODES; i++)
        all_reduce_with_empty_attributes("cpu", modes[i]);
}

static void composing_does_no_communication_and_evaluating_does_it_once(void **state)
{
    (void)state;
    for (int i = 1; i < MODES; i++) {
        counter c;
        hocket_group *group = bind_counter(&c);
        hocket_executable *executable = three_collectives("mlx", modes[i]);
        float y[4];
        assert_int_equal(c.calls, 0);
        for (int round = 0; round < 3; round++) {
            c.calls = 0;
            run(executable, 1, (float)round);
            assert_int_equal(c.calls, 0);
            OK(hocket_executable_read(executable, "third", y, sizeof y));
            assert_int_equal(c.calls, 3);
            assert_float_equal(y[1], 2 * round, 0);
            OK(hocket_executable_read(executable, "third", y, sizeof y));
            OK(hocket_executable_read(executable, "second", y, 3 * sizeof y[0]));
            assert_float_equal(y[0], 4, 0);
            OK(hocket_executable_read(executable, "first", y, 2 * sizeof y[0]));
            OK(hocket_executable_finish(executable));
            assert_int_equal(c.calls, 3);
            assert_int_equal(c.counts[0], 2);
            assert_int_equal(c.counts[1], 3);
            assert_int_equal(c.counts[2], 4);
        }
        hocket_executable_free(executable);
        unbind(group);
    }
}

static void collectives_that_nobody_reads_run_before_the_next_run(void **state)
{
    (void)state;
    for (int i = 0; i < MODES; i++) {
        counter c;
        hocket_group *group = bind_counter(&c);
        hocket_executable *executable = three_collectives("mlx", modes[i]);
        run(executable, 1, 2);
        assert_int_equal(c.calls, modes[i] == HOCKET_EAGER ? 3 : 0);
        run(executable, 3, 4);
        assert_int_equal(c.calls, modes[i] == HOCKET_EAGER ? 6 : 3);
        OK(hocket_executable_finish(executable));
        assert_int_equal(c.calls, 6);
        hocket_executable_free(executable);
        unbind(group);
    }
}

static void an_error_inside_comes_out_and_the_process_lives_on(void **state)
{
    (void)state;
    for (int i = 0; i < MODES; i++) {
        counter c;
        hocket_group *group = bind_counter(&c);
        hocket_executable *executable = three_collectives("mlx", modes[i]);
        float y[3];
        c.fail_at = 1;
        c.failure = HOCKET_ERR_PEER_LOST;
        OK(hocket_executable_set(executable, "x", (float[]){1, 2}, 2 * sizeof(float)));
        hocket_status status = hocket_executable_run(executable);
        assert_int_equal(status, modes[i] == HOCKET_EAGER ? HOCKET_ERR_PEER_LOST : HOCKET_OK);
        if (status == HOCKET_OK)
            status = hocket_executable_read(executable, "second", y, sizeof y);
        assert_int_equal(status, HOCKET_ERR_PEER_LOST);
        assert_non_null(strstr(hocket_last_error(), "rank 1 is 100% broken"));
        assert_int_equal(hocket_last_error_rank(), 1);
        hocket_executable_free(executable);
        unbind(group);

        group = bind_counter(&c);
        executable = three_collectives("mlx", modes[i]);
        run(executable, 1, 2);
        OK(hocket_executable_read(executable, "second", y, sizeof y));
        assert_float_equal(y[1], 8, 0);
        hocket_executable_free(executable);
        unbind(group);
    }
}

/* --- Two ranks, threads of this process --- */

typedef struct voice {
    int rank;
    hocket_mode mode;
    char failure[1024]; /* cmocka's asserts work on the main thread only */
} voice;

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) != HOCKET_OK) {                                                                 \
            snprintf(v->failure, sizeof v->failure, "%s: %s", #call, hocket_last_error());         \
            return NULL;                                                                           \
        }                                                                                          \
    } while (0)

/* Two collectives of the same shape that do not depend on each other; each rank reads them in
 * another order. Eager runs would hide a swap. */
static void *sing(void *argument)
{
    voice *v = argument;
    hocket_group *group;
    hocket_config config = {.size = sizeof config,
                            .backend = "local",
                            .rank = v->rank,
                            .world_size = 2,
                            .coordinator = "order",
                            .timeout_s = 20};
    TRY(hocket_init(&config, &group));
    TRY(hocket_graph_bind_group(10 + v->rank, group));
    hocket_attr attribute = hocket_attr_int("group", 10 + v->rank);
    hocket_graph *graph;
    hocket_node x, ten, y;
    TRY(hocket_graph_create(&graph));
    TRY(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, (int64_t[]){2}, &x));
    TRY(hocket_graph_op(graph, "collective.all_reduce", &x, 1, &attribute, 1, &y));
    TRY(hocket_graph_output(graph, "ones", y));
    TRY(hocket_graph_scalar(graph, HOCKET_FLOAT32, 10, &ten));
    TRY(hocket_graph_multiply(graph, x, ten, &y));
    TRY(hocket_graph_op(graph, "collective.all_reduce", &y, 1, &attribute, 1, &y));
    TRY(hocket_graph_output(graph, "tens", y));
    hocket_executable *executable;
    TRY(hocket_executable_compile(graph, "mlx", v->mode, &executable));
    hocket_graph_free(graph);
    for (int round = 0; round < 5; round++) {
        float values[2] = {1, (float)round}, ones[2], tens[2];
        TRY(hocket_executable_set(executable, "x", values, sizeof values));
        TRY(hocket_executable_run(executable));
        for (int i = 0; i < 2; i++) {
            if (i == v->rank)
                TRY(hocket_executable_read(executable, "ones", ones, sizeof ones));
            else
                TRY(hocket_executable_read(executable, "tens", tens, sizeof tens));
        }
        if (ones[0] != 2 || ones[1] != 2 * (float)round || tens[0] != 20)
            snprintf(v->failure, sizeof v->failure, "round %d: %g %g %g", round, (double)ones[0],
                     (double)ones[1], (double)tens[0]);
    }
    hocket_executable_free(executable);
    TRY(hocket_graph_unbind_group(10 + v->rank));
    hocket_free(group);
    return NULL;
}

static void two_collectives_are_not_swapped_whatever_is_read_first(void **state)
{
    (void)state;
    for (int i = 1; i < MODES; i++) {
        voice voices[2] = {{.rank = 0, .mode = modes[i]}, {.rank = 1, .mode = modes[i]}};
        pthread_t threads[2];
        for (int r = 0; r < 2; r++)
            assert_int_equal(pthread_create(&threads[r], NULL, sing, &voices[r]), 0);
        for (int r = 0; r < 2; r++)
            pthread_join(threads[r], NULL);
        assert_string_equal(voices[0].failure, "");
        assert_string_equal(voices[1].failure, "");
    }
}

/* A tensor composed by one thread may be read by another. */
static void *read_elsewhere(void *tensor)
{
    static float y[2];
    return hocket_tensor_read(tensor, y, sizeof y) == HOCKET_OK ? y : NULL;
}

static void a_lazy_tensor_can_be_read_by_another_thread(void **state)
{
    (void)state;
    counter c;
    hocket_group *group = bind_counter(&c);
    hocket_executable *executable = three_collectives("mlx", HOCKET_LAZY);
    run(executable, 3, 4);
    hocket_tensor *tensor;
    OK(hocket_executable_output(executable, "first", &tensor));
    assert_int_equal(c.calls, 0);
    pthread_t thread;
    void *y;
    assert_int_equal(pthread_create(&thread, NULL, read_elsewhere, tensor), 0);
    pthread_join(thread, &y);
    assert_non_null(y);
    assert_float_equal(((float *)y)[1], 8, 0);
    assert_int_equal(c.calls, 1);
    hocket_tensor_free(tensor);
    hocket_executable_free(executable);
    unbind(group);
}

int main(void)
{
    if (!mlx_is_built())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(group_of_one_without_a_launcher),
        cmocka_unit_test(all_reduce_on_mlx_with_empty_attributes_in_each_mode),
        cmocka_unit_test(the_same_graph_on_cpu),
        cmocka_unit_test(composing_does_no_communication_and_evaluating_does_it_once),
        cmocka_unit_test(collectives_that_nobody_reads_run_before_the_next_run),
        cmocka_unit_test(an_error_inside_comes_out_and_the_process_lives_on),
        cmocka_unit_test(two_collectives_are_not_swapped_whatever_is_read_first),
        cmocka_unit_test(a_lazy_tensor_can_be_read_by_another_thread),
    };
    /* The launcher's variables must not reach the groups of one. */
    unsetenv("HOCKET_RANK");
    unsetenv("HOCKET_WORLD_SIZE");
    unsetenv("MLX_RANK");
    unsetenv("MLX_HOSTFILE");
    return cmocka_run_group_tests_name("mlx_graph", tests, NULL, NULL);
}
