#include "manual/manual.h"

#include <ctype.h>
#include <hocket/hocket.h>
#include <string.h>

#define DATE "2026-11-27" /* of the last change to what these pages say */
#define LINE_COLUMNS 78   /* of the source of a page */

/* === Text that roff takes as it is ============================================================ */

/* What roff would read as something else. A dash that begins an option must not become a hyphen. */
static const char *escape(char letter, char before)
{
    switch (letter) {
    case '\\': return "\\(rs";
    case '"': return "\\(dq";
    case '\'': return "\\(aq";
    case '~': return "\\(ti";
    case '^': return "\\(ha";
    case '-': return isalnum((unsigned char)before) ? NULL : "\\-";
    default: return NULL;
    }
}

/* Text of the tables after column bytes of a line: `words` in backquotes become bold, long lines
 * are broken at spaces, and a line does not begin with what roff takes for a request. */
static void put_text_after(FILE *out, int column, const char *text)
{
    bool bold = false;
    for (char before = ' '; *text; before = *text++) {
        const char *escaped = escape(*text, before);
        if (*text == '`') {
            bold = !bold;
            column += fprintf(out, bold ? "\\fB" : "\\fP");
        } else if (*text == '\n') {
            fputs("\n.br\n", out);
            column = 0;
        } else if (*text == ' ' && column + 1 + (int)strcspn(text + 1, " \n") > LINE_COLUMNS) {
            fputc('\n', out);
            column = 0;
        } else if (escaped) {
            column += fprintf(out, "%s", escaped);
        } else {
            column += fprintf(out, "%s%c", column == 0 && *text == '.' ? "\\&" : "", *text);
        }
    }
    fputc('\n', out);
}

static void put_text(FILE *out, const char *text)
{
    put_text_after(out, 0, text);
}

/* Names, options and commands: every dash is one that can be typed. */
static void put_literal(FILE *out, const char *text)
{
    for (; *text; text++) {
        const char *escaped = escape(*text, ' ');
        if (escaped)
            fputs(escaped, out);
        else
            fputc(*text, out);
    }
}

static void put_upper(FILE *out, const char *text)
{
    for (; *text; text++)
        fputc(toupper((unsigned char)*text), out);
}

/* === Parts of a page ========================================================================== */

static void put_head(FILE *out, const char *name, int section, const char *summary)
{
    fprintf(out, ".\\\" Printed by `hocket help --man`.\n.TH ");
    put_upper(out, name);
    fprintf(out, " %d " DATE " \"hocket %s\" \"hocket\"\n.SH NAME\n", section, hocket_version());
    put_literal(out, name);
    fputs(" \\- ", out);
    put_text_after(out, 2 * (int)strlen(name), summary); /* not more, escapes included */
}

static void put_title(FILE *out, const char *title)
{
    fputs(".SH ", out);
    put_upper(out, title);
    fputc('\n', out);
}

static void put_term(FILE *out, const char *term, const char *text)
{
    fputs(".TP\n\\fB", out);
    put_literal(out, term);
    fputs("\\fP\n", out);
    put_text(out, text);
}

static void put_sections(FILE *out, const hk_section *section)
{
    for (; section && section->title; section++) {
        put_title(out, section->title);
        for (const hk_term *term = section->terms; term->term; term++)
            put_term(out, term->term, term->text);
    }
}

static void put_options(FILE *out, const hk_option *options)
{
    put_title(out, "Options");
    for (const hk_option *option = options; option->name; option++) {
        fprintf(out, ".TP\n\\fB%s", option->name[1] ? "\\-\\-" : "\\-");
        put_literal(out, option->name);
        fputs("\\fP", out);
        if (option->value) {
            fputs(" \\fI", out);
            put_literal(out, option->value);
            fputs("\\fP", out);
        }
        fputc('\n', out);
        put_text(out, option->help);
    }
    put_term(out, "--help", "print help and exit");
}

/* Every other page of section 1, and hocket(7). */
static void put_see_also(FILE *out, const hk_command *self)
{
    put_title(out, "See also");
    if (self)
        fputs(".BR hocket (1),\n", out);
    for (int i = 0; hk_commands[i]; i++) {
        if (hk_commands[i] == self)
            continue;
        fputs(".BR hocket\\-", out);
        put_literal(out, hk_commands[i]->name);
        fputs(" (1),\n", out);
    }
    fputs(".BR hocket (7)\n", out);
}

/* === Pages ==================================================================================== */

void hk_manual_command(FILE *out, const hk_command *command)
{
    char name[64];
    snprintf(name, sizeof name, "hocket-%s", command->name);
    put_head(out, name, 1, command->summary);
    put_title(out, "Synopsis");
    fputs(".B hocket ", out);
    put_literal(out, command->name);
    fputc('\n', out);
    if (command->synopsis[0]) {
        put_literal(out, command->synopsis);
        fputc('\n', out);
    }
    if (command->description) {
        put_title(out, "Description");
        put_text(out, command->description);
    }
    put_options(out, command->options);
    put_sections(out, command->sections);
    put_see_also(out, command);
}

static const hk_term examples[] = {
    {"hocket run -n 4 -- ./program", "four ranks of a program on this machine"},
    {"hocket run -n 2 --backend tcp --tag-output -- ./program",
     "over TCP, with the rank before each line of output"},
    {"hocket run -n 2 -- hocket bench all --bytes 4:1M", "how long each collective takes here"},
    {"hocket help --man environment | man -l -", "this manual without its being installed"},
    {NULL, NULL},
};

static const hk_section all_sections[] = {
    {"Examples", examples},
    {NULL, NULL},
};

void hk_manual_all(FILE *out)
{
    put_head(out, "hocket", 1, "tensor programs shared by several processes");
    put_title(out, "Synopsis");
    fputs(".B hocket\n\\fICOMMAND\\fP [\\fIOPTION\\fP ...] [\\fIARGUMENT\\fP ...]\n", out);
    put_title(out, "Description");
    put_text(out, "Starts, measures and examines programs that are linked with libhocket. A "
                  "command line that makes no sense is answered by a sentence on standard error "
                  "and status 2.");
    put_title(out, "Commands");
    for (int i = 0; hk_commands[i]; i++)
        put_term(out, hk_commands[i]->name, hk_commands[i]->summary);
    put_title(out, "Options");
    put_term(out, "--version", "print the version of the library");
    put_term(out, "--help", "print help and exit");
    put_sections(out, all_sections);
    put_see_also(out, NULL);
}

void hk_manual_environment(FILE *out)
{
    put_head(out, "hocket", 7, "the environment variables of libhocket and its command");
    put_title(out, "Description");
    put_text(out, "What the configuration that a program hands to hocket_init leaves open comes "
                  "from these variables, which `hocket run` sets. An empty variable is as good as "
                  "none, but for HOCKET_SECRET. Of other launchers the first whose variables are "
                  "there counts, after hocket's own.");
    put_sections(out, hk_variables);
    fputs(".SH SEE ALSO\n.BR hocket (1),\n.BR hocket\\-run (1)\n", out);
}
