/* One decoder layer's gated MLP of a real language model, its weights spread over the ranks:
 *
 *     y = down(silu(gate(x)) * up(x))        x = rms_norm(tokens)
 *
 * The layer is `inside` columns wide between gate and down. Each rank keeps its share of these
 * columns: rows of the stored gate and up weights, columns of the stored down weight. Its y is then
 * one term of a sum, and one all_reduce at the end gives every rank the whole y.
 *
 *     hocket run -n 4 -- mlp --model smollm2.gguf
 *
 * Rank 0 also runs the whole layer alone; every rank compares what it got with that. */
#include <hocket/mlx.h>

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WARM_UPS = 3,
    RUNS_MAX = 10000,
    FIRST_TOKEN = 1000, /* words begin after the special tokens */
    NAME_BYTES = 64
};
#define EPSILON 1e-5 /* where the file does not say */
#define MODEL ".deps/models/smollm2.gguf"

typedef struct options {
    const char *model;
    int layer, rows, runs;
    hocket_mode mode;
    bool json;
} options;

/* The layer, or one rank's share of it, ready to run. */
typedef struct layer {
    hocket_tensor *tokens;
    hocket_executable *executable;
    size_t bytes; /* of its weights */
} layer;

typedef struct report {
    double load_ms, group_ms, alone_ms, difference;
} report;

/* Leaves the function with false when a call fails; hocket_last_error() has the reason. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) != HOCKET_OK)                                                                   \
            return false;                                                                          \
    } while (0)

static const char *const mode_names[] = {"eager", "lazy", "compiled"};

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

enum { NORM, GATE, UP, DOWN, WEIGHTS };
static const char *const parts[WEIGHTS] = {"ffn_norm", "ffn_gate", "ffn_up", "ffn_down"};

static char *weight_name(char *name, int number, const char *part)
{
    snprintf(name, NAME_BYTES, "blk.%d.%s.weight", number, part);
    return name;
}

/* The share's columns of the layer as a graph; sum: the shares are then added up. */
static bool build(const hocket_gguf *file, const options *chosen, const hocket_gguf_part *share,
                  bool sum, hocket_graph *graph, hocket_tensor *weights[WEIGHTS], layer *made)
{
    const hocket_gguf_part rows = {.axis = 0, .start = share->start, .stop = share->stop};
    const hocket_gguf_part columns = {.axis = 1, .start = share->start, .stop = share->stop};
    const hocket_gguf_part words = {.axis = 0,
                                    .start = FIRST_TOKEN,
                                    .stop = FIRST_TOKEN + chosen->rows};
    const hocket_gguf_part *shares[WEIGHTS] = {NULL, &rows, &rows, &columns};

    TRY(hocket_gguf_tensor(file, "token_embd.weight", HOCKET_GGUF_FLOAT32, &words, &made->tokens));
    hocket_node node[WEIGHTS], x, gate, up, y;
    const hocket_type *type;
    for (int i = 0; i < WEIGHTS; i++) {
        char name[NAME_BYTES];
        TRY(hocket_gguf_tensor(file, weight_name(name, chosen->layer, parts[i]),
                               HOCKET_GGUF_FLOAT32, shares[i], &weights[i]));
        type = hocket_tensor_type(weights[i]);
        TRY(hocket_graph_param(graph, parts[i], type->dtype, type->rank, type->dims, &node[i]));
        made->bytes += hocket_type_bytes(type);
    }
    double epsilon = EPSILON;
    const char *key = "llama.attention.layer_norm_rms_epsilon";
    if (hocket_gguf_value_count(file, key) == 1)
        TRY(hocket_gguf_number(file, key, 0, &epsilon));

    type = hocket_tensor_type(made->tokens);
    hocket_graph_input(graph, "tokens", type->dtype, type->rank, type->dims, &x);
    hocket_graph_rms_norm(graph, x, node[NORM], epsilon, &x);
    hocket_graph_linear(graph, x, node[GATE], &gate);
    hocket_graph_linear(graph, x, node[UP], &up);
    hocket_graph_silu(graph, gate, &gate);
    hocket_graph_multiply(graph, gate, up, &y);
    hocket_graph_linear(graph, y, node[DOWN], &y);
    if (sum)
        hocket_graph_all_reduce(graph, y, &y);
    TRY(hocket_graph_output(graph, "y", y));

    TRY(hocket_executable_compile(graph, "mlx", chosen->mode, &made->executable));
    for (int i = 0; i < WEIGHTS; i++)
        TRY(hocket_executable_bind(made->executable, parts[i], weights[i]));
    return true;
}

