#include "oracle_values.h"

#include <math.h>

enum kind { BOOLEAN, SIGNED, UNSIGNED, REAL, COMPLEX };

static const struct dtype_facts {
    enum kind kind;
    size_t item;
    int digits, bias; /* of floats: bits of precision, the exponent's bias */
    double error;     /* of one operation, relative; halves compute in float32 */
} facts[ORACLE_DTYPES] = {
    [HOCKET_BOOL] = {BOOLEAN, 1, 0, 0, 0},
    [HOCKET_INT8] = {SIGNED, 1, 0, 0, 0},
    [HOCKET_INT16] = {SIGNED, 2, 0, 0, 0},
    [HOCKET_INT32] = {SIGNED, 4, 0, 0, 0},
    [HOCKET_INT64] = {SIGNED, 8, 0, 0, 0},
    [HOCKET_UINT8] = {UNSIGNED, 1, 0, 0, 0},
    [HOCKET_UINT16] = {UNSIGNED, 2, 0, 0, 0},
    [HOCKET_UINT32] = {UNSIGNED, 4, 0, 0, 0},
    [HOCKET_UINT64] = {UNSIGNED, 8, 0, 0, 0},
    [HOCKET_FLOAT16] = {REAL, 2, 11, 15, 1e-6},
    [HOCKET_BFLOAT16] = {REAL, 2, 8, 127, 1e-6},
    [HOCKET_FLOAT32] = {REAL, 4, 24, 127, 1e-6},
    [HOCKET_FLOAT64] = {REAL, 8, 53, 1023, 1e-15},
    [HOCKET_COMPLEX64] = {COMPLEX, 8, 24, 127, 1e-6},
};

const char *oracle_op_name(enum oracle_op op)
{
    static const char *const names[] = {"sum",  "mean",     "max",         "min",
                                        "prod", "user add", "user affine", "move"};
    return names[op];
}

static bool is_user(enum oracle_op op) { return op == ORACLE_USER_ADD || op == ORACLE_USER_AFFINE; }

bool oracle_defined(enum oracle_op op, hocket_dtype dtype)
{
    return op != ORACLE_MEAN || facts[dtype].kind == REAL || facts[dtype].kind == COMPLEX;
}

/* === The user's reductions ==================================================================== */

static uint64_t item_mask(size_t item) { return UINT64_MAX >> (64 - 8 * item); }

/* An element holds an affine map x -> a x + b, a in its upper half, b in its lower one. Maps one
 * after the other are a map again: associative, and which comes first matters. */
static uint64_t affine(uint64_t first, uint64_t second, size_t item)
{
    unsigned half = (unsigned)item * 4;
    uint64_t mask = (UINT64_C(1) << half) - 1;
    uint64_t a = (first >> half) * (second >> half) & mask;
    uint64_t b = ((second >> half) * (first & mask) + (second & mask)) & mask;
    return a << half | b;
}

static uint64_t user_bits(enum oracle_op op, uint64_t lower, uint64_t higher, size_t item)
{
    return op == ORACLE_USER_ADD ? (lower + higher) & item_mask(item) : affine(lower, higher, item);
}

struct user {
    enum oracle_op op;
    size_t item;
    hocket_reduce reduce;
};
static struct user users[2][4]; /* by op, by log2 of the item */

/* The bytes of an element as a number; the compiler knows these sizes. */
static uint64_t load(const unsigned char *from, size_t item)
{
    uint64_t word = 0;
    switch (item) {
    case 1: return from[0];
    case 2: memcpy(&word, from, 2); break;
    case 4: memcpy(&word, from, 4); break;
    default: memcpy(&word, from, 8); break;
    }
    return word;
}

static void user_function(const void *in, void *inout, size_t count, void *context)
{
    const struct user *user = context;
    const unsigned char *lower = in;
    unsigned char *higher = inout;
    for (size_t i = 0; i < count; i++, lower += user->item, higher += user->item) {
        uint64_t bits = user_bits(user->op, load(lower, user->item), load(higher, user->item),
                                  user->item);
        memcpy(higher, &bits, user->item);
    }
}

