/* The transport mlx:ring: processes under MLX's own variables, as mlx.launch starts them.
 *
 * The test starts itself once a rank with MLX_RANK and MLX_HOSTFILE set. MLX's ring waits by
 * spinning, which is slow where ranks share cores, so everything here is small. */
#include "mlx_help.h"

#include <hocket/transport.h>

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { RANKS_MAX = 4, LIMIT_S = 60, COUNT = 7, LOST = 9 };

/* === One rank ================================================================================= */

static hocket_group *group;
static int rank, size;
static int faults;

static void fault(const char *what, int line)
{
    fprintf(stderr, "rank %d, line %d: %s; last error: %s\n", rank, line, what,
            hocket_last_error());
    faults++;
}
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fault(#condition, __LINE__);                                                           \
    } while (0)
#define EXPECT_OK(call) EXPECT((call) == HOCKET_OK)

/* Small whole numbers, exact in every dtype; of bool only whether they are 0. */
static double value_of(int of_rank, int i)
{
    return (of_rank + i) % 3;
}

static void put(void *data, int i, hocket_dtype dtype, double value)
{
    static const uint16_t half[] = {0, 0x3c00, 0x4000}, brain[] = {0, 0x3f80, 0x4000};
    switch (dtype) {
    case HOCKET_BOOL:
    case HOCKET_INT8:
    case HOCKET_UINT8: ((uint8_t *)data)[i] = (uint8_t)value; break;
    case HOCKET_INT16:
    case HOCKET_UINT16: ((uint16_t *)data)[i] = (uint16_t)value; break;
    case HOCKET_INT32:
    case HOCKET_UINT32: ((uint32_t *)data)[i] = (uint32_t)value; break;
    case HOCKET_INT64:
    case HOCKET_UINT64: ((uint64_t *)data)[i] = (uint64_t)value; break;
    case HOCKET_FLOAT16: ((uint16_t *)data)[i] = half[(int)value]; break;
    case HOCKET_BFLOAT16: ((uint16_t *)data)[i] = brain[(int)value]; break;
    case HOCKET_FLOAT32: ((float *)data)[i] = (float)value; break;
    case HOCKET_FLOAT64: ((double *)data)[i] = value; break;
    case HOCKET_COMPLEX64:
        ((float *)data)[2 * i] = (float)value;
        ((float *)data)[2 * i + 1] = 0;
        break;
    }
}

static double half_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31;
    return bits == 0 ? 0 : ldexp(1024 + (bits & 1023), exponent - 25);
}

static double get(const void *data, int i, hocket_dtype dtype)
{
    float brain;
    switch (dtype) {
    case HOCKET_BOOL:
    case HOCKET_UINT8: return ((const uint8_t *)data)[i];
    case HOCKET_INT8: return ((const int8_t *)data)[i];
    case HOCKET_INT16: return ((const int16_t *)data)[i];
    case HOCKET_UINT16: return ((const uint16_t *)data)[i];
    case HOCKET_INT32: return ((const int32_t *)data)[i];
    case HOCKET_UINT32: return ((const uint32_t *)data)[i];
    case HOCKET_INT64: return (double)((const int64_t *)data)[i];
    case HOCKET_UINT64: return (double)((const uint64_t *)data)[i];
    case HOCKET_FLOAT16: return half_value(((const uint16_t *)data)[i]);
    case HOCKET_BFLOAT16:
        memcpy(&brain, (uint16_t[]){0, ((const uint16_t *)data)[i]}, sizeof brain);
        return (double)brain;
    case HOCKET_FLOAT32: return (double)((const float *)data)[i];
    case HOCKET_FLOAT64: return ((const double *)data)[i];
    case HOCKET_COMPLEX64: return (double)((const float *)data)[2 * i];
    }
    return NAN;
}

static double folded(int i, hocket_dtype dtype, hocket_reduce reduce)
{
    double all = value_of(0, i);
    for (int r = 1; r < size; r++) {
        double one = value_of(r, i);
        switch (reduce) {
        case HOCKET_MAX: all = fmax(all, one); break;
        case HOCKET_MIN: all = fmin(all, one); break;
        case HOCKET_PROD: all *= one; break;
        default: all += one;
        }
    }
    if (reduce == HOCKET_MEAN)
        all /= size;
    return dtype == HOCKET_BOOL ? all != 0 : all;
}

