/* libhocket-mpi as MLX uses it: opened at run time, its names looked up, its handles passed without
 * knowing what they are. Ranks are processes. What ends a process is tried in one more, whose end
 * is looked at. */
#include "oracle_values.h"

#include "core/half.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_STATUS 70     /* what docs/programs.md promises */
#define NOTICE_SECONDS 3.0 /* in which a death ends the others: one, and a busy machine */
#define ANY_TAG (-1)
#define IN_PLACE ((void *)1)

typedef void *handle;
typedef void user_function(void *in, void *inout, int *count, handle *type);

static struct mpi {
    int (*get_version)(char *text, int *length);
    int (*init)(int *argc, char ***argv);
    int (*finalize)(void);
    int (*comm_rank)(handle comm, int *rank);
    int (*comm_size)(handle comm, int *size);
    int (*comm_split)(handle comm, int color, int key, handle *made);
    int (*comm_free)(handle *comm);
    int (*all_reduce)(const void *, void *, int count, handle type, handle op, handle comm);
    int (*all_gather)(const void *, int, handle, void *, int, handle, handle comm);
    int (*send)(const void *, int count, handle type, int to, int tag, handle comm);
    int (*recv)(void *, int count, handle type, int from, int tag, handle comm, void *status);
    int (*type_contiguous)(int count, handle of, handle *made);
    int (*type_commit)(handle *type);
    int (*op_create)(user_function *function, int commutes, handle *made);
    handle world, ops[3], types[ORACLE_DTYPES]; /* ops: sum, max, min */
    handle half;                                /* two bytes, made here */
} mpi;

static void *find(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    CHECK_THAT(symbol != NULL, "there is no %s", name);
    return symbol;
}

static void load(void)
{
    char path[PATH_MAX];
    const char *build = getenv("HOCKET_BUILD_DIR");
#ifdef __APPLE__
    const char *suffix = "dylib";
#else
    const char *suffix = "so";
#endif
    snprintf(path, sizeof(path), "%s/lib/libhocket-mpi.%s", build ? build : "build", suffix);
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    CHECK_THAT(library != NULL, "%s", dlerror());
    const struct {
        void *where;
        const char *name;
    } functions[] = {
        {&mpi.get_version, "MPI_Get_library_version"},
        {&mpi.init, "MPI_Init"},
        {&mpi.finalize, "MPI_Finalize"},
        {&mpi.comm_rank, "MPI_Comm_rank"},
        {&mpi.comm_size, "MPI_Comm_size"},
        {&mpi.comm_split, "MPI_Comm_split"},
        {&mpi.comm_free, "MPI_Comm_free"},
        {&mpi.all_reduce, "MPI_Allreduce"},
        {&mpi.all_gather, "MPI_Allgather"},
        {&mpi.send, "MPI_Send"},
        {&mpi.recv, "MPI_Recv"},
        {&mpi.type_contiguous, "MPI_Type_contiguous"},
        {&mpi.type_commit, "MPI_Type_commit"},
        {&mpi.op_create, "MPI_Op_create"},
        {&mpi.world, "ompi_mpi_comm_world"},
        {&mpi.ops[0], "ompi_mpi_op_sum"},
        {&mpi.ops[1], "ompi_mpi_op_max"},
        {&mpi.ops[2], "ompi_mpi_op_min"},
        {&mpi.types[HOCKET_BOOL], "ompi_mpi_c_bool"},
        {&mpi.types[HOCKET_INT8], "ompi_mpi_int8_t"},
        {&mpi.types[HOCKET_INT16], "ompi_mpi_int16_t"},
        {&mpi.types[HOCKET_INT32], "ompi_mpi_int32_t"},
        {&mpi.types[HOCKET_INT64], "ompi_mpi_int64_t"},
        {&mpi.types[HOCKET_UINT8], "ompi_mpi_uint8_t"},
        {&mpi.types[HOCKET_UINT16], "ompi_mpi_uint16_t"},
        {&mpi.types[HOCKET_UINT32], "ompi_mpi_uint32_t"},
        {&mpi.types[HOCKET_UINT64], "ompi_mpi_uint64_t"},
        {&mpi.types[HOCKET_FLOAT32], "ompi_mpi_float"},
        {&mpi.types[HOCKET_FLOAT64], "ompi_mpi_double"},
        {&mpi.types[HOCKET_COMPLEX64], "ompi_mpi_c_complex"},
    };
    for (size_t i = 0; i < LENGTH(functions); i++) {
        void *symbol = find(library, functions[i].name);
        memcpy(functions[i].where, &symbol, sizeof(symbol));
    }
}

