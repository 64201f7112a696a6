/* The parts of `hocket bench`: its check sees one wrong byte anywhere, its clock adds up, its sizes
 * are read as they are meant. tests/bench.sh runs the whole. */
#include "bench/data.c"
#include "bench/measure.c"
#include "bench/operations.c"
#include "bench/print.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { BYTES = 5000 };

static hocket_group *alone(void)
{
    const hocket_config config = {.size = sizeof config,
                                  .backend = "local",
                                  .rank = 0,
                                  .world_size = 1};
    hocket_group *group = NULL;
    assert_int_equal(hocket_init(&config, &group), HOCKET_OK);
    return group;
}

/* Fills, runs, and then breaks each hundredth byte of the result, one at a time. */
static void try_operation(hk_bench_task *task, const hk_bench_operation *operation)
{
    size_t where;
    hk_bench_task_shape(task, operation, BYTES);
    task->send = calloc(1, BYTES + 64);
    task->recv = calloc(1, BYTES + 64);
    hk_bench_fill(task);
    if (operation->send != NONE)
        assert_false(hk_bench_check(task, &where));
    assert_int_equal(operation->run(task), HOCKET_OK);
    assert_true(hk_bench_check(task, &where));
    unsigned char *recv = task->recv;
    for (size_t at = 0; at < hk_bench_recv_bytes(task); at += 100) {
        recv[at] ^= 0x40;
        assert_false(hk_bench_check(task, &where));
        assert_int_equal(where, at / hocket_dtype_size(task->dtype));
        recv[at] ^= 0x40;
    }
    free(task->send);
    free(task->recv);
}

static void one_wrong_byte_is_seen(void **state)
{
    (void)state;
    static const hocket_dtype dtypes[] = {HOCKET_BOOL, HOCKET_INT16, HOCKET_FLOAT32,
                                          HOCKET_COMPLEX64};
    hocket_group *group = alone();
    hk_bench_task task;
    assert_true(hk_bench_task_open(&task, group));
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        task.dtype = dtypes[d];
        for (const hk_bench_operation *each = hk_bench_operations; each->name; each++) {
            if (each->piece && each->trips == 1)
                try_operation(&task, each);
        }
    }
    hk_bench_task_close(&task);
    hocket_free(group);
}

/* What rank 1 of 3 must get from a reduction, worked out here. */
static void results_are_the_definitions(void **state)
{
    (void)state;
    enum { N = 3, COUNT = 600 };
    size_t where, counts[N] = {200, 200, 200}, offsets[N + 1] = {0, 200, 400, 600};
    float send[COUNT], sum[COUNT] = {0};
    hk_bench_task task = {.operation = &hk_bench_operations[0],
                          .n = N,
                          .dtype = HOCKET_FLOAT32,
                          .count = COUNT,
                          .counts = counts,
                          .offsets = offsets,
                          .send = send};
    for (task.rank = 0; task.rank < N; task.rank++) {
        fill(&task, send, COUNT);
        for (int i = 0; i < COUNT; i++)
            sum[i] += send[i];
    }
    task.rank = 1;
    task.recv = sum;
    assert_true(hk_bench_check(&task, &where));
    sum[599] += 1;
    assert_false(hk_bench_check(&task, &where));
    assert_int_equal(where, 599);
}

static void small_floats_are_rounded_to_even(void **state)
{
    (void)state;
    assert_int_equal(small_float(0, 10, 15), 0);
    assert_int_equal(small_float(1, 10, 15), 0x3C00);
    assert_int_equal(small_float(2049, 10, 15), 0x6800);
    assert_int_equal(small_float(2051, 10, 15), 0x6802);
    assert_int_equal(small_float(1, 7, 127), 0x3F80);
    assert_int_equal(small_float(257, 7, 127), 0x4380);
    assert_int_equal(small_float(511, 7, 127), 0x4400);
    for (int i = 0; i < 256; i++)
        assert_true(widen(small_float(i, 7, 127), 7, 127) == i);
}

typedef struct fake {
    int runs, aligned, told;
    bool broken;
} fake;

static bool fake_run(void *context, int times)
{
    fake *f = context;
    f->runs += times;
    const struct timespec nap = {.tv_nsec = 100000L * times};
    nanosleep(&nap, NULL);
    return !f->broken;
}

static bool fake_align(void *context)
{
    ((fake *)context)->aligned++;
    return true;
}

static bool fake_agree(void *context, double *values, int count)
{
    (void)context, (void)values;
    return count > 0;
}

static void fake_tell(void *context, int done, int batches)
{
    fake *f = context;
    assert_int_equal(done, ++f->told);
    assert_true(batches >= done);
}

static void times_are_of_one_run(void **state)
{
    (void)state;
    fake f = {0};
    hk_bench_subject subject = {fake_run, fake_align, fake_agree, fake_tell, &f, 0.05};
    hk_bench_times times;
    assert_true(hk_bench_measure(&subject, &times));
    assert_true(times.min_us >= 100 && times.median_us >= times.min_us);
    assert_true(times.max_us >= times.median_us);
    /* How many fit into a batch is the machine's business. */
    assert_true(times.iterations >= 1 && times.batches >= BATCHES_MIN);
    assert_int_equal(f.told, times.batches);
    assert_true(f.runs > times.batches * times.iterations && f.aligned > times.batches);
    f.broken = true;
    assert_false(hk_bench_measure(&subject, &times));
}

static void sizes_are_read(void **state)
{
    (void)state;
    hk_bench_sizes sizes;
    assert_true(hk_bench_sizes_parse("4:64M", 4, &sizes));
    assert_int_equal(sizes.count, 13);
    assert_int_equal(sizes.bytes[0], 4);
    assert_int_equal(sizes.bytes[12], 64 << 20);
    assert_true(hk_bench_sizes_parse("4,1K,3M:7M,2G", 2, &sizes));
    assert_int_equal(sizes.count, 5);
    assert_int_equal(sizes.bytes[3], 6 << 20);
    assert_int_equal(sizes.bytes[4], (size_t)2 << 30);
    static const char *const wrong[] = {"",     "0",   "-4",    "4:", "8:4", "4,",
                                        "1KiB", ":64", "4:8:9", "1T", " 4",  "4k"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(hk_bench_sizes_parse(wrong[i], 2, &sizes));
    assert_false(hk_bench_sizes_parse("99999999999999999999", 2, &sizes));
    assert_false(hk_bench_sizes_parse("17179869183G", 2, &sizes));
    assert_false(hk_bench_sizes_parse("1:4611686018427387904,1:4G", 2, &sizes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_wrong_byte_is_seen),
        cmocka_unit_test(results_are_the_definitions),
        cmocka_unit_test(small_floats_are_rounded_to_even),
        cmocka_unit_test(times_are_of_one_run),
        cmocka_unit_test(sizes_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
