#include "figures.h"

#include "fault.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* What a rank shows, as numbers that can be gathered. */
enum { WEIGHTS, RESIDENT, COMMUNICATING, WAITING, LAYER, LAYERS, HEAD, HEADS, COLUMNS };

/* Collectives that MLX's own engine carries inside its graphs pass nobody who could look. */
static bool is_seen(const figures_scene *scene)
{
    return scene->ranks->parts == 1 || strcmp(scene->chosen->device, "mlx") != 0 ||
           strncmp(hocket_backend(scene->world), "mlx", 3) != 0;
}

static void own_row(const figures_scene *scene, const figures *of, float row[COLUMNS])
{
    double all = is_seen(scene) && of->decode_s > 0 ? of->decode_s : (double)NAN;
    const float values[COLUMNS] = {
        [WEIGHTS] = (float)of->weight_bytes,
        [RESIDENT] = (float)of->resident_bytes,
        [COMMUNICATING] = (float)(of->communicating_s / all),
        [WAITING] = (float)(of->waiting_s / all),
        [LAYER] = (float)scene->mine->layers.start,
        [LAYERS] = (float)span_length(scene->mine->layers),
        [HEAD] = (float)scene->mine->heads.start,
        [HEADS] = (float)span_length(scene->mine->heads),
    };
    memcpy(row, values, sizeof values);
}

static double per_second(int count, double seconds)
{
    return seconds > 0 ? count / seconds : 0;
}

static const char *way(const figures_scene *scene)
{
    if (hocket_world_size(scene->world) == 1)
        return "alone";
    return scene->ranks->stages == 1 ? "tp" : scene->ranks->parts == 1 ? "pp" : "tp,pp";
}

static void print_text(const figures_scene *scene, const figures *of, float (*rows)[COLUMNS])
{
    int ranks = hocket_world_size(scene->world);
    fprintf(stderr,
            "llm: %d rank%s (%s) over %s, device %s: prompt %d tokens, %.1f tokens/s; "
            "text %d tokens, %.1f tokens/s\n",
            ranks, ranks == 1 ? "" : "s", way(scene), hocket_backend(scene->world),
            scene->chosen->device, of->prompt, per_second(of->prompt, of->prefill_s), of->made,
            per_second(of->steps, of->decode_s));
    for (int i = 0; i < ranks; i++) {
        fprintf(stderr,
                "llm: rank %d: %g layers from %g, %g heads from %g, weights %.1f MB, resident "
                "%.1f MB; ",
                i, rows[i][LAYERS], rows[i][LAYER], rows[i][HEADS], rows[i][HEAD],
                rows[i][WEIGHTS] / 1e6, rows[i][RESIDENT] / 1e6);
        if (isnan(rows[i][COMMUNICATING]))
            fprintf(stderr, "MLX's own engine does not say what communicating takes\n");
        else if (isnan(rows[i][WAITING]))
            fprintf(stderr, "communicating %.1f %%\n", 100 * rows[i][COMMUNICATING]);
        else
            fprintf(stderr, "communicating %.1f %%, of it waiting %.1f %%\n",
                    100 * rows[i][COMMUNICATING], 100 * rows[i][WAITING]);
    }
}

enum { FRACTION_MAX = 16 };

/* JSON has no word for what is no number. */
static const char *fraction(float value, char text[FRACTION_MAX])
{
    if (isnan(value))
        snprintf(text, FRACTION_MAX, "null");
    else
        snprintf(text, FRACTION_MAX, "%.4f", value);
    return text;
}

static void print_json(const figures_scene *scene, const figures *of, float (*rows)[COLUMNS],
                       const int *ids)
{
    int ranks = hocket_world_size(scene->world), worst = 0, most = 0;
    char text[2][FRACTION_MAX];
    for (int i = 1; i < ranks; i++) {
        worst = rows[i][COMMUNICATING] > rows[worst][COMMUNICATING] ? i : worst;
        most = rows[i][WEIGHTS] > rows[most][WEIGHTS] ? i : most;
    }
    fprintf(stderr,
            "{\"ranks\": %d, \"parallel\": \"%s\", \"backend\": \"%s\", \"device\": \"%s\", "
            "\"load_s\": %.2f, \"prompt\": %d, \"prefill_rate\": %.2f, \"decode_rate\": %.2f, "
            "\"communicating\": %s, \"waiting\": %s, \"weight_mb\": %.1f, "
            "\"resident_mb\": %.1f, \"tokens\": [",
            ranks, way(scene), hocket_backend(scene->world), scene->chosen->device, of->load_s,
            of->prompt, per_second(of->prompt, of->prefill_s), per_second(of->steps, of->decode_s),
            fraction(rows[worst][COMMUNICATING], text[0]), fraction(rows[worst][WAITING], text[1]),
            rows[most][WEIGHTS] / 1e6, rows[most][RESIDENT] / 1e6);
    for (int i = 0; i < of->made; i++)
        fprintf(stderr, "%s%d", i == 0 ? "" : ",", ids[i]);
    fprintf(stderr, "]}\n");
}

bool figures_print(const figures_scene *scene, const figures *of, const int *ids)
{
    float row[COLUMNS], rows[RANKS_MAX][COLUMNS];
    own_row(scene, of, row);
    TRY(hocket_all_gather(scene->world, row, rows, COLUMNS, HOCKET_FLOAT32));
    if (hocket_rank(scene->world) > 0)
        return true;
    if (scene->chosen->json)
        print_json(scene, of, rows, ids);
    else
        print_text(scene, of, rows);
    return true;
}