static void check_reductions(void)
{
    for (int d = HOCKET_BOOL; d <= HOCKET_COMPLEX64; d++) {
        hocket_dtype dtype = (hocket_dtype)d;
        for (int o = HOCKET_SUM; o <= HOCKET_PROD; o++) {
            hocket_reduce reduce = (hocket_reduce)o;
            unsigned char in[16 * COUNT] = {0}, out[16 * COUNT];
            for (int i = 0; i < COUNT; i++)
                put(in, i, dtype, value_of(rank, i));
            bool mean_of_whole = reduce == HOCKET_MEAN && dtype < HOCKET_FLOAT16;
            hocket_status status = hocket_all_reduce(group, in, out, COUNT, dtype, reduce);
            EXPECT(status == (mean_of_whole ? HOCKET_ERR_INVALID : HOCKET_OK));
            for (int i = 0; status == HOCKET_OK && i < COUNT; i++)
                EXPECT(fabs(get(out, i, dtype) - folded(i, dtype, reduce)) < 0.01);
        }
    }
}

/* MLX's own comparison would keep or lose a NaN depending on whose it is. */
static void check_extremes(void)
{
    float x[4] = {-1.5F, (float)rank, rank == size - 1 ? NAN : 1, rank == 0 ? NAN : 1}, y[4];
    EXPECT_OK(hocket_all_reduce(group, x, y, 4, HOCKET_FLOAT32, HOCKET_MAX));
    EXPECT(y[0] == -1.5F && y[1] == (float)(size - 1) && isnan(y[2]) && isnan(y[3]));
    x[1] = rank == 0 ? -INFINITY : -0.25F;
    EXPECT_OK(hocket_all_reduce(group, x, y, 4, HOCKET_FLOAT32, HOCKET_MIN));
    EXPECT(y[0] == -1.5F && isinf(y[1]) && isnan(y[2]) && isnan(y[3]));
}

/* A NaN in the imaginary part counts too, and a real part of -0 is no less than one of 0. */
static void check_complex_extremes(void)
{
    static const hocket_reduce both[] = {HOCKET_MAX, HOCKET_MIN};
    for (int i = 0; i < 2; i++) {
        const bool first = rank == 0, max = both[i] == HOCKET_MAX;
        const float beyond = max ? 2 : -2; /* what would win over a finite part beside the NaN */
        float x[6] = {first ? beyond : 1, first ? 0 : NAN, first == max ? -0.0F : 0.0F,
                      first ? 5 : 3,      first ? NAN : beyond, 1};
        float y[6];
        if (!max)
            x[3] = -x[3];
        EXPECT_OK(hocket_all_reduce(group, x, y, 3, HOCKET_COMPLEX64, both[i]));
        EXPECT(isnan(y[0]) || isnan(y[1]));
        EXPECT(y[2] == 0 && y[3] == (max ? 5 : -5));
        EXPECT(isnan(y[4]) || isnan(y[5]));
    }
}

/* 2048 and a half from each other rank: f16 alone would drop every half. Not before three ranks,
 * where the sum of the halves is one that f16 can show. */
static void check_sum_of_halves(void)
{
    enum { HALF_2048 = 0x6800, HALF_0_5 = 0x3800 };
    uint16_t x = rank == 0 ? HALF_2048 : HALF_0_5, y = 0;
    float wanted = 2048 + 0.5F * (float)(size - 1);
    EXPECT_OK(hocket_all_reduce(group, &x, &y, 1, HOCKET_FLOAT16, HOCKET_SUM));
    EXPECT(y == (wanted > 2049 ? HALF_2048 + 1 : HALF_2048));
}

static void check_other_collectives(void)
{
    int32_t mine[RANKS_MAX], all[RANKS_MAX] = {0}, one = 10 + rank, got = 0;
    int to[RANKS_MAX];
    EXPECT_OK(hocket_all_gather(group, &one, all, 1, HOCKET_INT32));
    for (int r = 0; r < size; r++) {
        EXPECT(all[r] == 10 + r);
        mine[r] = 100 * rank + r;
        to[r] = r == 0 ? -1 : (r + 1) % size;
    }
    EXPECT_OK(hocket_all_to_all(group, mine, all, 1, HOCKET_INT32));
    for (int r = 0; r < size; r++)
        EXPECT(all[r] == 100 * r + rank);
    EXPECT_OK(hocket_reduce_scatter(group, mine, &got, 1, HOCKET_INT32, HOCKET_SUM));
    EXPECT(got == 100 * size * (size - 1) / 2 + size * rank);
    got = rank == size - 1 ? 77 : 0;
    EXPECT_OK(hocket_broadcast(group, &got, 1, HOCKET_INT32, size - 1));
    EXPECT(got == 77);
    EXPECT_OK(hocket_reduce_to(group, &one, &got, 1, HOCKET_INT32, HOCKET_MAX, 1));
    EXPECT(rank != 1 || got == 10 + size - 1);
    EXPECT_OK(hocket_gather(group, &one, all, 1, HOCKET_INT32, 0));
    EXPECT(rank != 0 || all[size - 1] == 10 + size - 1);
    EXPECT_OK(hocket_scatter(group, mine, &got, 1, HOCKET_INT32, 1));
    EXPECT(got == 100 + rank);
    EXPECT_OK(hocket_permute(group, &one, &got, 1, HOCKET_INT32, to));
    EXPECT(got == (rank == 1 ? 0 : 10 + (rank + size - 1) % size));
    EXPECT_OK(hocket_barrier(group));
}

