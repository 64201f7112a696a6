/* Every operation over the backend that the environment names, with results worked out beforehand:
 * everything [die|late|uneven]. For backends whose ranks must be processes, which the
 * conformance suite's threads are not. Says "rank 1 of 3 over mpi: N checks".
 *
 *   die     rank 1 of the world is killed while the others wait for it; they say what they hear of
 * it late    rank 1 stays away from a collective: the others say that they have waited in vain
 *   uneven  ranks that call different things hear of it
 */
#include <hocket/hocket.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNTS_MAX 5003
#define LARGE ((size_t)20 << 20)
#define FULL ((size_t)160 << 20) /* two of these are more than may lie unread */

static int rank, size, checks, faults;
static hocket_group *world;

static void expect(int right, const char *what, long detail)
{
    checks++;
    if (!right && faults++ < 10)
        fprintf(stderr, "rank %d of %d: %s, %ld: %s\n", rank, size, what, detail,
                hocket_last_error());
}

#define OK(call) expect((call) == HOCKET_OK, #call, __LINE__)

/* === Reductions =============================================================================== */

static void put(void *data, size_t i, hocket_dtype dtype, double value)
{
    switch (dtype) {
    case HOCKET_INT8:
    case HOCKET_UINT8: ((uint8_t *)data)[i] = (uint8_t)(int)value; break;
    case HOCKET_INT16:
    case HOCKET_UINT16: ((uint16_t *)data)[i] = (uint16_t)(int)value; break;
    case HOCKET_INT32:
    case HOCKET_UINT32: ((uint32_t *)data)[i] = (uint32_t)(int)value; break;
    case HOCKET_INT64:
    case HOCKET_UINT64: ((uint64_t *)data)[i] = (uint64_t)(int64_t)value; break;
    case HOCKET_FLOAT32: ((float *)data)[i] = (float)value; break;
    case HOCKET_FLOAT64: ((double *)data)[i] = value; break;
    case HOCKET_COMPLEX64:
        ((float *)data)[2 * i] = (float)value;
        ((float *)data)[2 * i + 1] = (float)-value;
        break;
    default: break;
    }
}

static double value_of(int r, size_t i)
{
    return 1 + (double)((i + (size_t)r) % 3);
}

static double folded(hocket_reduce reduce, size_t i)
{
    double sum = value_of(0, i);
    for (int r = 1; r < size; r++) {
        double next = value_of(r, i);
        sum = reduce == HOCKET_MAX    ? fmax(sum, next)
              : reduce == HOCKET_MIN  ? fmin(sum, next)
              : reduce == HOCKET_PROD ? sum * next
                                      : sum + next;
    }
    return reduce == HOCKET_MEAN ? sum / size : sum;
}

static void check_reduce(hocket_dtype dtype, hocket_reduce reduce, size_t count)
{
    size_t item = hocket_dtype_size(dtype), n = (size_t)size;
    char *send = calloc(n * count, item), *recv = calloc(n * count, item),
         *wanted = calloc(n * count, item);
    for (size_t i = 0; i < n * count; i++) {
        put(send, i, dtype, value_of(rank, i));
        put(wanted, i, dtype, folded(reduce, i));
    }
    OK(hocket_all_reduce(world, send, recv, n * count, dtype, reduce));
    expect(memcmp(recv, wanted, n * count * item) == 0, "all_reduce", dtype * 10 + (int)reduce);
    memset(recv, 0, n * count * item);
    OK(hocket_reduce_scatter(world, send, recv, count, dtype, reduce));
    expect(memcmp(recv, wanted + (size_t)rank * count * item, count * item) == 0, "reduce_scatter",
           dtype * 10 + (int)reduce);
    OK(hocket_reduce_to(world, send, recv, count, dtype, reduce, size - 1));
    expect(rank != size - 1 || memcmp(recv, wanted, count * item) == 0, "reduce_to", dtype);
    OK(hocket_all_reduce(world, send, send, n * count, dtype, reduce));
    expect(memcmp(send, wanted, n * count * item) == 0, "all_reduce in place", dtype);
    free(send);
    free(recv);
    free(wanted);
}

