/* Reading a command line by the command's table of options. */
#ifndef HK_TOOL_OPTIONS_H
#define HK_TOOL_OPTIONS_H

#include "command.h"

enum { HK_OPTIONS_BAD = -1, HK_OPTIONS_HELP = -2 };

/* Fills the struct of options from argv[1] on. Options end at the first other word or after "--".
 * `--name value`, `--name=value`, `-n value` and `-n4` are understood, and --help everywhere.
 * Returns the index of the first word after the options, HK_OPTIONS_BAD after a complaint on
 * stderr, or HK_OPTIONS_HELP after the help text on stdout. Texts point into argv. Lists are the
 * caller's to free with hk_list_free, in every case. */
int hk_options_parse(const hk_command *command, void *options, int argc, char **argv);

void hk_list_free(hk_list *list);

#endif