/* To the right, from the left, under two tags, received the other way round. */
static void check_messages(void)
{
    const int right = (rank + 1) % size, left = (rank + size - 1) % size;
    unsigned char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (unsigned char)i;
    const size_t lengths[] = {0, 1, 256};
    for (int i = 0; i < 3; i++) {
        void *first, *second;
        size_t length = 9;
        EXPECT_OK(hocket_send_bytes(group, right, 1, bytes, lengths[i]));
        EXPECT_OK(hocket_send_bytes(group, right, 2, bytes, 3));
        EXPECT_OK(hocket_recv_bytes(group, left, 2, &second, &length));
        EXPECT(length == 3 && memcmp(second, bytes, 3) == 0);
        EXPECT_OK(hocket_recv_bytes(group, left, 1, &first, &length));
        EXPECT(length == lengths[i] && memcmp(first, bytes, length) == 0);
        free(first);
        free(second);
    }
    void *own;
    size_t length;
    EXPECT_OK(hocket_send_bytes(group, rank, 5, "me", 3));
    EXPECT_OK(hocket_recv_bytes(group, rank, 5, &own, &length));
    EXPECT(length == 3 && strcmp(own, "me") == 0);
    free(own);
}

static void check_limits(void)
{
    hocket_group *half;
    EXPECT(hocket_split(group, rank % 2, 0, &half) == HOCKET_ERR_UNSUPPORTED);
    EXPECT(strstr(hocket_last_error(), "[ring] Group split not supported") != NULL);
    EXPECT(strstr(hocket_last_error(), "opening of the new group") != NULL);
    if (size < 4)
        return;
    EXPECT(hocket_send_bytes(group, (rank + 2) % size, 1, "x", 1) == HOCKET_ERR_UNSUPPORTED);
    EXPECT(strstr(hocket_last_error(), "direct neighbors") != NULL);
}

/* y = mean(max(x) gathered along axis 1), all by MLX's own operations, then a product, which MLX
 * has not, and a reduce_scatter. */
static void check_graph(hocket_mode mode)
{
    hocket_graph *graph;
    hocket_node x, y;
    hocket_executable *executable = NULL;
    const hocket_attr max = hocket_attr_string("reduce", "max");
    const hocket_attr mean = hocket_attr_string("reduce", "mean");
    const hocket_attr prod = hocket_attr_string("reduce", "prod");
    hocket_graph_create(&graph);
    hocket_graph_input(graph, "x", HOCKET_FLOAT32, 2, (int64_t[]){2, 1}, &x);
    hocket_graph_op(graph, "collective.all_reduce", &x, 1, &max, 1, &y);
    hocket_graph_add(graph, x, y, &y);
    hocket_graph_all_gather(graph, y, 1, &y);
    hocket_graph_op(graph, "collective.all_reduce", &y, 1, &mean, 1, &y);
    hocket_graph_output(graph, "gathered", y);
    hocket_graph_op(graph, "collective.all_reduce", &y, 1, &prod, 1, &y);
    hocket_graph_reduce_scatter(graph, y, 1, &y);
    EXPECT_OK(hocket_graph_output(graph, "y", y));
    EXPECT_OK(hocket_executable_compile(graph, "mlx", mode, &executable));
    hocket_graph_free(graph);
    for (int round = 1; executable != NULL && round <= 2; round++) {
        float values[2] = {(float)(rank * round), 1}, gathered[2 * RANKS_MAX], part[2];
        const size_t bytes = (size_t)size * 2 * sizeof gathered[0];
        EXPECT_OK(hocket_executable_set(executable, "x", values, sizeof values));
        EXPECT_OK(hocket_executable_run(executable));
        EXPECT_OK(hocket_executable_read(executable, "gathered", gathered, bytes));
        EXPECT_OK(hocket_executable_read(executable, "y", part, sizeof part));
        for (int r = 0; r < size; r++) {
            EXPECT(gathered[r] == (float)((size - 1 + r) * round));
            EXPECT(gathered[size + r] == 2);
        }
        EXPECT(part[0] == (float)size * powf((float)((size - 1 + rank) * round), (float)size));
    }
    hocket_executable_free(executable);
}

