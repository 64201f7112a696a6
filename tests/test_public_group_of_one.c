/* Without a launcher: no environment at all gives a group of one, on which everything works; and
 * what no group takes: missing groups, wrong numbers. */
#include <unistd.h>
#include "harness.h"

#define LIMIT_SECONDS 60

static hocket_group *alone(void)
{
    hocket_group *group = NULL;
    CHECK_OK(hocket_init(NULL, &group));
    CHECK(group != NULL);
    return group;
}

/* === It works ================================================================================= */

static void init_without_environment_gives_a_group_of_one(void **state)
{
    (void)state;
    hocket_group *group = alone();
    CHECK_INT(0, hocket_rank(group));
    CHECK_INT(1, hocket_world_size(group));
    CHECK(hocket_backend(group) != NULL && hocket_backend(group)[0] != '\0');
    hocket_free(group);
    hocket_free(NULL);
}

static void all_sum_of_one_is_a_copy(void **state)
{
    (void)state;
    hocket_group *group = alone();
    float data[5] = {1, 2, 3, 4, 5}, mean[5] = {0};
    CHECK_OK(hocket_all_sum(group, data, 5));
    CHECK_OK(hocket_all_reduce(group, data, mean, 5, HOCKET_FLOAT32, HOCKET_MEAN));
    for (int i = 0; i < 5; i++) {
        CHECK_INT(i + 1, data[i]);
        CHECK_INT(i + 1, mean[i]);
    }
    CHECK_OK(hocket_all_sum(group, NULL, 0));
    hocket_free(group);
}

static void every_collective_of_one_is_a_copy(void **state)
{
    (void)state;
    hocket_group *group = alone();
    const int in[3] = {7, -8, 9}, nowhere[1] = {-1}, here[1] = {0};
    const size_t counts[1] = {3};
    int out[12][3] = {{0}};
    CHECK_OK(hocket_all_gather(group, in, out[0], 3, HOCKET_INT32));
    CHECK_OK(hocket_all_gather_v(group, in, out[1], counts, HOCKET_INT32));
    CHECK_OK(hocket_reduce_scatter(group, in, out[2], 3, HOCKET_INT32, HOCKET_PROD));
    CHECK_OK(hocket_reduce_scatter_v(group, in, out[3], counts, HOCKET_INT32, HOCKET_MAX));
    CHECK_OK(hocket_reduce_to(group, in, out[4], 3, HOCKET_INT32, HOCKET_SUM, 0));
    CHECK_OK(hocket_gather(group, in, out[5], 3, HOCKET_INT32, 0));
    CHECK_OK(hocket_scatter(group, in, out[6], 3, HOCKET_INT32, 0));
    CHECK_OK(hocket_all_to_all(group, in, out[7], 3, HOCKET_INT32));
    CHECK_OK(hocket_all_to_all_v(group, in, counts, out[8], counts, HOCKET_INT32));
    CHECK_OK(hocket_permute(group, in, out[9], 3, HOCKET_INT32, here));
    memcpy(out[10], in, sizeof(in));
    CHECK_OK(hocket_broadcast(group, out[10], 3, HOCKET_INT32, 0));
    memcpy(out[11], in, sizeof(in));
    CHECK_OK(hocket_all_gather(group, out[11], out[11], 3, HOCKET_INT32));
    for (size_t i = 0; i < LENGTH(out); i++)
        CHECK_THAT(memcmp(out[i], in, sizeof(in)) == 0, "collective %zu is no copy", i);
    CHECK_OK(hocket_permute(group, in, out[0], 3, HOCKET_INT32, nowhere));
    CHECK(out[0][0] == 0 && out[0][1] == 0 && out[0][2] == 0);
    CHECK_OK(hocket_barrier(group));
    hocket_free(group);
}

static void messages_to_oneself_without_a_launcher(void **state)
{
    (void)state;
    hocket_group *group = alone();
    char text[8] = "";
    int source = -1;
    size_t length = 0;
    void *bytes = NULL;
    CHECK_OK(hocket_send_bytes(group, 0, 1, "first", 5));
    CHECK_OK(hocket_send_bytes(group, 0, 2, NULL, 0));
    CHECK_OK(hocket_recv_bytes(group, 0, 2, &bytes, &length));
    CHECK(bytes != NULL && length == 0);
    free(bytes);
    CHECK_OK(hocket_probe(group, HOCKET_ANY_RANK, 1, &source, &length));
    CHECK(source == 0 && length == 5);
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_recv_into(group, 0, 1, text, 3, &length));
    CHECK_INT(5, length);
    CHECK_OK(hocket_recv_into(group, 0, 1, text, sizeof(text), &length));
    CHECK_HAS(text, "first");
    CHECK_OK(hocket_set_timeout(group, 0.05));
    CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_recv_into(group, 0, 1, text, 8, &length));
    CHECK_OK(hocket_barrier(group));
    hocket_free(group);
}

