/* The numbers that are sent. Each rank's are small integers that repeat with a prime period, so
 * that a block at the wrong place, of the wrong rank or of the wrong length is seen, every result
 * is exact in every dtype, and a buffer is filled and checked about as fast as memory is. */
#include "bench/bench.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define PERIOD 251
#define ELEMENT_MAX 16  /* bytes of the largest element */
#define NOTHING 0xA5    /* what a buffer holds before an operation has written to it */
#define SUM_RANGE 4     /* small, so that sums over many ranks stay exact in 8 bits of mantissa */
#define OTHER_RANGE 113 /* a prime below what an int8 holds */
#define MEAN_ERROR 0.01 /* relative; means are not integers */

typedef struct pattern {
    unsigned char bytes[PERIOD * ELEMENT_MAX];
    double values[PERIOD];
    size_t element;
} pattern;

static double value_of(const hk_bench_task *task, int rank, int i)
{
    int n = task->n;
    if (!task->operation->reduces || task->reduce == HOCKET_MAX || task->reduce == HOCKET_MIN)
        return (i * 7 + rank * 31 + 1) % OTHER_RANGE;
    if (task->reduce == HOCKET_PROD)
        return rank == i % n ? 1 + i % 3 : 1;
    return (i * 7 + rank * 5 + i / 9) % SUM_RANGE;
}

static double fold(const hk_bench_task *task, double left, double right)
{
    switch (task->reduce) {
    case HOCKET_MAX: return left > right ? left : right;
    case HOCKET_MIN: return left < right ? left : right;
    case HOCKET_PROD: return left * right;
    default: return left + right;
    }
}

static double as_bool(const hk_bench_task *task, double value)
{
    return task->dtype == HOCKET_BOOL ? fmod(value, 2) : value;
}

/* A natural number as a float of so many bits after the point, rounded to even. */
static uint16_t small_float(double value, int bits, int bias)
{
    int exponent;
    if (value == 0)
        return 0;
    double mantissa = nearbyint(ldexp(frexp(value, &exponent), bits + 1));
    return (uint16_t)(((exponent - 1 + bias) << bits) + (int)mantissa - (1 << bits));
}

/* Cut to its size, as sums of integers wrap. */
static void encode_integer(unsigned char *out, size_t size, int64_t value)
{
    uint8_t narrow = (uint8_t)value;
    uint16_t half = (uint16_t)value;
    uint32_t word = (uint32_t)value;
    const void *from = size == 1   ? (const void *)&narrow
                       : size == 2 ? (const void *)&half
                       : size == 4 ? (const void *)&word
                                   : (const void *)&value;
    memcpy(out, from, size);
}

static void encode(hocket_dtype dtype, unsigned char *out, double value)
{
    float single[2] = {(float)value, 0};
    switch (dtype) {
    case HOCKET_BOOL: *out = value != 0; break;
    case HOCKET_FLOAT16: encode_integer(out, 2, small_float(value, 10, 15)); break;
    case HOCKET_BFLOAT16: encode_integer(out, 2, small_float(value, 7, 127)); break;
    case HOCKET_FLOAT32: memcpy(out, single, sizeof single[0]); break;
    case HOCKET_COMPLEX64: memcpy(out, single, sizeof single); break;
    case HOCKET_FLOAT64: memcpy(out, &value, sizeof value); break;
    default: encode_integer(out, hocket_dtype_size(dtype), (int64_t)value); break;
    }
}

static void make(const hk_bench_task *task, int source, pattern *made)
{
    made->element = hocket_dtype_size(task->dtype);
    for (int i = 0; i < PERIOD; i++) {
        double value = as_bool(task, value_of(task, source == HK_BENCH_FOLD ? 0 : source, i));
        for (int rank = 1; source == HK_BENCH_FOLD && rank < task->n; rank++)
            value = fold(task, value, as_bool(task, value_of(task, rank, i)));
        if (source == HK_BENCH_FOLD && task->reduce == HOCKET_MEAN)
            value /= task->n;
        made->values[i] = value;
        encode(task->dtype, made->bytes + (size_t)i * made->element, value);
    }
}

/* The longest run of elements from here on that lies in one period. */
static size_t run_length(size_t offset, size_t left)
{
    size_t length = PERIOD - offset % PERIOD;
    return length < left ? length : left;
}

static void fill(const hk_bench_task *task, void *buffer, size_t count)
{
    pattern own;
    make(task, task->rank, &own);
    for (size_t at = 0, length; at < count; at += length) {
        length = run_length(at, count - at);
        memcpy((unsigned char *)buffer + at * own.element, own.bytes, length * own.element);
    }
}

void hk_bench_fill(const hk_bench_task *task)
{
    size_t element = hocket_dtype_size(task->dtype);
    size_t send = hk_bench_send_bytes(task), recv = hk_bench_recv_bytes(task);
    if (send > 0)
        fill(task, task->send, send / element);
    if (recv > 0)
        memset(task->recv, NOTHING, recv);
    if (recv > 0 && task->operation->send == HK_BENCH_NONE && task->rank == 0)
        fill(task, task->recv, recv / element); /* a broadcast's root */
}

/* The float in the upper bits of a half, by its exponent's width. */
static double widen(uint16_t half, int bits, int bias)
{
    int exponent = (half & 0x7FFF) >> bits;
    double mantissa = (half & ((1 << bits) - 1)) + (exponent ? 1 << bits : 0);
    return ldexp(half & 0x8000 ? -mantissa : mantissa, (exponent ? exponent : 1) - bias - bits);
}

static double decode(hocket_dtype dtype, const unsigned char *element)
{
    uint16_t half;
    float single;
    double wide;
    memcpy(&half, element, sizeof half);
    switch (dtype) {
    case HOCKET_FLOAT16: return widen(half, 10, 15);
    case HOCKET_BFLOAT16: return widen(half, 7, 127);
    case HOCKET_FLOAT64: memcpy(&wide, element, sizeof wide); return wide;
    default: memcpy(&single, element, sizeof single); return single;
    }
}

static bool same(const hk_bench_task *task, const pattern *wanted, const unsigned char *got,
                 size_t at)
{
    if (memcmp(got, wanted->bytes + at * wanted->element, wanted->element) == 0)
        return true;
    if (!task->operation->reduces || task->reduce != HOCKET_MEAN)
        return false;
    double value = wanted->values[at];
    return fabs(decode(task->dtype, got) - value) <= MEAN_ERROR * value;
}

static bool check_piece(const hk_bench_task *task, const hk_bench_piece *piece,
                        const unsigned char *got, size_t *where)
{
    pattern wanted;
    make(task, piece->source, &wanted);
    size_t size = wanted.element;
    for (size_t at = 0, length; at < piece->count; at += length) {
        size_t phase = (piece->offset + at) % PERIOD;
        length = run_length(phase, piece->count - at);
        if (memcmp(got + at * size, wanted.bytes + phase * size, length * size) == 0)
            continue;
        for (size_t i = 0; i < length; i++) {
            *where = at + i;
            if (!same(task, &wanted, got + (at + i) * size, phase + i))
                return false;
        }
    }
    return true;
}

bool hk_bench_check(const hk_bench_task *task, size_t *where)
{
    const unsigned char *recv = task->recv;
    size_t before = 0;
    hk_bench_piece piece;
    for (int i = 0; task->operation->piece && task->operation->piece(task, i, &piece); i++) {
        if (!check_piece(task, &piece, recv + before * hocket_dtype_size(task->dtype), where)) {
            *where += before;
            return false;
        }
        before += piece.count;
    }
    return true;
}