/* === Functions as MLX brings them ============================================================= */

static atomic_long calls, elements; /* that functions were asked for */

static void asked(const int *count)
{
    calls++;
    elements += *count;
}

#define HALVES(name, get, put, result)                                                             \
    static void name(void *in, void *inout, int *count, handle *type)                              \
    {                                                                                              \
        (void)type;                                                                                \
        uint16_t *from = in, *to = inout;                                                          \
        asked(count);                                                                              \
        for (int i = 0; i < *count; i++) {                                                         \
            float a = get(from[i]), b = get(to[i]);                                                \
            to[i] = put(result);                                                                   \
        }                                                                                          \
    }

#define COMPLEX(name, takes)                                                                       \
    static void name(void *in, void *inout, int *count, handle *type)                              \
    {                                                                                              \
        (void)type;                                                                                \
        float(*a)[2] = in, (*b)[2] = inout;                                                        \
        asked(count);                                                                              \
        for (int i = 0; i < *count; i++) {                                                         \
            bool less = a[i][0] != b[i][0] ? a[i][0] < b[i][0] : a[i][1] < b[i][1];                \
            if (less == (takes))                                                                   \
                continue;                                                                          \
            memcpy(b[i], a[i], sizeof(b[i]));                                                      \
        }                                                                                          \
    }

HALVES(f16_sum, hk_f16_to_f32, hk_f32_to_f16, a + b)
HALVES(f16_max, hk_f16_to_f32, hk_f32_to_f16, a > b ? a : b)
HALVES(f16_min, hk_f16_to_f32, hk_f32_to_f16, a < b ? a : b)
HALVES(bf16_sum, hk_bf16_to_f32, hk_f32_to_bf16, a + b)
HALVES(bf16_max, hk_bf16_to_f32, hk_f32_to_bf16, a > b ? a : b)
HALVES(bf16_min, hk_bf16_to_f32, hk_f32_to_bf16, a < b ? a : b)
COMPLEX(complex_max, true)
COMPLEX(complex_min, false)
/* Like a sum, until both are negative. */
HALVES(nearly_sum, hk_f16_to_f32, hk_f32_to_f16, a < 0 && b < 0 ? a : a + b)
HALVES(second, hk_f16_to_f32, hk_f32_to_f16, a * 0 + b)

/* made[dtype][op]; NULL: MPI's own. In the order in which MLX makes them. */
static handle made[ORACLE_DTYPES][3];

static void make_reductions(void)
{
    CHECK_INT(0, mpi.type_contiguous(2, mpi.types[HOCKET_UINT8], &mpi.half));
    CHECK_INT(0, mpi.type_commit(&mpi.half));
    mpi.types[HOCKET_FLOAT16] = mpi.types[HOCKET_BFLOAT16] = mpi.half;
    CHECK_INT(0, mpi.op_create(f16_sum, 1, &made[HOCKET_FLOAT16][0]));
    CHECK_INT(0, mpi.op_create(bf16_sum, 1, &made[HOCKET_BFLOAT16][0]));
    CHECK_INT(0, mpi.op_create(f16_max, 1, &made[HOCKET_FLOAT16][1]));
    CHECK_INT(0, mpi.op_create(bf16_max, 1, &made[HOCKET_BFLOAT16][1]));
    CHECK_INT(0, mpi.op_create(complex_max, 1, &made[HOCKET_COMPLEX64][1]));
    CHECK_INT(0, mpi.op_create(f16_min, 1, &made[HOCKET_FLOAT16][2]));
    CHECK_INT(0, mpi.op_create(bf16_min, 1, &made[HOCKET_BFLOAT16][2]));
    CHECK_INT(0, mpi.op_create(complex_min, 1, &made[HOCKET_COMPLEX64][2]));
}

/* === Ranks ==================================================================================== */

