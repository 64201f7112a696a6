/* Collectives in graphs: alone, and on ranks that are threads. */
#include <hocket/graph.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS_MAX = 5 };

/* --- A group of one, without a launcher --- */

#define OK(call)                                                                \
    do {                                                                        \
        if ((call) != HOCKET_OK)                                                \
            fail_msg("line %d: %s", __LINE__, hocket_last_error());             \
    } while (0)

static int no_environment(void **state)
{
    extern char **environ;
    (void)state;
    for (char **entry = environ; entry && *entry;) {
        char name[64];
        size_t length = strcspn(*entry, "=");
        bool ours = strncmp(*entry, "HOCKET_", 7) == 0 && length < sizeof name;
        if (!ours) {
            entry++;
            continue;
        }
        memcpy(name, *entry, length);
        name[length] = '\0';
        unsetenv(name);
    }
    return 0;
}

static void a_group_of_one_without_attributes_is_the_identity(void **state)
{
    (void)state;
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        hocket_graph *graph;
        hocket_executable *executable;
        hocket_node x, y;
        const float values[4] = {1, -2, 3, 4};
        float result[4];
        OK(hocket_graph_create(&graph));
        OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 2, (int64_t[]){2, 2}, &x));
        OK(hocket_graph_op(graph, "collective.all_reduce", &x, 1, NULL, 0, &y));
        OK(hocket_graph_all_gather(graph, y, 1, &y));
        OK(hocket_graph_reduce_scatter(graph, y, 0, &y));
        OK(hocket_graph_broadcast(graph, y, 0, &y));
        OK(hocket_graph_permute(graph, y, (int64_t[]){0}, 1, &y));
        OK(hocket_graph_send(graph, y, 0, 5, &y));
        OK(hocket_graph_output(graph, "sent", y));
        OK(hocket_graph_recv(graph, 0, 5, HOCKET_FLOAT32, 2, (int64_t[]){2, 2}, &y));
        OK(hocket_graph_output(graph, "y", y));
        OK(hocket_executable_compile(graph, "cpu", mode, &executable));
        OK(hocket_executable_set(executable, "x", values, sizeof values));
        OK(hocket_executable_run(executable));
        OK(hocket_executable_read(executable, "y", result, sizeof result));
        assert_memory_equal(result, values, sizeof values);
        hocket_executable_free(executable);
        hocket_graph_free(graph);
    }
    OK(hocket_graph_unbind_group(0)); /* the world that first use made */
}

/* --- Ranks as threads; each binds its group to an id of its own --- */

typedef struct rank_thread {
    int rank, world;
    const char *name;
    void (*body)(struct rank_thread *);
    hocket_group *group;
    hocket_attr group_attr;
    char failure[256]; /* "" is success: cmocka may only fail on its own thread */
} rank_thread;

#define RANK_OK(r, call)                                                        \
    do {                                                                        \
        if ((call) != HOCKET_OK) {                                              \
            snprintf((r)->failure, sizeof(r)->failure, "rank %d, line %d: %s",  \
                     (r)->rank, __LINE__, hocket_last_error());                 \
            return;                                                             \
        }                                                                       \
    } while (0)

