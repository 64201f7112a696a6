#include "options.h"

#include "fault.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_MAX = 1000000, STAGES_MAX = RANKS_MAX };

const char *options_usage(void)
{
    return "usage: hocket run -n RANKS -- llm --model FILE --prompt TEXT\n"
           "  --tokens N          at most so many new ones (64)\n"
           "  --parallel HOW      tp: heads and columns spread, pp: layers, tp,pp: both (tp)\n"
           "  --stages N          of tp,pp: how many the layers are cut into\n"
           "  --shares A:B:...    what each rank takes, one number a rank (all the same)\n"
           "  --device NAME       mlx or cpu (mlx)\n"
           "  --weights FORM      q4: as the file has them, f32: unpacked when loaded\n"
           "  --temperature T     0 takes the likeliest token (0)\n"
           "  --top-p P           of those that together have this much (0.9)\n"
           "  --seed N            of the choice (0)\n"
           "  --raw               the prompt as it is, without a conversation around it\n"
           "  --json              the figures as one line of JSON\n"
           "  --logits FILE       write the first step's logits there, as float32\n";
}

static bool number(const char *name, const char *text, double least, double most, double *value)
{
    char *end;
    *value = strtod(text, &end);
    if (end == text || *end != '\0' || !(*value >= least && *value <= most))
        return fault("--%s takes a number from %g to %g, not '%s'", name, least, most, text);
    return true;
}

static bool whole(const char *name, const char *text, int least, int most, int *value)
{
    double asked;
    if (!number(name, text, least, most, &asked))
        return false;
    *value = (int)asked;
    return *value == asked || fault("--%s takes a whole number, not '%s'", name, text);
}

static bool seed(const char *text, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return (errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0') ||
           fault("--seed takes a whole number of at most 64 bits, not '%s'", text);
}

/* The index of the word among these, or a fault. */
static bool word(const char *name, const char *text, const char *const *words, int *index)
{
    for (*index = 0; words[*index]; (*index)++)
        if (strcmp(text, words[*index]) == 0)
            return true;
    return fault("--%s does not know '%s'; see --help", name, text);
}

static bool shares(const char *text, options *chosen)
{
    chosen->share_count = 0;
    for (const char *at = text;; at++) {
        char *end;
        double share = strtod(at, &end);
        if (end == at || (*end != ':' && *end != '\0') || !(share > 0) || isinf(share))
            return fault("--shares takes numbers above 0 with colons between, as 2:1, not '%s'",
                         text);
        if (chosen->share_count == RANKS_MAX)
            return fault("--shares takes at most %d numbers", RANKS_MAX);
        chosen->shares[chosen->share_count++] = share;
        at = end;
        if (*end == '\0')
            return true;
    }
}

/* The default is what was faster when measured: with MLX on a cpu, unpacked weights and OpenBLAS
 * take half the time that packed ones take; on a gpu reading them is what costs. */
static llm_weights faster(const char *device)
{
#ifdef __APPLE__
    return strcmp(device, "mlx") == 0 ? WEIGHTS_Q4 : WEIGHTS_F32;
#else
    (void)device;
    return WEIGHTS_F32;
#endif
}

enum { ANY_WEIGHTS = -1 };

static bool take(int option, const char *text, options *chosen, int *weights)
{
    static const char *const devices[] = {"mlx", "cpu", NULL};
    static const char *const forms[] = {"f32", "q4", NULL};
    static const char *const ways[] = {"tp", "pp", "tp,pp", NULL};
    int index;
    bool ok = true;
    switch (option) {
    case 'm': chosen->model = text; break;
    case 'p': chosen->prompt = text; break;
    case 'n': ok = whole("tokens", text, 1, TOKENS_MAX, &chosen->tokens); break;
    case 'P':
        ok = word("parallel", text, ways, &index);
        chosen->parallel = (llm_parallel)index;
        break;
    case 'g': ok = whole("stages", text, 1, STAGES_MAX, &chosen->stages); break;
    case 'h': ok = shares(text, chosen); break;
    case 'd':
        ok = word("device", text, devices, &index);
        chosen->device = devices[index];
        break;
    case 'w': ok = word("weights", text, forms, weights); break;
    case 't': ok = number("temperature", text, 0, 100, &chosen->temperature); break;
    case 'T': ok = number("top-p", text, 1e-9, 1, &chosen->top_p); break;
    case 's': ok = seed(text, &chosen->seed); break;
    case 'r': chosen->raw = true; break;
    case 'j': chosen->json = true; break;
    case 'l': chosen->logits = text; break;
    default: ok = fault("see --help");
    }
    return ok;
}

bool options_parse(int argc, char **argv, options *chosen, bool *help)
{
    static const struct option known[] = {{"model", required_argument, NULL, 'm'},
                                          {"prompt", required_argument, NULL, 'p'},
                                          {"tokens", required_argument, NULL, 'n'},
                                          {"parallel", required_argument, NULL, 'P'},
                                          {"stages", required_argument, NULL, 'g'},
                                          {"shares", required_argument, NULL, 'h'},
                                          {"device", required_argument, NULL, 'd'},
                                          {"weights", required_argument, NULL, 'w'},
                                          {"temperature", required_argument, NULL, 't'},
                                          {"top-p", required_argument, NULL, 'T'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"raw", no_argument, NULL, 'r'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"logits", required_argument, NULL, 'l'},
                                          {"help", no_argument, NULL, 'H'},
                                          {NULL, 0, NULL, 0}};
    *chosen = (options){.tokens = 64, .device = "mlx", .top_p = 0.9};
    *help = false;
    int weights = ANY_WEIGHTS;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        *help = *help || option == 'H';
        if (*help)
            return true;
        if (!take(option, optarg, chosen, &weights))
            return false;
    }
    chosen->weights = weights == ANY_WEIGHTS ? faster(chosen->device) : (llm_weights)weights;
    if (optind < argc)
        return fault("'%s' is no option", argv[optind]);
    if (!chosen->model || !chosen->prompt)
        return fault("--model and --prompt are needed");
    if (chosen->stages > 0 && chosen->parallel != PARALLEL_BOTH)
        return fault("--stages goes with --parallel tp,pp");
    return true;
}