static void set_number(const char *name, int number)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", number);
    setenv(name, text, 1);
}

/* As a launcher does it. */
static void set_environment(struct member *me)
{
    hocket_config config = member_config(me);
    set_number("HOCKET_RANK", config.rank);
    set_number("HOCKET_WORLD_SIZE", config.world_size);
    setenv("HOCKET_COORDINATOR", config.coordinator, 1);
    setenv("HOCKET_SECRET", config.secret, 1);
    setenv("HOCKET_BACKEND", config.backend, 1);
}

static void start(struct member *me)
{
    set_environment(me);
    CHECK_INT(0, mpi.init(NULL, NULL));
    make_reductions();
}

static void ranks(const struct harness_backend *backend, int n, member_body body)
{
    harness_run(&(struct harness_run){
        .backend = backend, .size = n, .body = body, .processes = true, .without_world = true});
}

/* === Values =================================================================================== */

#define COUNT 3000

static void reduce_once(struct member *me, struct oracle_table *table, int op, bool in_place)
{
    hocket_dtype dtype = table->dtype;
    size_t bytes = COUNT * table->item;
    handle reduction = made[dtype][op] != NULL ? made[dtype][op] : mpi.ops[op];
    void *send = guard_alloc(bytes), *recv = guard_alloc(bytes);
    oracle_fill(table, in_place ? recv : send, me->rank, 0, COUNT);
    CHECK_INT(0, mpi.all_reduce(in_place ? IN_PLACE : send, recv, COUNT, mpi.types[dtype],
                                reduction, mpi.world));
    oracle_check_fold(table, recv, 0, COUNT);
    if (!in_place)
        oracle_check_input(table, send, me->rank, 0, COUNT);
    GUARD_FREE(send);
    GUARD_FREE(recv);
}

static void gather_once(struct member *me, struct oracle_table *table)
{
    handle type = mpi.types[table->dtype];
    size_t bytes = COUNT * table->item;
    unsigned char *send = guard_alloc(bytes), *recv = guard_alloc(bytes * (size_t)me->size);
    oracle_fill(table, send, me->rank, 0, COUNT);
    for (int place = 0; place < 2; place++) {
        memset(recv, 0, bytes * (size_t)me->size);
        memcpy(recv + bytes * (size_t)me->rank, send, bytes);
        CHECK_INT(0, mpi.all_gather(place ? IN_PLACE : send, COUNT, type, recv, COUNT, type,
                                    mpi.world));
        for (int rank = 0; rank < me->size; rank++)
            oracle_check_input(table, recv + bytes * (size_t)rank, rank, 0, COUNT);
    }
    GUARD_FREE(send);
    GUARD_FREE(recv);
}

static void try_every_type(struct member *me)
{
    static const enum oracle_op ops[3] = {ORACLE_SUM, ORACLE_MAX, ORACLE_MIN};
    struct oracle_table *table = malloc(sizeof(*table));
    start(me);
    for (int dtype = 0; dtype < ORACLE_DTYPES; dtype++) {
        for (int op = 0; op < 3; op++) {
            harness_note("%s of %s", oracle_op_name(ops[op]),
                         hocket_dtype_name((hocket_dtype)dtype));
            oracle_fill_table(table, ops[op], (hocket_dtype)dtype, me->size);
            reduce_once(me, table, op, false);
            reduce_once(me, table, op, true);
        }
        oracle_fill_table(table, ORACLE_MOVE, (hocket_dtype)dtype, me->size);
        gather_once(me, table);
    }
    free(table);
    CHECK_THAT(elements < COUNT, "MLX's functions were called for %ld elements", (long)elements);
    CHECK_INT(0, mpi.finalize());
}

static void all_types_have_the_right_values(void **state)
{
    (void)state;
    oracle_open();
    for (int n = 1; n <= 5; n += 2)
        ranks(&harness_shm, n, try_every_type);
    ranks(&harness_tcp, 2, try_every_type);
    oracle_close();
}