void oracle_open(void)
{
    for (int op = 0; op < 2; op++)
        for (int log = 0; log < 4; log++) {
            users[op][log] = (struct user){.op = ORACLE_USER_ADD + op, .item = (size_t)1 << log};
            CHECK_OK(hocket_reduce_create(user_function, &users[op][log], op == 0,
                                          &users[op][log].reduce));
        }
}

void oracle_close(void)
{
    for (int op = 0; op < 2; op++)
        for (int log = 0; log < 4; log++)
            hocket_reduce_free(users[op][log].reduce);
}

hocket_reduce oracle_reduce(enum oracle_op op, hocket_dtype dtype)
{
    if (!is_user(op))
        return (hocket_reduce)op;
    int log = 0;
    while ((size_t)1 << log < facts[dtype].item)
        log++;
    return users[op - ORACLE_USER_ADD][log].reduce;
}

/* === Elements as numbers ====================================================================== */

static double decode_small(unsigned bits, int digits, int bias)
{
    unsigned ones = (1u << (16 - digits)) - 1;
    unsigned field = bits >> (digits - 1) & ones;
    double sign = bits >> 15 ? -1 : 1, fraction = bits & ((1u << (digits - 1)) - 1);
    if (field == ones)
        return fraction != 0 ? NAN : sign * INFINITY;
    if (field == 0)
        return sign * ldexp(fraction, 2 - bias - digits);
    return sign * ldexp(fraction + (1u << (digits - 1)), (int)field - bias - digits + 1);
}

/* Only of values that the type has exactly, not too small. */
static unsigned encode_small(double value, int digits, int bias)
{
    int exponent;
    if (value == 0)
        return 0;
    unsigned fraction = (unsigned)ldexp(frexp(fabs(value), &exponent), digits);
    return (value < 0 ? 1u << 15 : 0) | (unsigned)(exponent - 1 + bias) << (digits - 1) |
           (fraction - (1u << (digits - 1)));
}

static void encode(const struct dtype_facts *its, struct oracle_number number, unsigned char *to)
{
    float pair[2] = {(float)number.real, (float)number.imaginary};
    uint16_t small;
    if (its->kind < REAL) {
        memcpy(to, &number.bits, its->item); /* little endian, as all machines that hocket knows */
    } else if (its->item == 2) {
        small = (uint16_t)encode_small(number.real, its->digits, its->bias);
        memcpy(to, &small, 2);
    } else if (its->kind == REAL && its->item == 8) {
        memcpy(to, &number.real, 8);
    } else {
        memcpy(to, pair, its->item);
    }
}

static struct oracle_number decode(const struct dtype_facts *its, const unsigned char *from)
{
    struct oracle_number number = {.bits = load(from, its->item)};
    float pair[2];
    if (its->kind == SIGNED && its->item < 8 && number.bits >> (8 * its->item - 1))
        number.bits |= ~item_mask(its->item);
    if (its->kind < REAL)
        return number;
    if (its->item == 2) {
        number.real = decode_small((unsigned)number.bits, its->digits, its->bias);
    } else if (its->kind == REAL && its->item == 8) {
        memcpy(&number.real, from, 8);
    } else {
        memcpy(pair, &number.bits, sizeof(pair));
        number.real = (double)pair[0];
        number.imaginary = (double)pair[1];
    }
    return number;
}

static uint64_t noise(uint64_t x)
{
    x = (x + UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 29)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 32);
}

/* A float within 8 of 0 that uses all digits of its type; for products one near 1. */
static double sample_real(const struct dtype_facts *its, enum oracle_op op, uint64_t random)
{
    if (op == ORACLE_PROD)
        return ldexp((random & 64 ? -1 : 1) * (8 + (double)(random & 7)), (random & 16 ? -3 : -4));
    double span = ldexp(1, its->digits);
    return ldexp((double)(random >> 11 & (((uint64_t)1 << its->digits) - 1)) - span / 2,
                 4 - its->digits);
}

