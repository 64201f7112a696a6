#include "options.h"

#include "words.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 32 /* of one command */
#define SECONDS_MAX 1e9

static const hk_option *find(const hk_option *options, const char *name, size_t length)
{
    for (const hk_option *option = options; option->name; option++) {
        if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
            return option;
    }
    return NULL;
}

static const char *dashes(const hk_option *option)
{
    return option->name[1] ? "--" : "-";
}

static bool set_int(const hk_command *command, const hk_option *option, int *field,
                    const char *value)
{
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (end == value || *end || errno || number < option->least || number > option->most) {
        hk_complain(command->name, "%s%s needs a whole number from %d to %d, not '%s'.",
                    dashes(option), option->name, option->least, option->most, value);
        return false;
    }
    *field = (int)number;
    return true;
}

static bool set_seconds(const hk_command *command, const hk_option *option, double *field,
                        const char *value)
{
    char *end;
    double seconds = strtod(value, &end);
    if (end == value || *end || !(seconds > 0 && seconds <= SECONDS_MAX)) {
        hk_complain(command->name, "%s%s needs a number of seconds above 0, not '%s'.",
                    dashes(option), option->name, value);
        return false;
    }
    *field = seconds;
    return true;
}

static bool set_choice(const hk_command *command, const hk_option *option, int *field,
                       const char *value)
{
    const char *word = option->value;
    for (int i = 0; word; i++) {
        size_t length = strcspn(word, "|");
        if (strlen(value) == length && memcmp(word, value, length) == 0) {
            *field = i;
            return true;
        }
        word = word[length] ? word + length + 1 : NULL;
    }
    hk_complain(command->name, "%s%s needs one of %s, not '%s'.", dashes(option), option->name,
                option->value, value);
    return false;
}

static bool append(const hk_command *command, hk_list *list, const char *value)
{
    const char **items = realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (!items) {
        hk_complain(command->name, "There is no memory for the list of options.");
        return false;
    }
    list->items = items;
    list->items[list->count++] = value;
    return true;
}

void hk_list_free(hk_list *list)
{
    free(list->items);
    *list = (hk_list){0};
}

static bool set(const hk_command *command, const hk_option *option, void *options,
                const char *value)
{
    void *field = (char *)options + option->field;
    switch (option->kind) {
    case HK_OPTION_FLAG: *(bool *)field = true; return true;
    case HK_OPTION_INT: return set_int(command, option, field, value);
    case HK_OPTION_SECONDS: return set_seconds(command, option, field, value);
    case HK_OPTION_TEXT: *(const char **)field = value; return true;
    case HK_OPTION_CHOICE: return set_choice(command, option, field, value);
    case HK_OPTION_LIST: return append(command, field, value);
    }
    return false;
}

static void complain_unknown(const hk_command *command, const char *word)
{
    const char *names[OPTIONS_MAX];
    int count = 0;
    for (const hk_option *option = command->options; option->name && count < OPTIONS_MAX; option++)
        names[count++] = option->name;
    char name[64];
    const char *start = word + strspn(word, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(start, "="), start);
    const char *near = word[1] == '-' ? hk_closest(name, names, count) : NULL;
    if (near)
        hk_complain(command->name, "There is no option '%s'. Did you mean '--%s'?", word, near);
    else
        hk_complain(command->name, "There is no option '%s'. `hocket help %s` lists them.", word,
                    command->name);
}

/* Takes the option at argv[*at] and moves *at past it. */
static bool take(const hk_command *command, void *options, int argc, char **argv, int *at)
{
    const char *word = argv[(*at)++];
    const hk_option *option;
    const char *value = NULL;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        option = length > 1 ? find(command->options, word + 2, length) : NULL;
        if (word[2 + length] == '=')
            value = word + 2 + length + 1;
    } else {
        option = find(command->options, word + 1, 1);
        if (word[2])
            value = word + 2;
    }
    if (!option || (option->kind == HK_OPTION_FLAG && value && word[1] != '-')) {
        complain_unknown(command, word);
        return false;
    }
    if (option->kind == HK_OPTION_FLAG && value) {
        hk_complain(command->name, "--%s takes no value, but got '%s'.", option->name, value);
        return false;
    }
    if (option->kind != HK_OPTION_FLAG && !value) {
        if (*at >= argc) {
            hk_complain(command->name, "%s%s needs a value: %s.", dashes(option), option->name,
                        option->value);
            return false;
        }
        value = argv[(*at)++];
    }
    return set(command, option, options, value);
}

int hk_options_parse(const hk_command *command, void *options, int argc, char **argv)
{
    int at = 1;
    while (at < argc && argv[at][0] == '-' && argv[at][1]) {
        if (strcmp(argv[at], "--") == 0)
            return at + 1;
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            hk_help_command(command);
            return HK_OPTIONS_HELP;
        }
        if (!take(command, options, argc, argv, &at))
            return HK_OPTIONS_BAD;
    }
    return at;
}