static void split_and_requests_of_one(void **state)
{
    (void)state;
    hocket_group *group = alone(), *part = NULL, *none = group;
    CHECK_OK(hocket_split(group, 3, 1, &part));
    CHECK_OK(hocket_split(part, HOCKET_NO_COLOR, 0, &none));
    CHECK(none == NULL);
    hocket_free(group);
    float data[2] = {3, 4};
    hocket_request *sum, *barrier, *receive, *send;
    char text[4] = "";
    size_t length;
    CHECK_OK(hocket_all_sum_async(part, data, 2, &sum));
    CHECK_OK(hocket_recv_into_async(part, 0, 1, text, 3, &length, &receive));
    CHECK_OK(hocket_barrier_async(part, &barrier));
    CHECK_OK(hocket_send_bytes_async(part, 0, 1, "abc", 3, &send));
    CHECK_OK(hocket_wait(receive));
    CHECK_HAS(text, "abc");
    CHECK_OK(hocket_wait(barrier));
    CHECK_OK(hocket_wait(send));
    CHECK_OK(hocket_wait(sum));
    CHECK(data[0] == 3 && data[1] == 4);
    CHECK_INT(1, hocket_world_size(part));
    hocket_free(part);
}

static void abort_breaks_a_group_of_one(void **state)
{
    (void)state;
    hocket_group *group = alone();
    CHECK_OK(hocket_abort(group, NULL));
    CHECK_STATUS(HOCKET_ERR_ABORTED, hocket_barrier(group));
    CHECK_INT(0, hocket_last_error_rank());
    hocket_free(group);
}

/* === init ===================================================================================== */

static void strict_without_a_world_is_unavailable(void **state)
{
    (void)state;
    hocket_group *group = (hocket_group *)state;
    hocket_config config = {.size = sizeof(config), .strict = true};
    CHECK_STATUS(HOCKET_ERR_UNAVAILABLE, hocket_init(&config, &group));
    CHECK(group == NULL);
    config.strict = false;
    CHECK_OK(hocket_init(&config, &group));
    CHECK_INT(1, hocket_world_size(group));
    hocket_free(group);
}

/* Whoever says that there is a world, and cannot be right, is told so: strict or not. */
static void wrong_configurations_are_refused(void **state)
{
    (void)state;
    const struct {
        hocket_config config;
        const char *says;
    } wrong[] = {
        {{.size = 0}, "size"},
        {{.size = sizeof(hocket_config), .world_size = -3}, "-3"},
        {{.size = sizeof(hocket_config), .world_size = 2, .rank = 2, .backend = "local"}, "2"},
        {{.size = sizeof(hocket_config), .world_size = 2, .rank = -1, .backend = "local"}, "-1"},
        {{.size = sizeof(hocket_config), .backend = "pigeon"}, "pigeon"},
        {{.size = sizeof(hocket_config), .timeout_s = -2}, "-2"},
        {{.size = sizeof(hocket_config), .timeout_s = __builtin_nan("")}, "nan"},
        {{.size = sizeof(hocket_config), .init_timeout_s = -7}, "-7"},
        {{.size = sizeof(hocket_config), .secret = "tiny"}, "16"},
        {{.size = sizeof(hocket_config), .world_size = 2, .backend = "tcp",
          .coordinator = "no-port-here"}, "no-port-here"},
    };
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        hocket_group *group = (hocket_group *)state;
        hocket_status status = hocket_init(&wrong[i].config, &group);
        CHECK_THAT(status == HOCKET_ERR_INVALID, "configuration %zu (%s) gives %s (%s)", i,
                   wrong[i].says, hocket_status_name(status), hocket_last_error());
        CHECK_HAS(hocket_last_error(), wrong[i].says);
        CHECK(group == NULL);
    }
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_init(NULL, NULL));
}

static void a_world_that_does_not_come_is_an_error(void **state)
{
    (void)state;
    char coordinator[64];
    snprintf(coordinator, sizeof(coordinator), "127.0.0.1:%d", harness_free_port());
    const char *const backends[] = {"tcp", "local"};
    for (size_t i = 0; i < LENGTH(backends); i++) {
        hocket_group *group = (hocket_group *)state;
        hocket_config config = {.size = sizeof(config), .backend = backends[i], .rank = 1,
                                .world_size = 2, .coordinator = coordinator,
                                .init_timeout_s = 0.3, .secret = "0123456789abcdef"};
        double begin = seconds_now();
        CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_init(&config, &group));
        CHECK(group == NULL);
        CHECK(seconds_now() - begin < 2 * harness_slowness());
    }
}