/* Opens the model, takes this rank's share of the layer out of it, and lets go of the rest. */
static bool load(const options *chosen, int rank, int world_size, bool sum, layer *made)
{
    *made = (layer){0};
    hocket_gguf *file = NULL;
    hocket_graph *graph = NULL;
    hocket_tensor *weights[WEIGHTS] = {NULL};
    hocket_type gate = {0};
    char name[NAME_BYTES];
    bool ok = hocket_gguf_open(chosen->model, &file) == HOCKET_OK &&
              hocket_gguf_type(file, weight_name(name, chosen->layer, parts[GATE]),
                               HOCKET_GGUF_FLOAT32, &gate) == HOCKET_OK &&
              hocket_graph_create(&graph) == HOCKET_OK;
    if (ok) {
        const hocket_gguf_part share = {.start = gate.dims[0] * rank / world_size,
                                        .stop = gate.dims[0] * (rank + 1) / world_size};
        ok = build(file, chosen, &share, sum, graph, weights, made);
    }
    /* The executable holds its own references to what it needs. */
    for (int i = 0; i < WEIGHTS; i++)
        hocket_tensor_free(weights[i]);
    hocket_graph_free(graph);
    hocket_gguf_close(file);
    return ok;
}

static void unload(layer *made)
{
    hocket_executable_free(made->executable);
    hocket_tensor_free(made->tokens);
    *made = (layer){0};
}