static void sample(const struct dtype_facts *its, enum oracle_op op, int rank, size_t i,
                   unsigned char *to)
{
    uint64_t random = noise((uint64_t)rank * ORACLE_PERIOD * 31 + i * 7 + (uint64_t)op);
    struct oracle_number number = {.bits = random};
    if (is_user(op) || op == ORACLE_MOVE) {
        memcpy(to, &random, its->item);
        return;
    }
    bool mostly = op == ORACLE_PROD || op == ORACLE_MIN; /* so that both results come about */
    if (its->kind == BOOLEAN)
        number.bits = (random % 5 == 0) != mostly ? random >> 8 | 1 : 0;
    if (its->kind >= REAL) {
        number.real = sample_real(its, op, random);
        number.imaginary = sample_real(its, op, noise(random));
    }
    encode(its, number, to);
}

/* === The naive fold =========================================================================== */

static bool is_less(const struct dtype_facts *its, struct oracle_number a, struct oracle_number b)
{
    switch (its->kind) {
    case SIGNED: return (int64_t)a.bits < (int64_t)b.bits;
    case BOOLEAN:
    case UNSIGNED: return a.bits < b.bits;
    default: return a.real < b.real || (a.real == b.real && a.imaginary < b.imaginary);
    }
}

static struct oracle_number combine_floats(enum oracle_op op, struct oracle_number a,
                                           struct oracle_number b)
{
    if (op != ORACLE_PROD)
        return (struct oracle_number){.real = a.real + b.real,
                                      .imaginary = a.imaginary + b.imaginary,
                                      .magnitude = a.magnitude + b.magnitude};
    return (struct oracle_number){.real = a.real * b.real - a.imaginary * b.imaginary,
                                  .imaginary = a.real * b.imaginary + a.imaginary * b.real,
                                  .magnitude = a.magnitude * b.magnitude};
}

static struct oracle_number combine(const struct oracle_table *table, struct oracle_number lower,
                                    struct oracle_number higher)
{
    const struct dtype_facts *its = &facts[table->dtype];
    struct oracle_number result = lower;
    if (is_user(table->op))
        result.bits = user_bits(table->op, lower.bits & item_mask(its->item),
                                higher.bits & item_mask(its->item), its->item);
    else if (table->op == ORACLE_MAX)
        result = is_less(its, lower, higher) ? higher : lower;
    else if (table->op == ORACLE_MIN)
        result = is_less(its, higher, lower) ? higher : lower;
    else if (its->kind == BOOLEAN)
        result.bits = table->op == ORACLE_PROD ? lower.bits & higher.bits
                                               : lower.bits | higher.bits;
    else if (its->kind < REAL)
        result.bits = table->op == ORACLE_PROD ? lower.bits * higher.bits
                                               : lower.bits + higher.bits;
    else
        result = combine_floats(table->op, lower, higher);
    return result;
}

static struct oracle_number fold_at(const struct oracle_table *table, size_t i)
{
    const struct dtype_facts *its = &facts[table->dtype];
    struct oracle_number result = {0};
    for (int rank = 0; rank < table->ranks; rank++) {
        struct oracle_number number = decode(its, table->input[rank] + i * its->item);
        if (its->kind == BOOLEAN && !is_user(table->op))
            number.bits = number.bits != 0;
        number.magnitude = hypot(number.real, number.imaginary);
        result = rank == 0 ? number : combine(table, result, number);
    }
    if (table->op == ORACLE_MEAN) {
        result.real /= table->ranks;
        result.imaginary /= table->ranks;
        result.magnitude /= table->ranks;
    }
    return result;
}

/* === Tables =================================================================================== */

static double last_place(double value, const struct dtype_facts *its)
{
    int exponent;
    frexp(value, &exponent);
    if (exponent < 2 - its->bias)
        exponent = 2 - its->bias;
    return ldexp(1, exponent - its->digits);
}

static double tolerance(const struct oracle_table *table, double expected, double magnitude)
{
    const struct dtype_facts *its = &facts[table->dtype];
    if (table->op == ORACLE_MAX || table->op == ORACLE_MIN || table->ranks == 1)
        return 0;
    double error = its->error * table->ranks * magnitude;
    return its->item == 2 ? error + last_place(expected, its) / 2 : error;
}