static void the_environment_says_it_too(void **state)
{
    (void)state;
    hocket_group *group = NULL;
    setenv("HOCKET_RANK", "0", 1);
    setenv("HOCKET_WORLD_SIZE", "1", 1);
    setenv("HOCKET_BACKEND", "local", 1);
    hocket_config config = {.size = sizeof(config), .strict = true};
    CHECK_OK(hocket_init(&config, &group));
    CHECK_INT(1, hocket_world_size(group));
    hocket_free(group);
    setenv("HOCKET_WORLD_SIZE", "many", 1);
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_init(NULL, &group));
    CHECK_HAS(hocket_last_error(), "HOCKET_WORLD_SIZE");
    CHECK_HAS(hocket_last_error(), "many");
    harness_clear_environment();
}

static void a_file_of_devices_that_cannot_be_read_is_no_group_of_one(void **state)
{
    (void)state;
    static const char *const backends[] = {"any", "tcp", "jaccl", "mlx", "mlx:jaccl"};
    setenv("MLX_RANK", "1", 1); /* as `mlx.launch --backend jaccl` has it */
    setenv("MLX_IBV_DEVICES", "/nowhere/devices.json", 1);
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        hocket_config config = {.size = sizeof(config), .backend = backends[i]};
        hocket_group *group = NULL;
        hocket_status status = hocket_init(&config, &group);
        CHECK_THAT(status != HOCKET_OK && group == NULL, "%s gives a group of %d", backends[i],
                   hocket_world_size(group));
        if (strncmp(backends[i], "mlx", 3) != 0)
            CHECK_HAS(hocket_last_error(), "MLX_IBV_DEVICES");
    }
    harness_clear_environment();
}

static void availability_has_a_reason(void **state)
{
    (void)state;
    CHECK(hocket_is_available("local"));
    CHECK(hocket_is_available("tcp"));
    CHECK(hocket_is_available("any"));
    CHECK(!hocket_is_available("pigeon"));
    CHECK_HAS(hocket_last_error(), "pigeon");
    CHECK(!hocket_is_available(NULL));
}

/* === What is refused ========================================================================== */

#define REFUSES(call) CHECK_STATUS(HOCKET_ERR_INVALID, call)

static void without_a_group_nothing_crashes(void **state)
{
    (void)state;
    float x[2] = {0};
    size_t n = 0, counts[1] = {1};
    int to[1] = {0}, source;
    void *memory = NULL;
    hocket_group *group;
    const hocket_dtype f32 = HOCKET_FLOAT32;
    REFUSES(hocket_all_reduce(NULL, x, x, 1, f32, HOCKET_SUM));
    REFUSES(hocket_all_sum(NULL, x, 1));
    REFUSES(hocket_all_gather(NULL, x, x, 1, f32));
    REFUSES(hocket_all_gather_v(NULL, x, x, counts, f32));
    REFUSES(hocket_reduce_scatter(NULL, x, x, 1, f32, HOCKET_SUM));
    REFUSES(hocket_reduce_scatter_v(NULL, x, x, counts, f32, HOCKET_SUM));
    REFUSES(hocket_broadcast(NULL, x, 1, f32, 0));
    REFUSES(hocket_reduce_to(NULL, x, x, 1, f32, HOCKET_SUM, 0));
    REFUSES(hocket_gather(NULL, x, x, 1, f32, 0));
    REFUSES(hocket_scatter(NULL, x, x, 1, f32, 0));
    REFUSES(hocket_all_to_all(NULL, x, x, 1, f32));
    REFUSES(hocket_all_to_all_v(NULL, x, counts, x, counts, f32));
    REFUSES(hocket_permute(NULL, x, x, 1, f32, to));
    REFUSES(hocket_barrier(NULL));
    REFUSES(hocket_send_bytes(NULL, 0, 1, x, 1));
    REFUSES(hocket_recv_bytes(NULL, 0, 1, &memory, &n));
    REFUSES(hocket_recv_into(NULL, 0, 1, x, 1, &n));
    REFUSES(hocket_probe(NULL, 0, 1, &source, &n));
    REFUSES(hocket_split(NULL, 0, 0, &group));
    REFUSES(hocket_abort(NULL, "x"));
    REFUSES(hocket_shrink(NULL, &group));
    REFUSES(hocket_set_timeout(NULL, 1));
    REFUSES(hocket_alloc(NULL, 1, &memory));
    REFUSES(hocket_register(NULL, x, 1));
    REFUSES(hocket_unregister(NULL, x));
    hocket_dealloc(NULL, NULL);
    hocket_free(NULL);
    (void)hocket_rank(NULL);
    (void)hocket_world_size(NULL);
    (void)hocket_backend(NULL);
}