#define RANK_TRUE(r, condition)                                                 \
    do {                                                                        \
        if (!(condition)) {                                                     \
            snprintf((r)->failure, sizeof(r)->failure, "rank %d, line %d: %s",  \
                     (r)->rank, __LINE__, #condition);                          \
            return;                                                             \
        }                                                                       \
    } while (0)

static void *run_rank(void *argument)
{
    rank_thread *r = argument;
    hocket_config config = {.size = sizeof config, .backend = "local", .rank = r->rank,
                            .world_size = r->world, .coordinator = r->name, .timeout_s = 20,
                            .init_timeout_s = 20};
    if (hocket_init(&config, &r->group) != HOCKET_OK ||
        hocket_graph_bind_group(100 + r->rank, r->group) != HOCKET_OK) {
        snprintf(r->failure, sizeof r->failure, "rank %d: %s", r->rank, hocket_last_error());
        hocket_free(r->group);
        return NULL;
    }
    r->group_attr = hocket_attr_int("group", 100 + r->rank);
    r->body(r);
    hocket_graph_unbind_group(100 + r->rank);
    hocket_free(r->group);
    return NULL;
}

static void on_ranks(int world, const char *name, void (*body)(rank_thread *))
{
    pthread_t threads[RANKS_MAX];
    rank_thread ranks[RANKS_MAX];
    for (int i = 0; i < world; i++) {
        ranks[i] = (rank_thread){.rank = i, .world = world, .name = name, .body = body};
        assert_int_equal(pthread_create(&threads[i], NULL, run_rank, &ranks[i]), 0);
    }
    for (int i = 0; i < world; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < world; i++)
        if (ranks[i].failure[0])
            fail_msg("%d ranks: %s", world, ranks[i].failure);
}

/* x of rank r, element i, is 100 r + i. Every collective along axis 1 of [2, world]. */
static void build_every_collective(rank_thread *r, hocket_graph *graph)
{
    const int64_t world = r->world, dims[2] = {2, world};
    int64_t to[RANKS_MAX];
    for (int i = 0; i < r->world; i++)
        to[i] = (i + 1) % r->world;
    const hocket_attr along[] = {r->group_attr, hocket_attr_int("axis", 1)};
    const hocket_attr root[] = {r->group_attr, hocket_attr_int("root", world - 1)};
    const hocket_attr round[] = {r->group_attr, hocket_attr_ints("to", to, (size_t)world)};
    const hocket_attr largest[] = {r->group_attr, hocket_attr_string("reduce", "max")};
    const hocket_attr send[] = {r->group_attr, hocket_attr_int("peer", to[r->rank])};
    const int64_t before = (r->rank + world - 1) % world;
    const hocket_attr recv[] = {r->group_attr, hocket_attr_int("peer", before),
                                hocket_attr_int("dtype", HOCKET_FLOAT32),
                                hocket_attr_ints("dims", dims, 2)};
    const struct {
        const char *op, *output;
        const hocket_attr *attributes;
        size_t count;
        int inputs;
    } ops[] = {
        {"collective.all_reduce", "sum", &r->group_attr, 1, 1},
        {"collective.all_reduce", "max", largest, 2, 1},
        {"collective.all_gather", "gathered", along, 2, 1},
        {"collective.reduce_scatter", "scattered", along, 2, 1},
        {"collective.broadcast", "broadcast", root, 2, 1},
        {"collective.permute", "permuted", round, 2, 1},
        {"collective.send", "sent", send, 2, 1},
        {"collective.recv", "received", recv, 4, 0},
    };
    hocket_node in, out;
    RANK_OK(r, hocket_graph_input(graph, "x", HOCKET_FLOAT32, 2, dims, &in));
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        RANK_OK(r, hocket_graph_op(graph, ops[i].op, &in, ops[i].inputs, ops[i].attributes,
                                   ops[i].count, &out));
        RANK_OK(r, hocket_graph_output(graph, ops[i].output, out));
    }
}

static void check_every_collective(rank_thread *r, hocket_executable *e)
{
    const int world = r->world, before = (r->rank + world - 1) % world;
    const size_t own = 2 * (size_t)world * sizeof(float);
    const float ranks = (float)(world * (world - 1) / 2 * 100);
    float y[2 * RANKS_MAX * RANKS_MAX];
    RANK_OK(r, hocket_executable_read(e, "received", y, own));
    RANK_TRUE(r, y[1] == (float)(100 * before + 1));
    RANK_OK(r, hocket_executable_read(e, "sum", y, own));
    RANK_TRUE(r, y[1] == ranks + (float)world);
    RANK_OK(r, hocket_executable_read(e, "max", y, own));
    RANK_TRUE(r, y[1] == (float)(100 * (world - 1) + 1));
    RANK_OK(r, hocket_executable_read(e, "gathered", y, own * (size_t)world));
    for (int i = 0; i < 2 * world * world; i++) {
        int row = i / (world * world), column = i % (world * world);
        RANK_TRUE(r, y[i] == (float)(100 * (column / world) + row * world + column % world));
    }
    RANK_OK(r, hocket_executable_read(e, "scattered", y, 2 * sizeof(float)));
    RANK_TRUE(r, y[0] == ranks + (float)(world * r->rank));
    RANK_TRUE(r, y[1] == ranks + (float)(world * (r->rank + world)));
    RANK_OK(r, hocket_executable_read(e, "broadcast", y, own));
    RANK_TRUE(r, y[1] == (float)(100 * (world - 1) + 1));
    RANK_OK(r, hocket_executable_read(e, "permuted", y, own));
    RANK_TRUE(r, y[1] == (float)(100 * before + 1));
}