static void check_reductions(void)
{
    static const hocket_dtype dtypes[] = {HOCKET_INT8,    HOCKET_INT16,    HOCKET_INT32,
                                          HOCKET_INT64,   HOCKET_UINT8,    HOCKET_UINT16,
                                          HOCKET_UINT32,  HOCKET_UINT64,   HOCKET_FLOAT32,
                                          HOCKET_FLOAT64, HOCKET_COMPLEX64};
    static const size_t counts[] = {1, 17, COUNTS_MAX};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        bool real = dtypes[d] == HOCKET_FLOAT32 || dtypes[d] == HOCKET_FLOAT64;
        for (int reduce = HOCKET_SUM; reduce <= HOCKET_PROD; reduce++) {
            if ((reduce == HOCKET_MEAN && !real) ||
                (dtypes[d] == HOCKET_COMPLEX64 && reduce != HOCKET_SUM))
                continue;
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
                check_reduce(dtypes[d], (hocket_reduce)reduce, counts[c]);
        }
    }
}

/* Integers wrap: in vectors that are long enough for any kernel of an MPI. */
static void check_wrapping(hocket_dtype dtype)
{
    enum { COUNT = 200 };
    size_t item = hocket_dtype_size(dtype);
    uint64_t top = dtype == HOCKET_INT8 || dtype == HOCKET_INT16 || dtype == HOCKET_INT32 ||
                           dtype == HOCKET_INT64
                       ? UINT64_MAX >> (65 - 8 * item)
                       : UINT64_MAX >> (64 - 8 * item);
    for (int reduce = HOCKET_SUM; reduce <= HOCKET_PROD; reduce += HOCKET_PROD - HOCKET_SUM) {
        unsigned char data[COUNT * sizeof top], wanted[COUNT * sizeof top];
        uint64_t all = top;
        for (int r = 1; r < size; r++)
            all = reduce == HOCKET_SUM ? all + top : all * top;
        for (size_t i = 0; i < COUNT; i++) { /* little-endian, as all that this runs on */
            memcpy(data + i * item, &top, item);
            memcpy(wanted + i * item, &all, item);
        }
        OK(hocket_all_reduce(world, data, data, COUNT, dtype, (hocket_reduce)reduce));
        expect(memcmp(data, wanted, COUNT * item) == 0, "integers wrap", dtype * 10 + reduce);
    }
}