static void without_a_group_no_request_is_made(void **state)
{
    (void)state;
    float x[2] = {0};
    size_t n = 0, counts[1] = {1};
    int to[1] = {0}, source;
    void *memory = NULL;
    hocket_request *r = (hocket_request *)x;
    const hocket_dtype f32 = HOCKET_FLOAT32;
    REFUSES(hocket_all_reduce_async(NULL, x, x, 1, f32, HOCKET_SUM, &r));
    CHECK(r == NULL);
    REFUSES(hocket_all_sum_async(NULL, x, 1, &r));
    REFUSES(hocket_all_gather_async(NULL, x, x, 1, f32, &r));
    REFUSES(hocket_all_gather_v_async(NULL, x, x, counts, f32, &r));
    REFUSES(hocket_reduce_scatter_async(NULL, x, x, 1, f32, HOCKET_SUM, &r));
    REFUSES(hocket_reduce_scatter_v_async(NULL, x, x, counts, f32, HOCKET_SUM, &r));
    REFUSES(hocket_broadcast_async(NULL, x, 1, f32, 0, &r));
    REFUSES(hocket_reduce_to_async(NULL, x, x, 1, f32, HOCKET_SUM, 0, &r));
    REFUSES(hocket_gather_async(NULL, x, x, 1, f32, 0, &r));
    REFUSES(hocket_scatter_async(NULL, x, x, 1, f32, 0, &r));
    REFUSES(hocket_all_to_all_async(NULL, x, x, 1, f32, &r));
    REFUSES(hocket_all_to_all_v_async(NULL, x, counts, x, counts, f32, &r));
    REFUSES(hocket_permute_async(NULL, x, x, 1, f32, to, &r));
    REFUSES(hocket_barrier_async(NULL, &r));
    REFUSES(hocket_send_bytes_async(NULL, 0, 1, x, 1, &r));
    REFUSES(hocket_recv_bytes_async(NULL, 0, 1, &memory, &n, &r));
    REFUSES(hocket_recv_into_async(NULL, 0, 1, x, 1, &n, &r));
    REFUSES(hocket_probe_async(NULL, 0, 1, &source, &n, &r));
    REFUSES(hocket_wait(NULL));
    bool done;
    REFUSES(hocket_test(NULL, &done));
}

#define REFUSES_SAYING(value, call)                                                                \
    do {                                                                                           \
        REFUSES(call);                                                                             \
        CHECK_HAS(hocket_last_error(), value);                                                     \
    } while (0)

static void wrong_numbers_are_refused_by_value(void **state)
{
    (void)state;
    hocket_group *group = alone();
    float x[4] = {0}, y[4];
    const hocket_dtype f32 = HOCKET_FLOAT32, bad = (hocket_dtype)14, worse = (hocket_dtype)-3;
    const hocket_reduce odd = (hocket_reduce)5, unmade = (hocket_reduce)(HOCKET_REDUCE_USER + 77);
    REFUSES_SAYING("14", hocket_all_reduce(group, x, y, 1, bad, HOCKET_SUM));
    REFUSES_SAYING("-3", hocket_all_gather(group, x, y, 1, worse));
    REFUSES_SAYING("14", hocket_broadcast(group, x, 1, bad, 0));
    REFUSES_SAYING("5", hocket_all_reduce(group, x, y, 1, f32, odd));
    REFUSES_SAYING("-1", hocket_reduce_to(group, x, y, 1, f32, (hocket_reduce)-1, 0));
    REFUSES_SAYING("65613", hocket_reduce_scatter(group, x, y, 1, f32, unmade));
    REFUSES_SAYING("-1", hocket_broadcast(group, x, 1, f32, -1));
    REFUSES_SAYING("1", hocket_reduce_to(group, x, y, 1, f32, HOCKET_SUM, 1));
    REFUSES_SAYING("9", hocket_gather(group, x, y, 1, f32, 9));
    REFUSES_SAYING("9", hocket_scatter(group, x, y, 1, f32, 9));
    REFUSES_SAYING("4", hocket_permute(group, x, y, 1, f32, (int[]){4}));
    REFUSES_SAYING("-2", hocket_permute(group, x, y, 1, f32, (int[]){-2}));
    REFUSES_SAYING("3 elements and receives 2",
                   hocket_all_to_all_v(group, x, (size_t[]){3}, y, (size_t[]){2}, f32));
    REFUSES_SAYING("9223372036854775807",
                   hocket_all_reduce(group, x, y, SIZE_MAX / 2, f32, HOCKET_SUM));
    REFUSES_SAYING("4611686018427387904", hocket_all_gather(group, x, y, SIZE_MAX / 4 + 1, f32));
    REFUSES_SAYING("18446744073709551615",
                   hocket_all_gather_v(group, x, y, (size_t[]){SIZE_MAX}, f32));
    REFUSES(hocket_shrink(group, &(hocket_group *){NULL})); /* it is not broken */
    CHECK_OK(hocket_all_sum(group, x, 4));
    hocket_free(group);
}

