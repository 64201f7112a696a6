/* hocket: the command. Each subcommand has a file of its own; this one knows their table. */
#include "command.h"
#include "words.h"

#include <hocket/hocket.h>
#include <stdio.h>
#include <string.h>

extern const hk_command hk_command_run, hk_command_bench, hk_command_doctor, hk_command_help,
    hk_command_agent;

const hk_command *const hk_commands[] = {&hk_command_run, &hk_command_bench, &hk_command_doctor,
                                         &hk_command_help, NULL};

const hk_command *hk_command_find(const char *name)
{
    for (int i = 0; hk_commands[i]; i++) {
        if (strcmp(hk_commands[i]->name, name) == 0)
            return hk_commands[i];
    }
    const char *names[sizeof hk_commands / sizeof *hk_commands];
    int count = 0;
    for (; hk_commands[count]; count++)
        names[count] = hk_commands[count]->name;
    const char *near = hk_closest(name, names, count);
    if (near)
        hk_complain(NULL, "There is no command '%s'. Did you mean '%s'?", name, near);
    else
        hk_complain(NULL, "There is no command '%s'. `hocket help` lists them.", name);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        hk_complain(NULL, "A command is missing. `hocket help` lists them.");
        return HK_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("hocket %s\n", hocket_version());
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        hk_help_all();
        return 0;
    }
    const hk_command *command =
        strcmp(argv[1], hk_command_agent.name) == 0 ? &hk_command_agent : hk_command_find(argv[1]);
    return command ? command->run(command, argc - 1, argv + 1) : HK_EXIT_USAGE;
}