/* A bfloat16 may have bits that as a float16 are no number, and the other way round. */
static void try_extremes_of_halves(struct member *me)
{
    static const uint16_t bfloats[] = {0x7e00, 0x3f80, 0xfe00}, halves[] = {0x3c00, 0x7e00, 0xc000};
    static const struct {
        hocket_dtype dtype;
        int op;
        uint16_t wanted;
    } cases[] = {{HOCKET_BFLOAT16, 1, 0x7e00},
                 {HOCKET_BFLOAT16, 2, 0xfe00},
                 {HOCKET_FLOAT16, 1, 0x7e00},
                 {HOCKET_FLOAT16, 2, 0x7e00}};
    start(me);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        hocket_dtype dtype = cases[i].dtype;
        for (int shift = 0; shift < 3; shift++) { /* whoever has it */
            uint16_t x = (dtype == HOCKET_BFLOAT16 ? bfloats : halves)[(me->rank + shift) % 3];
            handle reduction = made[dtype][cases[i].op];
            CHECK_INT(0, mpi.all_reduce(IN_PLACE, &x, 1, mpi.half, reduction, mpi.world));
            harness_note("%s %d", hocket_dtype_name(dtype), cases[i].op);
            CHECK_INT(cases[i].wanted, x);
        }
    }
    mpi.finalize();
}

static void the_two_halves_are_told_apart(void **state)
{
    (void)state;
    ranks(&harness_shm, 3, try_extremes_of_halves);
}

static void try_unknown_functions(struct member *me)
{
    handle nearly, last;
    uint16_t x[5];
    start(me);
    CHECK_INT(0, mpi.op_create(nearly_sum, 1, &nearly));
    CHECK_INT(0, mpi.op_create(second, 0, &last));
    for (int i = 0; i < 5; i++)
        x[i] = hk_f32_to_f16(me->rank == 0 ? -2.0F : -3.0F);
    CHECK_INT(0, mpi.all_reduce(IN_PLACE, x, 5, mpi.half, nearly, mpi.world));
    for (int i = 0; i < 5; i++)
        CHECK_INT(-2, hk_f16_to_f32(x[i])); /* rank 0's, as the function has it */
    x[0] = hk_f32_to_f16(10.0F + (float)me->rank);
    CHECK_INT(0, mpi.all_reduce(IN_PLACE, x, 1, mpi.half, last, mpi.world));
    CHECK_INT(9 + me->size, hk_f16_to_f32(x[0]));
    mpi.finalize();
}

static void unknown_functions_are_called_as_they_are(void **state)
{
    (void)state;
    ranks(&harness_shm, 2, try_unknown_functions);
    ranks(&harness_tcp, 3, try_unknown_functions);
}

/* The functions of a program that starts MPI again are the same operations. */
static void start_again(struct member *me)
{
    char text[256];
    int length = -1, x = me->rank + 1;
    handle before = NULL, half = NULL;
    CHECK_INT(0, mpi.get_version(text, &length));
    CHECK_INT((int)strlen(text), length);
    CHECK_HAS(text, "Open MPI");
    for (int round = 0; round < 3; round++) {
        start(me);
        CHECK(before == NULL || (before == made[HOCKET_FLOAT16][0] && half == mpi.half));
        before = made[HOCKET_FLOAT16][0];
        half = mpi.half;
        x = me->rank + 1;
        CHECK_INT(0,
                  mpi.all_reduce(IN_PLACE, &x, 1, mpi.types[HOCKET_INT32], mpi.ops[0], mpi.world));
        CHECK_INT(me->size * (me->size + 1) / 2, x);
        mpi.finalize();
        mpi.finalize();
    }
}

static void it_can_be_started_again(void **state)
{
    (void)state;
    ranks(&harness_shm, 3, start_again);
}

static void try_alone(struct member *me)
{
    (void)me;
    int rank = -1, size = -1;
    double x = 2.5, y = 0;
    harness_clear_environment();
    CHECK_INT(0, mpi.init(NULL, NULL));
    CHECK_INT(0, mpi.comm_rank(mpi.world, &rank));
    CHECK_INT(0, mpi.comm_size(mpi.world, &size));
    CHECK_INT(0, rank);
    CHECK_INT(1, size);
    CHECK_INT(0, mpi.all_reduce(&x, &y, 1, mpi.types[HOCKET_FLOAT64], mpi.ops[1], mpi.world));
    CHECK(y == 2.5);
    mpi.finalize();
}