/* 256 + 1 in bfloat16 is 256 where each step is rounded: one of all ranks has the 256. */
static void check_halves_and_nan(void)
{
    uint16_t half = rank == 0 ? 0x4380 /* 256 */ : 0x3f80 /* 1 */, sum;
    float wanted = 256.0F + (float)(size - 1), number = rank == 1 ? NAN : 1, most;
    uint32_t bits;
    memcpy(&bits, &wanted, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    OK(hocket_all_reduce(world, &half, &sum, 1, HOCKET_BFLOAT16, HOCKET_SUM));
    expect(sum == bits, "a sum of halves is rounded once", sum);
    OK(hocket_all_reduce(world, &number, &most, 1, HOCKET_FLOAT32, HOCKET_MAX));
    expect(size < 2 || isnan(most), "max hands a NaN on", 0);
    uint8_t flag = rank == size - 1 ? 2 : 0;
    OK(hocket_all_reduce(world, &flag, &flag, 1, HOCKET_BOOL, HOCKET_SUM));
    expect(flag != 0, "a sum of bools is or", flag);
}

/* === Blocks =================================================================================== */

static unsigned char byte_of(int r, size_t i)
{
    return (unsigned char)((size_t)r * 41 + i * 7 + i / 251);
}

static int is_block(const unsigned char *block, int r, size_t from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (block[i] != byte_of(r, from + i))
            return 0;
    return 1;
}

static void check_blocks(size_t count)
{
    size_t n = (size_t)size;
    unsigned char *send = malloc(n * count), *recv = malloc(n * count);
    for (size_t i = 0; i < n * count; i++)
        send[i] = byte_of(rank, i);
    OK(hocket_all_gather(world, send, recv, count, HOCKET_UINT8));
    for (int r = 0; r < size; r++)
        expect(is_block(recv + (size_t)r * count, r, 0, count), "all_gather", r);
    OK(hocket_all_to_all(world, send, recv, count, HOCKET_UINT8));
    for (int r = 0; r < size; r++)
        expect(is_block(recv + (size_t)r * count, r, (size_t)rank * count, count), "all_to_all", r);
    for (int root = 0; root < size; root++) {
        memcpy(recv, send, count);
        OK(hocket_broadcast(world, recv, count, HOCKET_UINT8, root));
        expect(is_block(recv, root, 0, count), "broadcast", root);
        OK(hocket_scatter(world, send, recv, count, HOCKET_UINT8, root));
        expect(is_block(recv, root, (size_t)rank * count, count), "scatter", root);
    }
    OK(hocket_gather(world, send, recv, count, HOCKET_UINT8, 0));
    for (int r = 0; rank == 0 && r < size; r++)
        expect(is_block(recv + (size_t)r * count, r, 0, count), "gather", r);
    OK(hocket_barrier(world));
    free(send);
    free(recv);
}

/* === Messages ================================================================================= */

static void check_lengths(int to, int from)
{
    static const size_t lengths[] = {0, 1, 2047, 2048, 2049, 5000, 100000, LARGE};
    unsigned char *bytes = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = byte_of(rank, i);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        void *got = NULL;
        size_t length = 1;
        OK(hocket_send_bytes(world, to, 7, bytes, lengths[i]));
        OK(hocket_recv_bytes(world, from, 7, &got, &length));
        expect(length == lengths[i] && is_block(got, from, 0, length), "a message", (long)length);
        free(got);
    }
    free(bytes);
}

/* Taken in another order than sent; one that does not fit stays. */
static void check_order(int to, int from)
{
    char text[16];
    size_t length = 0;
    int source = -2;
    for (uint32_t tag = 0; tag < 4; tag++) {
        snprintf(text, sizeof text, "%d %u", rank, tag);
        OK(hocket_send_bytes(world, to, 100 + tag, text, strlen(text) + 1));
        OK(hocket_send_bytes(world, to, 100 + tag, "second", 7));
    }
    OK(hocket_probe(world, HOCKET_ANY_RANK, 103, &source, &length));
    expect(source == from && length == strlen(text) + 1, "probe", source);
    for (uint32_t tag = 4; tag-- > 0;) {
        char wanted[16], got[16] = "";
        snprintf(wanted, sizeof wanted, "%d %u", from, tag);
        expect(hocket_recv_into(world, from, 100 + tag, got, 1, &length) == HOCKET_ERR_INVALID,
               "a message that does not fit", (long)length);
        OK(hocket_recv_into(world, from, 100 + tag, got, sizeof got, &length));
        expect(strcmp(got, wanted) == 0, got, (long)length);
        OK(hocket_recv_into(world, from, 100 + tag, got, sizeof got, &length));
        expect(strcmp(got, "second") == 0, got, (long)length);
    }
}

/* More than may lie unread: the second is sent when the first is taken. */
static void check_window(int to, int from)
{
    unsigned char *bytes = calloc(1, FULL);
    hocket_request *sends[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++)
        OK(hocket_send_bytes_async(world, to, 300 + (uint32_t)i, bytes, FULL, &sends[i]));
    for (int i = 1; i >= 0; i--) { /* the announced one first */
        void *got = NULL;
        size_t length = 0;
        OK(hocket_recv_bytes(world, from, 300 + (uint32_t)i, &got, &length));
        expect(length == FULL, "a message above the window", (long)length);
        free(got);
    }
    for (int i = 0; i < 2; i++)
        OK(hocket_wait(sends[i]));
    free(bytes);
}

/* === Groups =================================================================================== */