static void set_bounds(struct oracle_table *table, size_t i)
{
    const struct oracle_number *fold = &table->fold[i];
    const double parts[2] = {fold->real, fold->imaginary};
    for (int part = 0; part < 2; part++) {
        double allowed = tolerance(table, parts[part], fold->magnitude);
        table->low[i][part] = parts[part] - allowed;
        table->high[i][part] = parts[part] + allowed;
    }
}

void oracle_fill_table(struct oracle_table *table, enum oracle_op op, hocket_dtype dtype, int ranks)
{
    const struct dtype_facts *its = &facts[dtype];
    table->dtype = dtype;
    table->op = op;
    table->ranks = ranks;
    table->item = its->item;
    for (int rank = 0; rank < ranks; rank++)
        for (size_t i = 0; i < ORACLE_PERIOD; i++)
            sample(its, op, rank, i, table->input[rank] + i * its->item);
    for (size_t i = 0; op != ORACLE_MOVE && i < ORACLE_PERIOD; i++) {
        table->fold[i] = fold_at(table, i);
        set_bounds(table, i);
    }
}

/* How many elements from a position on lie before the samples begin again. */
static size_t stretch(size_t position, size_t count)
{
    size_t whole = ORACLE_PERIOD - position % ORACLE_PERIOD;
    return whole < count ? whole : count;
}

void oracle_fill(const struct oracle_table *table, void *to, int rank, size_t start, size_t count)
{
    for (size_t done = 0, piece; done < count; done += piece) {
        piece = stretch(start + done, count - done);
        memcpy((char *)to + done * table->item,
               table->input[rank] + (start + done) % ORACLE_PERIOD * table->item,
               piece * table->item);
    }
}

/* === Comparing ================================================================================ */

void oracle_check_input(const struct oracle_table *table, const void *at, int rank, size_t start,
                        size_t count)
{
    for (size_t done = 0, piece; done < count; done += piece) {
        piece = stretch(start + done, count - done);
        CHECK_THAT(memcmp((const char *)at + done * table->item,
                          table->input[rank] + (start + done) % ORACLE_PERIOD * table->item,
                          piece * table->item) == 0,
                   "elements %zu to %zu of %zu are not what rank %d has from %zu on", done,
                   done + piece, count, rank, start + done);
    }
}

static void check_bits(const struct oracle_table *table, struct oracle_number got, size_t i)
{
    const struct dtype_facts *its = &facts[table->dtype];
    uint64_t mask = item_mask(its->item), want = table->fold[i % ORACLE_PERIOD].bits & mask;
    uint64_t have = got.bits & mask;
    if (its->kind == BOOLEAN && !is_user(table->op))
        have = have != 0;
    CHECK_THAT(want == have, "element %zu is %#llx instead of %#llx", i, (unsigned long long)have,
               (unsigned long long)want);
}

static void check_float(const struct oracle_table *table, struct oracle_number got, size_t i)
{
    const size_t at = i % ORACLE_PERIOD;
    const double *low = table->low[at], *high = table->high[at];
    CHECK_THAT(got.real >= low[0] && got.real <= high[0] && got.imaginary >= low[1] &&
                   got.imaginary <= high[1],
               "element %zu is %.17g, %.17g instead of %.17g, %.17g (+- %.3g)", i, got.real,
               got.imaginary, table->fold[at].real, table->fold[at].imaginary,
               high[0] - table->fold[at].real);
}

void oracle_check_fold(const struct oracle_table *table, const void *at, size_t start, size_t count)
{
    const struct dtype_facts *its = &facts[table->dtype];
    bool bits = its->kind < REAL || is_user(table->op);
    for (size_t i = 0; i < count; i++) {
        struct oracle_number got = decode(its, (const unsigned char *)at + i * its->item);
        if (bits)
            check_bits(table, got, start + i);
        else
            check_float(table, got, start + i);
    }
}