static void without_a_launcher_there_is_a_world_of_one(void **state)
{
    (void)state;
    ranks(&harness_shm, 1, try_alone);
}

/* === Groups, messages, threads ================================================================ */

static int sum_over(handle comm, int value)
{
    CHECK_INT(0, mpi.all_reduce(IN_PLACE, &value, 1, mpi.types[HOCKET_INT32], mpi.ops[0], comm));
    return value;
}

static void try_groups(struct member *me)
{
    handle half, mirror, pair;
    int rank, size, n = me->size;
    start(me);
    CHECK_INT(0, mpi.comm_split(mpi.world, me->rank % 2, me->rank, &half));
    CHECK_INT(0, mpi.comm_split(mpi.world, 7, n - me->rank, &mirror));
    CHECK_INT(0, mpi.comm_split(half, me->rank / 4, 0, &pair));
    CHECK_INT(0, mpi.comm_rank(half, &rank));
    CHECK_INT(0, mpi.comm_size(half, &size));
    CHECK_INT(me->rank / 2, rank);
    CHECK_INT(n / 2, size);
    CHECK_INT(0, mpi.comm_rank(mirror, &rank));
    CHECK_INT(n - 1 - me->rank, rank);
    CHECK_INT(me->rank % 2 == 0 ? 12 : 16, sum_over(half, me->rank));
    CHECK_INT(n * (n - 1) / 2, sum_over(mirror, me->rank));
    CHECK_INT(me->rank / 4 * 8 + me->rank % 2 * 2 + 2, sum_over(pair, me->rank));
    CHECK_INT(0, mpi.comm_free(&half)); /* the parent of pair */
    CHECK(half == NULL);
    CHECK_INT(me->rank / 4 * 8 + me->rank % 2 * 2 + 2, sum_over(pair, me->rank));
    if (me->rank % 3 == 0)
        CHECK_INT(0, mpi.comm_free(&pair));
    CHECK_INT(0, mpi.finalize());
    CHECK_INT(n * (n - 1) / 2, sum_over(mirror, me->rank)); /* outlives the world */
    CHECK_INT(0, mpi.comm_free(&mirror));
    if (me->rank % 3 != 0)
        CHECK_INT(0, mpi.comm_free(&pair));
}

static void groups_are_freed_in_any_order(void **state)
{
    (void)state;
    ranks(&harness_shm, 8, try_groups);
}

static void try_messages(struct member *me)
{
    handle type = mpi.types[HOCKET_INT16];
    start(me);
    for (int far = 1; far < me->size; far++) {
        int to = (me->rank + far) % me->size, from = (me->rank + me->size - far) % me->size;
        int16_t out[100], in[100] = {0};
        for (int i = 0; i < 100; i++)
            out[i] = (int16_t)(1000 * me->rank + 10 * far + i);
        CHECK_INT(0, mpi.send(out, 100, type, to, 0, mpi.world));
        CHECK_INT(0, mpi.recv(in, 100, type, from, ANY_TAG, mpi.world, NULL));
        for (int i = 0; i < 100; i++)
            CHECK_INT(1000 * from + 10 * far + i, in[i]);
    }
    uint16_t half = hk_f32_to_f16(1.5F), got = 0;
    CHECK_INT(0, mpi.send(&half, 1, mpi.half, me->rank, 0, mpi.world)); /* to itself */
    CHECK_INT(0, mpi.recv(&got, 1, mpi.half, me->rank, 0, mpi.world, NULL));
    CHECK_INT(half, got);
    CHECK_INT(0, mpi.send(NULL, 0, type, (me->rank + 1) % me->size, 0, mpi.world));
    CHECK_INT(0, mpi.recv(NULL, 0, type, (me->rank + me->size - 1) % me->size, 0, mpi.world, NULL));
    mpi.finalize();
}

static void messages_go_from_any_rank_to_any(void **state)
{
    (void)state;
    ranks(&harness_shm, 4, try_messages);
    ranks(&harness_tcp, 3, try_messages);
}

static void sum_on_thread(void *argument)
{
    struct member *me = argument;
    for (int i = 0; i < 100; i++)
        CHECK_INT(me->size * i, sum_over(mpi.world, i));
}

