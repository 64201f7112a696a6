/* What a subcommand of `hocket` is. One table of these (hk_commands) gives dispatch, help, manual
 * pages and completion. */
#ifndef HK_TOOL_COMMAND_H
#define HK_TOOL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

/* Exit statuses of the command's own. */
enum {
    HK_EXIT_USAGE = 2,            /* the command line makes no sense */
    HK_EXIT_TIMEOUT = 124,        /* --timeout ran out */
    HK_EXIT_LAUNCHER = 125,       /* the launcher itself failed */
    HK_EXIT_CANNOT_EXECUTE = 126, /* the program is there, but cannot be started */
    HK_EXIT_NOT_FOUND = 127,
    HK_EXIT_SIGNAL = 128 /* plus the signal's number */
};

typedef enum hk_option_kind {
    HK_OPTION_FLAG,    /* bool */
    HK_OPTION_INT,     /* int, from least to most */
    HK_OPTION_SECONDS, /* double, above 0 */
    HK_OPTION_TEXT,    /* const char * */
    HK_OPTION_CHOICE,  /* int: the index of the word in value, "stop|keep" */
    HK_OPTION_LIST     /* hk_list: the option may come again */
} hk_option_kind;

typedef struct hk_list {
    const char **items;
    int count;
} hk_list;

typedef struct hk_option {
    const char *name; /* without its dashes; one letter makes it -n, more --name */
    hk_option_kind kind;
    size_t field;      /* where in the command's struct of options the value goes */
    int least, most;   /* HK_OPTION_INT only */
    const char *value; /* what help calls the value; NULL for a flag */
    const char *help;
} hk_option;

/* A list of terms and what they mean, such as exit statuses. */
typedef struct hk_term {
    const char *term, *text;
} hk_term;

typedef struct hk_section {
    const char *title;
    const hk_term *terms; /* ends with a NULL term */
} hk_section;

typedef struct hk_command hk_command;
struct hk_command {
    const char *name;
    const char *synopsis; /* what follows "hocket NAME" */
    const char *summary;  /* one line */
    const char *description;
    const hk_option *options;                                  /* ends with a NULL name */
    const hk_section *sections;                                /* ends with a NULL title */
    int (*run)(const hk_command *self, int argc, char **argv); /* argv[0] is the command's name */
};

/* All subcommands in the order of the help text; ends with NULL. */
extern const hk_command *const hk_commands[];

/* NULL after a complaint. */
const hk_command *hk_command_find(const char *name);

/* What the table of variables goes by where a command's name may stand: `hocket help environment`.
 */
#define HK_TOPIC_ENVIRONMENT "environment"

/* Every environment variable that the library or the command reads or sets; ends with a NULL title.
 */
extern const hk_section hk_variables[];

/* The help text of one command, of the variables, or of the whole tool, to stdout. */
void hk_help_command(const hk_command *command);
void hk_help_environment(void);
void hk_help_all(void);

#endif
