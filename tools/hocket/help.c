/* The help texts, laid out from the tables. */
#include "command.h"

#include <stdio.h>
#include <string.h>

#define WIDTH 80
#define INDENT 2
#define TERM_WIDTH 28 /* terms that are longer get a line of their own */

/* Prints text broken into lines at spaces, from column at on; later lines start at indent. */
static void print_wrapped(const char *text, int at, int indent)
{
    while (*text) {
        if (*text == '\n') {
            printf("\n%*s", indent, "");
            at = indent;
            text++;
            continue;
        }
        int word = (int)strcspn(text, " \n");
        if (at + word > WIDTH && at > indent) {
            printf("\n%*s", indent, "");
            at = indent;
        }
        printf("%.*s", word, text);
        at += word;
        text += word;
        if (*text == ' ') {
            text++;
            if (at + 1 + (int)strcspn(text, " \n") <= WIDTH) {
                putchar(' ');
                at++;
            } else {
                printf("\n%*s", indent, "");
                at = indent;
            }
        }
    }
    putchar('\n');
}

static void print_term(const char *term, const char *text)
{
    int at = printf("%*s%s", INDENT, "", term);
    if (at + 2 > TERM_WIDTH) {
        putchar('\n');
        at = 0;
    }
    printf("%*s", TERM_WIDTH - at, "");
    print_wrapped(text, TERM_WIDTH, TERM_WIDTH);
}

static void print_options(const hk_option *options)
{
    printf("\nOptions\n");
    for (const hk_option *option = options; option->name; option++) {
        char term[64];
        snprintf(term, sizeof term, "%s%s%s%s", option->name[1] ? "--" : "-", option->name,
                 option->value ? " " : "", option->value ? option->value : "");
        print_term(term, option->help);
    }
    print_term("--help", "this text");
}

static void print_sections(const hk_section *section)
{
    for (; section && section->title; section++) {
        printf("\n%s\n", section->title);
        for (const hk_term *term = section->terms; term->term; term++)
            print_term(term->term, term->text);
    }
}

void hk_help_command(const hk_command *command)
{
    printf("hocket %s: %s\n\n", command->name, command->summary);
    int at = printf("Usage: ");
    at += printf("hocket %s ", command->name);
    print_wrapped(command->synopsis, at, at);
    if (command->description) {
        putchar('\n');
        print_wrapped(command->description, 0, 0);
    }
    print_options(command->options);
    print_sections(command->sections);
}

void hk_help_environment(void)
{
    printf("hocket: the environment variables that library and command read or set\n");
    print_sections(hk_variables);
}

void hk_help_all(void)
{
    printf("hocket: tensor programs shared by several processes\n\nUsage: hocket COMMAND ...\n\n");
    for (int i = 0; hk_commands[i]; i++)
        print_term(hk_commands[i]->name, hk_commands[i]->summary);
    print_term("--version", "the version of the library");
    printf("\n`hocket help COMMAND` says more about one, `hocket help " HK_TOPIC_ENVIRONMENT
           "` lists the\nvariables.\n");
}