static void every_collective_body(rank_thread *r)
{
    float x[2 * RANKS_MAX];
    for (int i = 0; i < 2 * r->world; i++)
        x[i] = (float)(100 * r->rank + i);
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        hocket_graph *graph;
        hocket_executable *e;
        RANK_OK(r, hocket_graph_create(&graph));
        build_every_collective(r, graph);
        RANK_OK(r, hocket_executable_compile(graph, "cpu", mode, &e));
        hocket_graph_free(graph);
        RANK_OK(r, hocket_executable_set(e, "x", x, 2 * (size_t)r->world * sizeof *x));
        RANK_OK(r, hocket_executable_run(e));
        check_every_collective(r, e);
        hocket_executable_free(e);
    }
}

static void every_collective_on_ranks_as_threads(void **state)
{
    (void)state;
    for (int world = 1; world <= RANKS_MAX; world++) {
        char name[32];
        snprintf(name, sizeof name, "graph-every-%d", world);
        on_ranks(world, name, every_collective_body);
    }
}

/* Two sums of the same shape; even ranks read the first first, odd ranks the second. */
static void order_body(rank_thread *r)
{
    hocket_graph *graph;
    hocket_executable *e;
    hocket_node a, b;
    float one = 1, ten = 10, y;
    RANK_OK(r, hocket_graph_create(&graph));
    RANK_OK(r, hocket_graph_input(graph, "a", HOCKET_FLOAT32, 0, NULL, &a));
    RANK_OK(r, hocket_graph_input(graph, "b", HOCKET_FLOAT32, 0, NULL, &b));
    RANK_OK(r, hocket_graph_op(graph, "collective.all_reduce", &a, 1, &r->group_attr, 1, &a));
    RANK_OK(r, hocket_graph_op(graph, "collective.all_reduce", &b, 1, &r->group_attr, 1, &b));
    RANK_OK(r, hocket_graph_output(graph, "a", a));
    RANK_OK(r, hocket_graph_output(graph, "b", b));
    RANK_OK(r, hocket_executable_compile(graph, "cpu", HOCKET_LAZY, &e));
    hocket_graph_free(graph);
    for (int run = 0; run < 3; run++) {
        RANK_OK(r, hocket_executable_set(e, "a", &one, sizeof one));
        RANK_OK(r, hocket_executable_set(e, "b", &ten, sizeof ten));
        RANK_OK(r, hocket_executable_run(e));
        for (int i = 0; i < 2; i++) {
            bool first = (i + r->rank) % 2 == 0;
            RANK_OK(r, hocket_executable_read(e, first ? "a" : "b", &y, sizeof y));
            RANK_TRUE(r, y == (first ? 1.0f : 10.0f) * (float)r->world);
        }
    }
    hocket_executable_free(e);
}

static void collectives_are_not_swapped_when_ranks_read_in_different_order(void **state)
{
    (void)state;
    on_ranks(2, "graph-order-2", order_body);
    on_ranks(3, "graph-order-3", order_body);
}

/* --- Refusals --- */

#define INVALID(words, call)                                                    \
    do {                                                                        \
        hocket_status status_ = (call);                                         \
        if (status_ != HOCKET_ERR_INVALID || !strstr(hocket_last_error(), words)) \
            fail_msg("line %d: %s: '%s' lacks '%s'", __LINE__,                  \
                     hocket_status_name(status_), hocket_last_error(), words);  \
    } while (0)

