/* Completion for shells, from the same tables as the help. What a shell may offer for a value
 * follows from what help calls it, and for words from what the synopsis calls them: FILE or PATH,
 * FOLDER, PROGRAM, BACKEND, COLLECTIVE, words in small letters such as stop|keep; in a synopsis
 * also COMMAND. */
#ifndef HK_TOOL_COMPLETE_H
#define HK_TOOL_COMPLETE_H

#include "command.h"

#include <stdio.h>

#define HK_COMPLETION_BYTES 1024 /* of all the words for one value */

typedef struct hk_completion {
    bool files, folders, program;
    char words[HK_COMPLETION_BYTES]; /* with a space between */
} hk_completion;

/* Of an option's value; all empty where nothing can be offered, NULL (a flag) included. */
void hk_completion_of_value(const char *value, hk_completion *completion);

/* Of the words that a command takes beside its options. */
void hk_completion_of_words(const hk_command *command, hk_completion *completion);

void hk_complete_bash(FILE *out);
void hk_complete_zsh(FILE *out);

#endif