static void check_split(void)
{
    hocket_group *part = NULL, *again = NULL, *none = (hocket_group *)1;
    OK(hocket_split(world, rank % 2, -rank, &part));
    int members = (size + 1 - rank % 2) / 2, wanted = 0;
    for (int r = rank % 2; r < size; r += 2)
        wanted += r;
    expect(hocket_world_size(part) == members && hocket_rank(part) == members - 1 - rank / 2,
           "split", hocket_rank(part));
    int32_t sum = rank;
    OK(hocket_all_reduce(part, &sum, &sum, 1, HOCKET_INT32, HOCKET_SUM));
    expect(sum == wanted, "a sum in a part", sum);
    OK(hocket_split(part, 0, 0, &again));
    OK(hocket_broadcast(again, &sum, 1, HOCKET_INT32, 0));
    OK(hocket_barrier(again));
    OK(hocket_split(world, rank == 0 ? HOCKET_NO_COLOR : 1, 0, &none));
    expect((none == NULL) == (rank == 0), "split without a color", 0);
    hocket_free(again);
    hocket_free(part);
    hocket_free(none);
    for (int i = 0; i < 50; i++) { /* what they hold is given back */
        OK(hocket_split(world, 0, 0, &part));
        hocket_free(part);
    }
}

static void check_requests(void)
{
    enum { CALLS = 8 };
    float data[CALLS][1000];
    hocket_request *requests[CALLS] = {NULL};
    for (int c = 0; c < CALLS; c++) {
        for (int i = 0; i < 1000; i++)
            data[c][i] = (float)(rank + c);
        OK(hocket_all_sum_async(world, data[c], 1000, &requests[c]));
    }
    for (int c = 0; c < CALLS; c++) {
        OK(hocket_wait(requests[c]));
        expect(data[c][999] == (float)(size * (size - 1) / 2 + c * size), "all_sum_async", c);
    }
}

/* === What goes wrong ========================================================================== */

static int tell(hocket_status status)
{
    printf("rank %d: %s: %s\n", rank, hocket_status_name(status), hocket_last_error());
    fflush(stdout);
    return status == HOCKET_OK;
}

static int misbehave(const char *how)
{
    float x[4] = {1, 1, 1, 1}, y[4];
    struct timespec nap = {.tv_sec = 6};
    if (strcmp(how, "uneven") == 0) {
        hocket_set_timeout(world, 5);
        if (rank == 1)
            tell(hocket_all_to_all(world, x, y, 1, HOCKET_FLOAT32));
        else
            tell(hocket_gather(world, x, y, 1, HOCKET_FLOAT32, 0));
        return nanosleep(&nap, NULL) != 0; /* mpirun ends all when the first has ended so */
    }
    hocket_set_timeout(world, 3);
    if (rank == 1 && strcmp(how, "die") == 0)
        raise(SIGKILL);
    if (rank == 1)
        return nanosleep(&nap, NULL) != 0;
    tell(hocket_all_sum(world, x, 1));
    return nanosleep(&nap, NULL) != 0; /* until the others, too, have told */
}

int main(int argc, char **argv)
{
    hocket_config config = {.size = sizeof config, .strict = true, .timeout_s = 60};
    if (hocket_init(&config, &world) != HOCKET_OK) {
        fprintf(stderr, "everything: %s\n", hocket_last_error());
        return 1;
    }
    rank = hocket_rank(world);
    size = hocket_world_size(world);
    if (argc > 1)
        _exit(misbehave(argv[1]));
    int to = (rank + 1) % size, from = (rank + size - 1) % size;
    check_reductions();
    for (int dtype = HOCKET_INT8; dtype <= HOCKET_UINT64; dtype++)
        check_wrapping((hocket_dtype)dtype);
    check_halves_and_nan();
    check_blocks(1);
    check_blocks(COUNTS_MAX);
    check_blocks((size_t)3 << 20);
    check_lengths(to, from);
    check_order(to, from);
    check_window(to, from);
    check_split();
    check_requests();
    OK(hocket_barrier(world));
    printf("rank %d of %d over %s: %d checks\n", rank, size, hocket_backend(world), checks);
    hocket_free(world);
    return faults > 0;
}