static void refusals_name_the_collective(void **state)
{
    (void)state;
    hocket_graph *graph;
    hocket_group *group;
    hocket_node x, n, y;
    hocket_attr attribute = hocket_attr_int("group", 7);
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, (int64_t[]){3}, &x));
    OK(hocket_graph_input(graph, "n", HOCKET_INT32, 1, (int64_t[]){3}, &n));
    INVALID("collective.all_reduce (node 2): no group is bound to id 7",
            hocket_graph_op(graph, "collective.all_reduce", &x, 1, &attribute, 1, &y));
    attribute = hocket_attr_string("reduce", "median");
    INVALID("collective.all_reduce (node 2): reduce is 'median'",
            hocket_graph_op(graph, "collective.all_reduce", &x, 1, &attribute, 1, &y));
    attribute = hocket_attr_string("reduce", "mean");
    INVALID("collective.all_reduce (node 2): x is int32[3], a mean takes floats",
            hocket_graph_op(graph, "collective.all_reduce", &n, 1, &attribute, 1, &y));
    INVALID("collective.all_gather (node 2): axis 1 is not one of float32[3]",
            hocket_graph_all_gather(graph, x, 1, &y));
    INVALID("collective.broadcast (node 2): root is 1, the group has 1 rank",
            hocket_graph_broadcast(graph, x, 1, &y));
    INVALID("collective.permute (node 2): to has 2 entries, the group 1 rank",
            hocket_graph_permute(graph, x, (int64_t[]){0, 0}, 2, &y));
    INVALID("collective.permute (node 2): to[0] is 4: there is no such rank",
            hocket_graph_permute(graph, x, (int64_t[]){4}, 1, &y));
    INVALID("collective.send (node 2): peer is 3", hocket_graph_send(graph, x, 3, 0, &y));
    INVALID("collective.recv (node 2): a tensor's type: dimension 0 is -1",
            hocket_graph_recv(graph, 0, 0, HOCKET_INT8, 1, (int64_t[]){-1}, &y));
    INVALID("hocket_graph_bind_group: id -1 is negative",
            hocket_graph_bind_group(-1, (hocket_group *)graph));
    OK(hocket_graph_group(0, &group));
    INVALID("id 0 is bound already", hocket_graph_bind_group(0, group));
    INVALID("id 8 is not bound", hocket_graph_unbind_group(8));
    OK(hocket_graph_unbind_group(0));
    hocket_graph_free(graph);
}

/* Built for one rank, run with two: the graph must say so rather than write beyond its buffers. */
static void rebind_body(rank_thread *r)
{
    hocket_group *alone;
    hocket_graph *graph;
    hocket_executable *e;
    hocket_node x, y;
    float value = 1;
    RANK_OK(r, hocket_split(r->group, r->rank, 0, &alone));
    hocket_attr id = hocket_attr_int("group", 200 + r->rank);
    RANK_OK(r, hocket_graph_bind_group(200 + r->rank, alone));
    RANK_OK(r, hocket_graph_create(&graph));
    RANK_OK(r, hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, (int64_t[]){1}, &x));
    RANK_OK(r, hocket_graph_op(graph, "collective.all_gather", &x, 1, &id, 1, &y));
    RANK_OK(r, hocket_graph_output(graph, "y", y));
    RANK_OK(r, hocket_executable_compile(graph, "cpu", HOCKET_EAGER, &e));
    RANK_OK(r, hocket_graph_unbind_group(200 + r->rank));
    RANK_OK(r, hocket_graph_bind_group(200 + r->rank, r->group));
    RANK_OK(r, hocket_executable_set(e, "x", &value, sizeof value));
    RANK_TRUE(r, hocket_executable_run(e) == HOCKET_ERR_INVALID);
    RANK_TRUE(r, strstr(hocket_last_error(), "was float32[1] and would be float32[2]") != NULL);
    hocket_executable_free(e);
    hocket_graph_free(graph);
    RANK_OK(r, hocket_graph_unbind_group(200 + r->rank));
    hocket_free(alone);
}

static void a_group_of_another_size_is_refused(void **state)
{
    (void)state;
    on_ranks(2, "graph-rebind", rebind_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_of_one_without_attributes_is_the_identity),
        cmocka_unit_test(every_collective_on_ranks_as_threads),
        cmocka_unit_test(collectives_are_not_swapped_when_ranks_read_in_different_order),
        cmocka_unit_test(refusals_name_the_collective),
        cmocka_unit_test(a_group_of_another_size_is_refused),
    };
    return cmocka_run_group_tests(tests, no_environment, NULL);
}
