#include "manual/complete.h"

#include "backends.h"
#include "bench/bench.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void add(hk_completion *completion, const char *word, size_t length)
{
    size_t used = strlen(completion->words);
    snprintf(completion->words + used, sizeof completion->words - used, "%s%.*s", used ? " " : "",
             (int)length, word);
}

static void add_backends(hk_completion *completion)
{
    for (const hk_backend *backend = hk_backends; backend->name; backend++)
        add(completion, backend->name, strlen(backend->name));
}

static void add_collectives(hk_completion *completion)
{
    add(completion, "all", 3);
    for (const hk_bench_operation *each = hk_bench_operations; each->name; each++)
        add(completion, each->name, strlen(each->name));
}

static void add_commands(hk_completion *completion)
{
    for (int i = 0; hk_commands[i]; i++)
        add(completion, hk_commands[i]->name, strlen(hk_commands[i]->name));
    add(completion, HK_TOPIC_ENVIRONMENT, strlen(HK_TOPIC_ENVIRONMENT));
}

static bool is(const char *word, size_t length, const char *name)
{
    return strlen(name) == length && memcmp(word, name, length) == 0;
}

/* What goes by one name in capital letters. */
static void add_kind(hk_completion *completion, const char *word, size_t length)
{
    if (is(word, length, "FILE") || is(word, length, "PATH"))
        completion->files = true;
    else if (is(word, length, "FOLDER"))
        completion->folders = true;
    else if (is(word, length, "PROGRAM"))
        completion->program = true;
    else if (is(word, length, "BACKEND"))
        add_backends(completion);
    else if (is(word, length, "COLLECTIVE"))
        add_collectives(completion);
}

void hk_completion_of_value(const char *value, hk_completion *completion)
{
    *completion = (hk_completion){0};
    while (value && *value) {
        size_t length = strcspn(value, "|");
        if (islower((unsigned char)value[0]))
            add(completion, value, length);
        else
            add_kind(completion, value, length);
        value += length + (value[length] == '|');
    }
}

void hk_completion_of_words(const hk_command *command, hk_completion *completion)
{
    static const char between[] = "[]. ";
    *completion = (hk_completion){0};
    for (const char *word = command->synopsis; *(word += strspn(word, between));) {
        size_t length = strcspn(word, between);
        if (is(word, length, "COMMAND")) /* of hocket; an option's may be any */
            add_commands(completion);
        else
            add_kind(completion, word, length);
        word += length;
    }
}