static void missing_buffers_are_refused(void **state)
{
    (void)state;
    hocket_group *group = alone();
    float x[4] = {0};
    size_t n, counts[1] = {1};
    void *memory;
    const hocket_dtype f32 = HOCKET_FLOAT32;
    REFUSES(hocket_all_reduce(group, NULL, x, 1, f32, HOCKET_SUM));
    REFUSES(hocket_all_reduce(group, x, NULL, 1, f32, HOCKET_SUM));
    REFUSES(hocket_all_sum(group, NULL, 1));
    REFUSES(hocket_all_gather(group, x, NULL, 1, f32));
    REFUSES(hocket_all_gather_v(group, x, x + 1, NULL, f32));
    REFUSES(hocket_reduce_scatter_v(group, x, NULL, counts, f32, HOCKET_SUM));
    REFUSES_SAYING("data is NULL", hocket_broadcast(group, NULL, 1, f32, 0));
    REFUSES(hocket_reduce_to(group, x, NULL, 1, f32, HOCKET_SUM, 0));
    REFUSES(hocket_scatter(group, NULL, x, 1, f32, 0));
    REFUSES(hocket_all_to_all_v(group, x, NULL, x + 1, counts, f32));
    REFUSES(hocket_permute(group, x, x + 1, 1, f32, NULL));
    REFUSES(hocket_send_bytes(group, 0, 1, NULL, 1));
    REFUSES(hocket_recv_bytes(group, 0, 1, NULL, &n));
    REFUSES(hocket_recv_into(group, 0, 1, NULL, 4, &n));
    REFUSES(hocket_alloc(group, 4, NULL));
    REFUSES(hocket_register(group, NULL, 4));
    REFUSES(hocket_barrier_async(group, NULL));
    CHECK_OK(hocket_alloc(group, 0, &memory));
    hocket_dealloc(group, memory);
    CHECK_OK(hocket_barrier(group));
    hocket_free(group);
}

static void names_of_things(void **state)
{
    (void)state;
    CHECK_HAS(hocket_version(), "0.1.0");
    CHECK_HAS(hocket_status_name(HOCKET_ERR_PEER_LOST), "peer lost");
    CHECK_HAS(hocket_status_name((hocket_status)99), "unknown status");
    CHECK_HAS(hocket_dtype_name(HOCKET_BFLOAT16), "bfloat16");
    CHECK_HAS(hocket_dtype_name((hocket_dtype)14), "unknown dtype");
    CHECK_INT(8, hocket_dtype_size(HOCKET_COMPLEX64));
    CHECK_INT(0, hocket_dtype_size((hocket_dtype)14));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_without_environment_gives_a_group_of_one),
        cmocka_unit_test(all_sum_of_one_is_a_copy),
        cmocka_unit_test(every_collective_of_one_is_a_copy),
        cmocka_unit_test(messages_to_oneself_without_a_launcher),
        cmocka_unit_test(split_and_requests_of_one),
        cmocka_unit_test(abort_breaks_a_group_of_one),
        cmocka_unit_test(strict_without_a_world_is_unavailable),
        cmocka_unit_test(wrong_configurations_are_refused),
        cmocka_unit_test(a_world_that_does_not_come_is_an_error),
        cmocka_unit_test(the_environment_says_it_too),
        cmocka_unit_test(a_file_of_devices_that_cannot_be_read_is_no_group_of_one),
        cmocka_unit_test(availability_has_a_reason),
        cmocka_unit_test(without_a_group_nothing_crashes),
        cmocka_unit_test(without_a_group_no_request_is_made),
        cmocka_unit_test(wrong_numbers_are_refused_by_value),
        cmocka_unit_test(missing_buffers_are_refused),
        cmocka_unit_test(names_of_things),
    };
    harness_clear_environment();
    alarm(LIMIT_SECONDS);
    return cmocka_run_group_tests_name("group of one", tests, NULL, NULL);
}
