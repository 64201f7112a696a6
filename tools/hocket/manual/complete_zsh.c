/* The completion for zsh, which has the work done by its own _arguments. */
#include "manual/complete.h"

#include <hocket/hocket.h>
#include <string.h>

/* Text within a specification that stands between single quotes: a quote ends those for a moment,
 * and colons and brackets would end the part of the specification. */
static void put_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (*text == '\n')
            fputc(' ', out);
        else
            fprintf(out, "%s%c", strchr("[]:\\", *text) ? "\\" : "", *text);
    }
}

/* The action of a specification. A single space offers nothing but the message before it. */
static void put_action(FILE *out, const hk_completion *completion)
{
    if (completion->files) {
        fputs("_files", out);
    } else if (completion->folders) {
        fputs("_files -/", out);
    } else if (completion->words[0]) {
        fputc('(', out);
        put_text(out, completion->words);
        fputc(')', out);
    } else {
        fputc(' ', out);
    }
}

static void put_option(FILE *out, const hk_option *option)
{
    bool flag = option->kind == HK_OPTION_FLAG, lettered = !option->name[1];
    fprintf(out, " \\\n                '%s%s%s%s[", option->kind == HK_OPTION_LIST ? "*" : "",
            lettered ? "-" : "--", option->name,
            flag       ? ""
            : lettered ? "+"
                       : "=");
    put_text(out, option->help);
    fputc(']', out);
    if (!flag) {
        hk_completion completion;
        hk_completion_of_value(option->value, &completion);
        fputc(':', out);
        put_text(out, option->value);
        fputc(':', out);
        put_action(out, &completion);
    }
    fputc('\'', out);
}

/* A program and what follows it are the program's to complete: no option of ours comes after. */
static void put_words(FILE *out, const hk_command *command)
{
    hk_completion completion;
    hk_completion_of_words(command, &completion);
    if (completion.program) {
        fputs(" \\\n                '(-)1:PROGRAM: _alternative \"commands:command:_command_names "
              "-e\""
              " \"files:file:_files\"' \\\n                '*::ARGUMENT: _normal'",
              out);
    } else if (completion.words[0] || completion.files) {
        fputs(" \\\n                '*:WORD:", out);
        put_action(out, &completion);
        fputc('\'', out);
    }
}

static void put_command(FILE *out, const hk_command *command)
{
    hk_completion completion;
    hk_completion_of_words(command, &completion);
    fprintf(out, "        %s)\n            _arguments -s -S%s", command->name,
            completion.program ? " -A '-*'" : "");
    for (const hk_option *option = command->options; option->name; option++)
        put_option(out, option);
    fputs(" \\\n                '--help[print help and exit]'", out);
    put_words(out, command);
    fputs("\n            ;;\n", out);
}

void hk_complete_zsh(FILE *out)
{
    fprintf(out,
            "#compdef hocket\n# zsh completion for hocket %s. Printed by `hocket help --complete "
            "zsh`.\n\n"
            "_hocket_commands()\n{\n    local -a commands=(\n",
            hocket_version());
    for (int i = 0; hk_commands[i]; i++) {
        fprintf(out, "        '%s:", hk_commands[i]->name);
        put_text(out, hk_commands[i]->summary);
        fputs("'\n", out);
    }
    fputs("    )\n    _describe -t commands 'command' commands\n}\n\n"
          "_hocket()\n{\n    local curcontext=$curcontext state line\n"
          "    typeset -A opt_args\n"
          "    _arguments -C -A '-*' \\\n"
          "        '(- *)--version[print the version of the library]' \\\n"
          "        '(- *)--help[print help and exit]' \\\n"
          "        '1:COMMAND:_hocket_commands' \\\n"
          "        '*::ARGUMENT:->rest'\n"
          "    [[ $state == rest ]] || return\n"
          "    case $words[1] in\n",
          out);
    for (int i = 0; hk_commands[i]; i++)
        put_command(out, hk_commands[i]);
    fputs("    esac\n}\n\n"
          "if [[ $funcstack[1] == _hocket ]]; then\n    _hocket \"$@\"\n"
          "else\n    compdef _hocket hocket\nfi\n",
          out);
}