static bool forward(const layer *made)
{
    return hocket_executable_bind(made->executable, "tokens", made->tokens) == HOCKET_OK &&
           hocket_executable_run(made->executable) == HOCKET_OK &&
           hocket_executable_finish(made->executable) == HOCKET_OK;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The median over the runs. */
static bool measure(const layer *made, int runs, double *ms)
{
    static double times[RUNS_MAX];
    for (int i = -WARM_UPS; i < runs; i++) {
        double start = now_ms();
        if (!forward(made))
            return false;
        if (i >= 0)
            times[i] = now_ms() - start;
    }
    qsort(times, (size_t)runs, sizeof times[0], compare_doubles);
    *ms = times[runs / 2];
    return true;
}

/* max |a - b| / max |b|; NaN where there is one. */
static float largest_difference(const float *a, const float *b, size_t count)
{
    float difference = 0, scale = 0;
    for (size_t i = 0; i < count; i++) {
        float d = fabsf(a[i] - b[i]);
        if (isnan(d))
            return d;
        difference = fmaxf(difference, d);
        scale = fmaxf(scale, fabsf(b[i]));
    }
    return difference / scale;
}

/* The layer over the group, then on rank 0 alone; both y compared on every rank. */
static bool compare(hocket_group *world, const options *chosen, float *shared, float *whole,
                    size_t count, const layer *mine, report *result)
{
    size_t bytes = count * sizeof(float);
    TRY(hocket_barrier(world));
    if (!measure(mine, chosen->runs, &result->group_ms))
        return false;
    TRY(hocket_executable_read(mine->executable, "y", shared, bytes));

    if (hocket_rank(world) == 0) {
        layer all;
        bool ok = load(chosen, 0, 1, false, &all) &&
                  measure(&all, chosen->runs, &result->alone_ms) &&
                  hocket_executable_read(all.executable, "y", whole, bytes) == HOCKET_OK;
        unload(&all);
        if (!ok)
            return false;
    }
    TRY(hocket_broadcast(world, whole, count, HOCKET_FLOAT32, 0));
    float worst[] = {largest_difference(shared, whole, count), (float)result->group_ms};
    TRY(hocket_all_reduce(world, worst, worst, 2, HOCKET_FLOAT32, HOCKET_MAX));
    result->difference = worst[0];
    result->group_ms = worst[1];
    return true;
}

static void print_report(const hocket_group *world, const options *chosen, const layer *mine,
                         const report *result)
{
    int n = hocket_world_size(world);
    if (chosen->json)
        printf("{\"ranks\": %d, \"backend\": \"%s\", \"mode\": \"%s\", \"load_ms\": %.1f, "
               "\"ms\": %.3f, \"alone_ms\": %.3f, \"weight_bytes\": %zu, \"difference\": %.3g}\n",
               n, hocket_backend(world), mode_names[chosen->mode], result->load_ms,
               result->group_ms, result->alone_ms, mine->bytes, result->difference);
    else
        printf("%d ranks over %s, %s: %.3f ms a forward; rank 0 alone: %.3f ms\n"
               "largest difference %.2g of the largest value\n"
               "loading took %.0f ms, weights of rank 0 %.1f MB\n",
               n, hocket_backend(world), mode_names[chosen->mode], result->group_ms,
               result->alone_ms, result->difference, result->load_ms, (double)mine->bytes / 1e6);
}

static bool run(hocket_group *world, const options *chosen)
{
    TRY(hocket_graph_bind_group(0, world));
    report result = {0};
    layer mine;
    double start = now_ms();
    bool ok = load(chosen, hocket_rank(world), hocket_world_size(world), true, &mine);
    result.load_ms = now_ms() - start;
    if (ok) {
        size_t count = hocket_type_count(hocket_tensor_type(mine.tokens));
        float *values = calloc(2 * count, sizeof(float));
        ok = values && compare(world, chosen, values, values + count, count, &mine, &result);
        free(values);
    }
    if (ok && hocket_rank(world) == 0)
        print_report(world, chosen, &mine, &result);
    unload(&mine);
    hocket_graph_unbind_group(0);
    return ok;
}

static bool parse_number(const char *text, int least, int most, int *number)
{
    char *end;
    long value = strtol(text, &end, 10);
    *number = (int)value;
    return end != text && *end == '\0' && value >= least && value <= most;
}

static bool parse_mode(const char *text, hocket_mode *mode)
{
    for (*mode = HOCKET_EAGER; *mode <= HOCKET_COMPILED; (*mode)++)
        if (strcmp(text, mode_names[*mode]) == 0)
            return true;
    return false;
}

static bool parse(int argc, char **argv, options *chosen)
{
    static const struct option known[] = {{"model", required_argument, NULL, 'f'},
                                          {"layer", required_argument, NULL, 'l'},
                                          {"rows", required_argument, NULL, 'r'},
                                          {"runs", required_argument, NULL, 'n'},
                                          {"mode", required_argument, NULL, 'm'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    *chosen = (options){.model = MODEL, .rows = 64, .runs = 20, .mode = HOCKET_LAZY};
    bool ok = true;
    for (int option; ok && (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'f': chosen->model = optarg; break;
        case 'l': ok = parse_number(optarg, 0, 9999, &chosen->layer); break;
        case 'r': ok = parse_number(optarg, 1, 40000, &chosen->rows); break;
        case 'n': ok = parse_number(optarg, 1, RUNS_MAX, &chosen->runs); break;
        case 'm': ok = parse_mode(optarg, &chosen->mode); break;
        case 'j': chosen->json = true; break;
        default: ok = false;
        }
    }
    return ok && optind == argc;
}

int main(int argc, char **argv)
{
    options chosen;
    if (!parse(argc, argv, &chosen)) {
        fprintf(stderr, "usage: mlp [--model FILE] [--layer N] [--rows TOKENS] [--runs N]\n"
                        "           [--mode eager|lazy|compiled] [--json]\n");
        return 2;
    }
    hocket_group *world;
    if (hocket_init(NULL, &world) != HOCKET_OK) {
        fprintf(stderr, "mlp: %s\n", hocket_last_error());
        return 1;
    }
    bool ok = run(world, &chosen);
    if (!ok)
        fprintf(stderr, "mlp: rank %d: %s\n", hocket_rank(world), hocket_last_error());
    hocket_free(world);
    return ok ? 0 : 1;
}