/* Rank 1 ends without a word. The others hear of it in the graph, where MLX would wait for ever in
 * the second collective, and in every call after it. */
static void check_loss(void)
{
    hocket_graph *graph;
    hocket_node x, y;
    hocket_executable *executable;
    float values[2] = {1, 2}, sums[2];
    hocket_graph_create(&graph);
    hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, (int64_t[]){2}, &x);
    hocket_graph_all_reduce(graph, x, &y);
    hocket_graph_all_reduce(graph, y, &y);
    hocket_graph_output(graph, "y", y);
    EXPECT_OK(hocket_executable_compile(graph, "mlx", HOCKET_LAZY, &executable));
    hocket_graph_free(graph);
    hocket_status status = HOCKET_OK;
    for (int round = 0; status == HOCKET_OK; round++) {
        if (rank == 1 && round == 2)
            _exit(LOST);
        status = hocket_executable_set(executable, "x", values, sizeof values);
        if (status == HOCKET_OK)
            status = hocket_executable_run(executable);
        if (status == HOCKET_OK)
            status = hocket_executable_read(executable, "y", sums, sizeof sums);
    }
    EXPECT(status == HOCKET_ERR_PEER_LOST);
    EXPECT(hocket_barrier(group) == HOCKET_ERR_PEER_LOST);
    EXPECT(hocket_barrier(group) == HOCKET_ERR_PEER_LOST);
    hocket_executable_free(executable);
}

/* Adds its rank to the bytes; batch FAILING fails on rank 1 where asked for. */
enum { BATCHES = 6, FAILING = 3, PIECE = 70000 };

static hocket_status add_rank(void *context, int batch, const hocket_piece *in, hocket_piece *out)
{
    if (rank == 1 && batch == FAILING && *(const bool *)context)
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no room for batch %d", batch);
    unsigned char *bytes = malloc(in->length + 1);
    for (size_t i = 0; i < in->length; i++)
        bytes[i] = (unsigned char)(((unsigned char *)in->bytes)[i] + rank);
    bytes[in->length] = (unsigned char)batch;
    *out = (hocket_piece){bytes, in->length + 1};
    return HOCKET_OK;
}

static hocket_status relay(bool fails, hocket_piece results[BATCHES])
{
    static unsigned char bytes[PIECE];
    hocket_piece inputs[BATCHES];
    for (int i = 0; i < BATCHES; i++)
        inputs[i] = (hocket_piece){bytes, i % 2 == 0 ? 0 : PIECE};
    return hocket_relay(group, add_rank, &fails, inputs, BATCHES, results);
}

static void check_relay(void)
{
    hocket_piece results[BATCHES];
    hocket_times times = {.size = sizeof times};
    EXPECT_OK(hocket_group_times(group, &times));
    EXPECT_OK(relay(false, results));
    EXPECT_OK(hocket_group_times(group, &times));
    EXPECT(times.calls == 1 && times.inside_s > 0 && isnan(times.waited_s));
    for (int i = 0; i < BATCHES; i++) {
        const size_t length = i % 2 == 0 ? 0 : PIECE;
        const unsigned char *bytes = results[i].bytes;
        EXPECT(results[i].length == length + (size_t)size);
        /* Byte length + s was put there by stage s; later ones have added their ranks. */
        for (size_t j = 0; j < results[i].length; j++) {
            int sum = j < length ? 0 : i;
            for (int r = j < length ? 0 : (int)(j - length) + 1; r < size; r++)
                sum += r;
            if (bytes[j] != (unsigned char)sum) {
                fault("a wrong byte", __LINE__);
                break;
            }
        }
        free(results[i].bytes);
    }
}

/* MLX has no news, so the pipeline carries the reason. */
static void check_failed_stage(void)
{
    hocket_piece results[BATCHES];
    EXPECT(relay(true, results) == HOCKET_ERR_NO_MEMORY);
    EXPECT(hocket_last_error_rank() == 1);
    EXPECT(strstr(hocket_last_error(), "rank 1's stage failed at batch 3: no room for batch 3") !=
           NULL);
    EXPECT(results[0].bytes == NULL && results[0].length == 0);
    EXPECT(hocket_barrier(group) == HOCKET_ERR_NO_MEMORY);
}