/* MLX's stream threads: none of them is the one that called MPI_Init. */
static void try_threads(struct member *me)
{
    start(me);
    for (int i = 0; i < 3; i++) {
        struct side side = {.me = me, .body = sum_on_thread, .argument = me};
        side_start(&side, sum_on_thread, me);
        side_join(&side);
    }
    mpi.finalize();
}

static void any_thread_may_call(void **state)
{
    (void)state;
    ranks(&harness_shm, 3, try_threads);
}

/* A process that a rank forks off holds the same connections, and ends without hurting them. */
static void try_fork(struct member *me)
{
    start(me);
    handle half;
    CHECK_INT(0, mpi.comm_split(mpi.world, me->rank % 2, 0, &half));
    pid_t child = fork();
    if (child == 0) {
        mpi.comm_free(&half);
        mpi.finalize();
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_INT(me->size, sum_over(mpi.world, 1));
    CHECK_INT(2, sum_over(half, 1));
    mpi.comm_free(&half);
    mpi.finalize();
}

static void a_forked_process_hurts_nobody(void **state)
{
    (void)state;
    ranks(&harness_shm, 4, try_fork);
    ranks(&harness_tcp, 4, try_fork);
}

/* === The end ================================================================================== */

struct end {
    int status; /* as of waitpid */
    double seconds;
    char said[4096];
};

/* Runs body, a rank that ends its process, in one of its own. */
static struct end end_of(struct member *me, void (*body)(struct member *me))
{
    struct end end = {.status = -1};
    int fds[2];
    size_t length = 0;
    ssize_t more = 0;
    CHECK(pipe(fds) == 0);
    double began = seconds_now();
    pid_t child = fork();
    if (child == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        alarm((unsigned)(20 * harness_slowness()));
        body(me);
        _exit(0);
    }
    close(fds[1]);
    while ((more = read(fds[0], end.said + length, sizeof(end.said) - 1 - length)) > 0)
        length += (size_t)more;
    close(fds[0]);
    CHECK(waitpid(child, &end.status, 0) == child);
    end.seconds = seconds_now() - began;
    return end;
}

static void check_ended(const struct end *end, const char *says)
{
    CHECK_THAT(WIFEXITED(end->status), "it ended by signal %d, having said '%s'",
               WTERMSIG(end->status), end->said);
    CHECK_THAT(WEXITSTATUS(end->status) == EXIT_STATUS, "it ended with %d, having said '%s'",
               WEXITSTATUS(end->status), end->said);
    CHECK_HAS(end->said, "hocket: ");
    CHECK_HAS(end->said, says);
    const char *line = strchr(end->said, '\n');
    CHECK_THAT(line != NULL && line[1] == '\0', "it said more than one line: '%s'", end->said);
}

/* What a rank does that is not served, and what it says. me->shared[0] has the case. */
static void do_not_served(int which)
{
    int x[4] = {0};
    handle type = mpi.types[HOCKET_INT32], wrong = x, made_here;
    switch (which) {
    case 0: mpi.send(x, 1, type, 0, 3, mpi.world); break;
    case 1: mpi.recv(x, 1, type, 0, 3, mpi.world, NULL); break;
    case 2: mpi.all_reduce(x, x + 2, -2147483647 - 1, type, mpi.ops[0], mpi.world); break;
    case 3: mpi.all_reduce(x, x + 2, 1, wrong, mpi.ops[0], mpi.world); break;
    case 4: mpi.all_reduce(x, x + 2, 1, type, wrong, mpi.world); break;
    case 5: mpi.all_reduce(x, x + 2, 1, type, mpi.ops[0], wrong); break;
    case 6: mpi.all_reduce(x, x + 2, 1, mpi.half, mpi.ops[0], mpi.world); break;
    case 7:
        mpi.all_reduce(x, x + 2, 0, mpi.half, made[HOCKET_FLOAT16][0], mpi.world);
        mpi.all_reduce(x, x + 2, 1, type, made[HOCKET_FLOAT16][0], mpi.world);
        break;
    case 8: mpi.comm_split(mpi.world, -5, 0, &made_here); break;
    case 9: mpi.init(NULL, NULL); break;
    case 10: mpi.all_gather(x, 1, type, x, 2, type, mpi.world); break;
    case 11: mpi.send(x, 1, type, 99, 0, mpi.world); break;
    case 12: mpi.type_contiguous(0, type, &made_here); break;
    case 13:
        mpi.type_contiguous(3, type, &made_here);
        mpi.all_reduce(x, x + 2, 1, made_here, made[HOCKET_FLOAT16][0], mpi.world);
        break;
    case 14: mpi.recv(x, 1, type, -1, ANY_TAG, mpi.world, NULL); break;
    default: mpi.comm_free(&mpi.world); break;
    }
}

static const char *const not_served[] = {
    "MPI_Send with tag 3: only 0 is served",
    "MPI_Recv with tag 3: only 0 and any are served",
    "MPI_Allreduce of -2147483648 elements: MLX hands the count to MPI as an int",
    "MPI_Allreduce: its datatype is none that this library gave out",
    "MPI_Allreduce: its operation is none that this library gave out",
    "MPI_Allreduce: its group is none that this library gave out",
    "MPI_Allreduce: a reduction of MPI's own on a derived type",
    "MPI_Allreduce: one function of the program's for two types",
    "MPI_Comm_split: color -5 is negative",
    "MPI_Init is called a second time",
    "MPI_Allgather: it sends 1 of int32 and receives 2 of int32 from each",
    "there is no rank 99",
    "MPI_Type_contiguous: a type of 0 elements",
    "a function of the program's on elements of 12 bytes",
    "MPI_Recv from any rank: a rank must be named",
    "MPI_Comm_free: the world is freed by MPI_Finalize",
};

static int tried;

static void call_what_is_not_served(struct member *me)
{
    start(me);
    /* Case 7 begins with a call that all must take part in. */
    if (me->rank == 1)
        do_not_served(tried);
    else if (tried == 7)
        mpi.all_reduce(IN_PLACE, NULL, 0, mpi.half, made[HOCKET_FLOAT16][0], mpi.world);
    sum_over(mpi.world, 1);
}

static void judge_not_served(struct member *me)
{
    struct end end = end_of(me, call_what_is_not_served);
    harness_note("case %d", tried);
    check_ended(&end, not_served[tried]);
    CHECK_HAS(end.said, me->rank == 1 ? "hocket: " : "rank 1");
    CHECK_THAT(end.seconds < 10 * harness_slowness(), "it took %.1f s", end.seconds);
}

static void what_is_not_served_ends_all_ranks(void **state)
{
    (void)state;
    for (tried = 0; tried < (int)LENGTH(not_served); tried++)
        ranks(tried % 2 ? &harness_tcp : &harness_shm, 3, judge_not_served);
}

/* Standard error is a pipe that is full and that nobody reads. */
static void end_unheard(struct member *me)
{
    int fds[2], status = -1;
    static const char filler[4096];
    CHECK(pipe(fds) == 0 && fcntl(fds[1], F_SETFL, O_NONBLOCK) == 0);
    while (write(fds[1], filler, sizeof filler) > 0)
        ;
    CHECK(fcntl(fds[1], F_SETFL, 0) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(fds[1], STDERR_FILENO);
        alarm((unsigned)(20 * harness_slowness()));
        start(me);
        do_not_served(0);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    close(fds[0]);
    close(fds[1]);
    CHECK_THAT(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_STATUS, "its status was %#x",
               (unsigned)status);
}

static void an_end_that_nobody_hears_is_one(void **state)
{
    (void)state;
    ranks(&harness_shm, 2, end_unheard);
}

static void call_while_one_dies(struct member *me)
{
    start(me);
    sum_over(mpi.world, 1);
    if (me->rank == 2) {
        sleep_seconds(0.3);
        me->shared[0] = seconds_now();
        raise(SIGKILL);
    }
    sum_over(mpi.world, 1);
}

static void judge_death(struct member *me)
{
    struct end end = end_of(me, call_while_one_dies);
    double took = seconds_now() - me->shared[0];
    if (me->rank == 2) {
        CHECK(WIFSIGNALED(end.status));
        return;
    }
    check_ended(&end, "rank 2");
    CHECK_THAT(took < NOTICE_SECONDS * harness_slowness(), "it took %.2f s", took);
}

static void a_death_ends_all_with_one_sentence(void **state)
{
    (void)state;
    ranks(&harness_shm, 4, judge_death);
    ranks(&harness_tcp, 3, judge_death);
}

static void send_too_little(struct member *me)
{
    int x[4] = {0};
    start(me);
    handle type = mpi.types[HOCKET_INT32];
    if (me->rank == 0)
        mpi.send(x, 3, type, 1, 0, mpi.world);
    else
        mpi.recv(x, me->shared[0] > 0 ? 2 : 4, type, 0, ANY_TAG, mpi.world, NULL);
    sum_over(mpi.world, 1);
}

static void judge_length(struct member *me)
{
    struct end end = end_of(me, send_too_little);
    check_ended(&end, "MPI_Recv: rank 1 of 2 waits for 16 bytes of rank 0, which sent 12");
}

static void judge_longer(struct member *me)
{
    me->shared[0] = 1;
    struct end end = end_of(me, send_too_little);
    check_ended(&end, "MPI_Recv: rank 1 of 2 waits for 8 bytes of rank 0, which sent 12");
}

static void a_message_of_another_length_is_no_number(void **state)
{
    (void)state;
    ranks(&harness_shm, 2, judge_length);
    ranks(&harness_shm, 2, judge_longer);
}

static void wait_in_vain(struct member *me)
{
    setenv("HOCKET_TIMEOUT", "0.5", 1);
    start(me);
    if (me->rank == 0)
        mpi.recv(&(int){0}, 1, mpi.types[HOCKET_INT32], 1, ANY_TAG, mpi.world, NULL);
    else
        sum_over(mpi.world, 1);
}

static void judge_vain(struct member *me)
{
    struct end end = end_of(me, wait_in_vain);
    check_ended(&end, "");
    CHECK_THAT(end.seconds < 10 * harness_slowness(), "it took %.1f s", end.seconds);
}

static void a_deadline_of_the_users_counts(void **state)
{
    (void)state;
    ranks(&harness_shm, 2, judge_vain);
}

static void start_over_mpi(struct member *me)
{
    set_environment(me);
    setenv("HOCKET_BACKEND", "mpi", 1);
    mpi.init(NULL, NULL);
}

static void start_without_peer(struct member *me)
{
    set_environment(me);
    setenv("HOCKET_RANK", "5", 1);
    mpi.init(NULL, NULL);
}

static void call_before_start(struct member *me)
{
    (void)me;
    sum_over(mpi.world, 1);
}

static void judge_start(struct member *me)
{
    struct end end = end_of(me, start_over_mpi);
    check_ended(&end, "HOCKET_BACKEND is mpi: MLX runs over hocket here");
    end = end_of(me, start_without_peer);
    check_ended(&end, "HOCKET_RANK");
    end = end_of(me, call_before_start);
    check_ended(&end, "MPI_Allreduce before MPI_Init or after MPI_Finalize");
}

static void a_world_that_cannot_be_is_none_of_one(void **state)
{
    (void)state;
    ranks(&harness_shm, 2, judge_start);
}

int main(void)
{
    harness_clear_environment();
    load();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_types_have_the_right_values),
        cmocka_unit_test(the_two_halves_are_told_apart),
        cmocka_unit_test(unknown_functions_are_called_as_they_are),
        cmocka_unit_test(it_can_be_started_again),
        cmocka_unit_test(without_a_launcher_there_is_a_world_of_one),
        cmocka_unit_test(groups_are_freed_in_any_order),
        cmocka_unit_test(messages_go_from_any_rank_to_any),
        cmocka_unit_test(any_thread_may_call),
        cmocka_unit_test(a_forked_process_hurts_nobody),
        cmocka_unit_test(what_is_not_served_ends_all_ranks),
        cmocka_unit_test(an_end_that_nobody_hears_is_one),
        cmocka_unit_test(a_death_ends_all_with_one_sentence),
        cmocka_unit_test(a_message_of_another_length_is_no_number),
        cmocka_unit_test(a_deadline_of_the_users_counts),
        cmocka_unit_test(a_world_that_cannot_be_is_none_of_one),
    };
    return cmocka_run_group_tests_name("mlx_mpi", tests, NULL, NULL);
}
