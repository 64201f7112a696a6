/* The launcher's command line, by `hocket run` itself up to where it would start ranks. The input
 * is the words, each ended by a newline. */
#include "input.h"
#include "run/launch.h"

enum { WORDS_MAX = 64 };

extern const hk_command hk_command_run;
const hk_command *const hk_commands[] = {&hk_command_run, NULL};

/* === What `hocket run` would do next ========================================================== */

int hk_job_run(const hk_launch *launch)
{
    int ranks = 0;
    FUZZ_CHECK(launch->world_size >= 1 && launch->world_size <= HK_RANKS_MAX);
    FUZZ_CHECK(launch->stdin_rank >= HK_STDIN_ALL && launch->stdin_rank < launch->world_size);
    FUZZ_CHECK(launch->timeout_s >= 0 && launch->ssh != NULL);
    FUZZ_CHECK(launch->backend != NULL && launch->program[0] != NULL);
    for (int i = 0; i < launch->env.count; i++)
        FUZZ_CHECK(strchr(launch->env.items[i], '=') > launch->env.items[i]);
    for (int i = 0; i < launch->hosts.count; i++)
        ranks += launch->hosts.items[i].ranks;
    FUZZ_CHECK(ranks == launch->world_size);
    return 0;
}

/* ============================================================================================== */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    char *words[WORDS_MAX + 1];
    int count = 0;
    words[count++] = strdup("run");
    while (input.left > 0 && count < WORDS_MAX)
        words[count++] = fuzz_text(&input, '\n');
    words[count] = NULL;
    hk_command_run.run(&hk_command_run, count, words);
    fflush(stdout);
    for (int i = 0; i < count; i++)
        free(words[i]);
    return 0;
}