static int run_rank(const char *what)
{
    hocket_config config = {.size = sizeof config, .backend = "mlx:ring", .strict = true};
    if (hocket_init(&config, &group) != HOCKET_OK) {
        fprintf(stderr, "hocket_init: %s\n", hocket_last_error());
        return 1;
    }
    rank = hocket_rank(group);
    size = hocket_world_size(group);
    EXPECT(strcmp(hocket_backend(group), "mlx:ring") == 0);
    EXPECT(rank == (int)strtol(getenv("MLX_RANK"), NULL, 10));
    hocket_set_timeout(group, 30);
    if (strcmp(what, "loss") == 0) {
        hocket_graph_bind_group(0, group);
        check_loss();
        hocket_graph_unbind_group(0);
        hocket_free(group);
        return faults != 0;
    }
    if (strcmp(what, "stage") == 0) {
        check_failed_stage();
        hocket_free(group);
        return faults != 0;
    }
    check_other_collectives();
    check_messages();
    check_relay();
    check_extremes();
    check_complex_extremes();
    check_sum_of_halves();
    check_limits();
    EXPECT_OK(hocket_graph_bind_group(0, group));
    for (int mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++)
        check_graph((hocket_mode)mode);
    EXPECT_OK(hocket_graph_unbind_group(0));
    if (size == 2)
        check_reductions();
    EXPECT_OK(hocket_barrier(group));
    hocket_free(group);
    return faults != 0;
}

/* === Starting them ============================================================================ */

static const char *program;

/* Ports that were free a moment ago. */
static void write_hostfile(char path[], int ranks)
{
    int fd = mkstemp(path), sockets[RANKS_MAX];
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    for (int r = 0; r < ranks; r++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof address;
        sockets[r] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(sockets[r], (struct sockaddr *)&address, length), 0);
        assert_int_equal(getsockname(sockets[r], (struct sockaddr *)&address, &length), 0);
        fprintf(file, "%s[\"127.0.0.1:%d\"]", r == 0 ? "[" : ", ", ntohs(address.sin_port));
    }
    fprintf(file, "]\n");
    fclose(file);
    for (int r = 0; r < ranks; r++)
        close(sockets[r]);
}

static pid_t start(const char *hostfile, int of_rank, const char *what)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char number[16];
    snprintf(number, sizeof number, "%d", of_rank);
    setenv("MLX_RANK", number, 1);
    setenv("MLX_HOSTFILE", hostfile, 1);
    execl(program, program, what, (char *)NULL);
    _exit(127);
}

static void run_world(int ranks, const char *what)
{
    char hostfile[] = "/tmp/hocket-ring-XXXXXX";
    pid_t pids[RANKS_MAX];
    write_hostfile(hostfile, ranks);
    for (int r = 0; r < ranks; r++)
        pids[r] = start(hostfile, r, what);
    const time_t limit = time(NULL) + LIMIT_S;
    int failed = 0;
    for (int r = 0; r < ranks; r++) {
        int status = 0;
        while (waitpid(pids[r], &status, WNOHANG) == 0) {
            if (time(NULL) >= limit)
                kill(pids[r], SIGKILL);
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        }
        const int expected = r == 1 && strcmp(what, "loss") == 0 ? LOST : 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != expected) {
            print_error("rank %d of %d: wait status %d\n", r, ranks, status);
            failed++;
        }
    }
    unlink(hostfile);
    assert_int_equal(failed, 0);
}

static void process_group_over_mlx_ring_of_two(void **state)
{
    (void)state;
    run_world(2, "all");
}

static void process_group_over_mlx_ring_of_four(void **state)
{
    (void)state;
    run_world(4, "all");
}

static void a_lost_rank_ends_every_wait_of_the_others(void **state)
{
    (void)state;
    run_world(3, "loss");
}

static void a_failed_stage_is_an_error_on_every_rank(void **state)
{
    (void)state;
    run_world(2, "stage");
    run_world(4, "stage");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return run_rank(argv[1]);
    if (!mlx_is_built())
        return 77;
    program = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(process_group_over_mlx_ring_of_two),
        cmocka_unit_test(process_group_over_mlx_ring_of_four),
        cmocka_unit_test(a_lost_rank_ends_every_wait_of_the_others),
        cmocka_unit_test(a_failed_stage_is_an_error_on_every_rank),
    };
    return cmocka_run_group_tests_name("mlx_ring", tests, NULL, NULL);
}
