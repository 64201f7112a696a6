/* hocket help: what the tables print: help, manual pages, completion. */
#include "command.h"
#include "manual/complete.h"
#include "manual/manual.h"
#include "options.h"
#include "words.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { EXIT_FAULT = 1 };
enum { SHELL_NONE = -1, SHELL_BASH, SHELL_ZSH };

#define FOLDER_MODE 0777 /* less what umask takes away */

typedef struct help_options {
    bool man;
    int complete; /* index into "bash|zsh" */
    const char *write;
} help_options;

#define FIELD(name) offsetof(help_options, name)

static const hk_option options[] = {
    {.name = "man",
     .kind = HK_OPTION_FLAG,
     .field = FIELD(man),
     .help = "print the manual page instead, in man(7); man -l - shows it"},
    {.name = "complete",
     .kind = HK_OPTION_CHOICE,
     .field = FIELD(complete),
     .value = "bash|zsh",
     .help = "print what this shell needs to complete hocket's options"},
    {.name = "write",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(write),
     .value = "FOLDER",
     .help = "write all manual pages and completions to where they belong below this folder, such "
             "as ~/.local/share"},
    {.name = NULL},
};

/* === Files ==================================================================================== */

/* One file below the folder of --write; what is written into it is the print's. */
typedef struct page {
    void (*print)(FILE *out);
    void (*print_command)(FILE *out, const hk_command *command);
    const hk_command *command; /* for print_command */
} page;

static bool make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, FOLDER_MODE) == 0 || errno == EEXIST || errno == EISDIR;
        *slash = '/';
        if (!made)
            return false;
    }
    return true;
}

static bool write_page(const char *folder, const char *name, const page *page)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) {
        hk_complain("help", "The name of the folder '%.64s...' is too long.", folder);
        return false;
    }
    FILE *out = make_folders(path) ? fopen(path, "w") : NULL;
    bool written = out != NULL;
    if (out) {
        if (page->command)
            page->print_command(out, page->command);
        else
            page->print(out);
        written = !ferror(out);
        written = fclose(out) == 0 && written;
    }
    if (!written)
        hk_complain("help", "%s cannot be written: %s.", path, strerror(errno));
    return written;
}

static bool write_all(const char *folder)
{
    static const struct {
        const char *name;
        page page;
    } fixed[] = {
        {"man/man1/hocket.1", {.print = hk_manual_all}},
        {"man/man7/hocket.7", {.print = hk_manual_environment}},
        {"bash-completion/completions/hocket", {.print = hk_complete_bash}},
        {"zsh/site-functions/_hocket", {.print = hk_complete_zsh}},
    };
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof fixed / sizeof *fixed; i++)
        ok = write_page(folder, fixed[i].name, &fixed[i].page);
    for (int i = 0; ok && hk_commands[i]; i++) {
        char name[64];
        snprintf(name, sizeof name, "man/man1/hocket-%s.1", hk_commands[i]->name);
        const page each = {.print_command = hk_manual_command, .command = hk_commands[i]};
        ok = write_page(folder, name, &each);
    }
    return ok;
}

/* === The command ============================================================================== */

/* name: of a command, the variables' topic, or NULL for the whole tool. */
static int print(const char *name, bool man)
{
    if (!name && man) {
        hk_manual_all(stdout);
    } else if (!name) {
        hk_help_all();
    } else if (strcmp(name, HK_TOPIC_ENVIRONMENT) == 0 && man) {
        hk_manual_environment(stdout);
    } else if (strcmp(name, HK_TOPIC_ENVIRONMENT) == 0) {
        hk_help_environment();
    } else {
        const hk_command *command = hk_command_find(name);
        if (!command)
            return HK_EXIT_USAGE;
        if (man)
            hk_manual_command(stdout, command);
        else
            hk_help_command(command);
    }
    return 0;
}

static int run(const hk_command *self, int argc, char **argv)
{
    help_options given = {.complete = SHELL_NONE};
    int at = hk_options_parse(self, &given, argc, argv);
    if (at < 0)
        return at == HK_OPTIONS_HELP ? 0 : HK_EXIT_USAGE;
    const char *name = at < argc ? argv[at] : NULL;
    if (name) { /* options may come after it too */
        int used = hk_options_parse(self, &given, argc - at, argv + at);
        if (used < 0)
            return used == HK_OPTIONS_HELP ? 0 : HK_EXIT_USAGE;
        at += used;
    }
    if (given.man + (given.complete != SHELL_NONE) + (given.write != NULL) > 1) {
        hk_complain("help", "--man, --complete and --write exclude each other.");
        return HK_EXIT_USAGE;
    }
    bool takes_name = given.complete == SHELL_NONE && !given.write;
    if (at < argc || (name && !takes_name)) {
        hk_complain("help", "There is no use for '%s' here.", takes_name ? argv[at] : name);
        return HK_EXIT_USAGE;
    }
    if (given.write)
        return write_all(given.write) ? 0 : EXIT_FAULT;
    if (given.complete == SHELL_BASH)
        hk_complete_bash(stdout);
    else if (given.complete == SHELL_ZSH)
        hk_complete_zsh(stdout);
    else
        return print(name, given.man);
    return 0;
}

const hk_command hk_command_help = {
    .name = "help",
    .synopsis = "[OPTION ...] [COMMAND | " HK_TOPIC_ENVIRONMENT "]",
    .summary = "say what the commands do",
    .description = "Says what a command does, or what each environment variable means. Manual "
                   "pages and completion come from the same tables, so `hocket help --write "
                   "~/.local/share` is all that they need where nobody has installed them.",
    .options = options,
    .run = run,
};
