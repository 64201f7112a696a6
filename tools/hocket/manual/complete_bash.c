/* The completion for bash, 3.2 and later, with or without the package bash-completion. */
#include "manual/complete.h"

#include <hocket/hocket.h>

/* What does not depend on the tables. bash splits words at '=' and ':', which values contain; so
 * _hocket_split puts together what stands together in the line. */
static const char *const functions[] = {
    "# Fills given with the words up to the cursor, and starts with where in COMP_WORDS each "
    "begins.",
    "_hocket_split()",
    "{",
    "    local rest=${COMP_LINE:0:COMP_POINT} trimmed piece i last=-1",
    "    for ((i = 0; i <= COMP_CWORD; i++)); do",
    "        piece=${COMP_WORDS[i]}",
    "        trimmed=${rest#\"${rest%%[![:space:]]*}\"}",
    "        if [ $i = 0 ] || [ \"$rest\" != \"$trimmed\" ]; then",
    "            last=$((last + 1))",
    "            starts[last]=$i",
    "            given[last]=",
    "        fi",
    "        [ $i = $COMP_CWORD ] && piece=$trimmed",
    "        given[last]+=$piece",
    "        rest=${trimmed#\"$piece\"}",
    "    done",
    "}",
    "",
    "# Offers what kind and words say for the beginning $1 of a word. Of what bash takes for words "
    "of",
    "# their own, it wants the last one alone.",
    "_hocket_offer()",
    "{",
    "    local begun=${1%\"${1##*[=:]}\"} reply",
    "    while IFS= read -r reply; do",
    "        COMPREPLY+=(\"${reply#\"$begun\"}\")",
    "    done < <(",
    "        [ -z \"$words\" ] || compgen -W \"$words\" -- \"$1\"",
    "        case $kind in",
    "            files) compgen -f -- \"$1\" ;;",
    "            folders) compgen -d -- \"$1\" ;;",
    "            program) { compgen -c -- \"$1\"; compgen -f -- \"$1\"; } | sort -u ;;",
    "        esac",
    "    )",
    "    case $kind in",
    "        files | folders | program) type compopt >/dev/null 2>&1 && compopt -o filenames ;;",
    "    esac",
    "}",
    "",
    "# The program of `hocket run` has completions of its own; $1 is where it stands in given.",
    "_hocket_program()",
    "{",
    "    if declare -F _command_offset >/dev/null; then",
    "        _command_offset \"${starts[$1]}\"",
    "    else",
    "        kind=files words= _hocket_offer \"$cur\"",
    "    fi",
    "}",
    "",
    "# Completes the word cur of the command that stands at $1 in given.",
    "_hocket_command()",
    "{",
    "    local command=${given[$1]} kind words at word",
    "    for ((at = $1 + 1; at < last; at++)); do",
    "        word=${given[at]}",
    "        case $word in",
    "            --) break ;;",
    "            --*=*) ;;",
    "            -?*)",
    "                if _hocket_table \"$command\" \"$word\" && [ \"$kind\" != flag ]; then",
    "                    at=$((at + 1))",
    "                    [ $at -lt $last ] || { _hocket_offer \"$cur\"; return; }",
    "                fi",
    "                ;;",
    "            *)",
    "                _hocket_table \"$command\" '' || return",
    "                [ \"$kind\" != program ] || break",
    "                ;;",
    "        esac",
    "    done",
    "    if [ $at -lt $last ]; then # the options have ended",
    "        [ \"${given[at]}\" != -- ] || at=$((at + 1))",
    "        if [ $at -lt $last ] && [ \"${given[at]##*/}\" = hocket ]; then",
    "            _hocket_at $((at + 1))",
    "            return",
    "        elif [ $at -lt $last ]; then",
    "            _hocket_program $at",
    "            return",
    "        fi",
    "    elif [[ $cur == --*=* ]]; then",
    "        _hocket_table \"$command\" \"${cur%%=*}\" && _hocket_offer \"${cur#*=}\"",
    "        return",
    "    elif [[ $cur == -* ]]; then",
    "        kind=other words=$(_hocket_options \"$command\")",
    "        _hocket_offer \"$cur\"",
    "        return",
    "    fi",
    "    _hocket_table \"$command\" '' && _hocket_offer \"$cur\"",
    "}",
    "",
    "# Completes cur after a `hocket` that stands before $1 in given.",
    "_hocket_at()",
    "{",
    "    local kind=other words",
    "    if [ $1 -lt $last ]; then",
    "        _hocket_command $1",
    "    else",
    "        words=$(_hocket_options '')",
    "        _hocket_offer \"$cur\"",
    "    fi",
    "}",
    "",
    "_hocket()",
    "{",
    "    local given=() starts=() last cur",
    "    COMPREPLY=()",
    "    _hocket_split",
    "    last=$((${#given[@]} - 1))",
    "    cur=${given[last]}",
    "    _hocket_at 1",
    "}",
    "",
    "complete -F _hocket hocket",
    NULL,
};

static const char *dashes(const hk_option *option)
{
    return option->name[1] ? "--" : "-";
}

static void put_completion(FILE *out, const hk_completion *completion)
{
    const char *kind = completion->files     ? "files"
                       : completion->folders ? "folders"
                       : completion->program ? "program"
                                             : "other";
    fprintf(out, ") kind=%s words='%s' ;;\n", kind, completion->words);
}

/* None of the names holds a character that is special between quotes. */
static void put_table(FILE *out)
{
    hk_completion completion;
    fprintf(out,
            "# Sets kind and words to what the option $2 of the command $1 takes, or the words "
            "beside\n# its options where $2 is empty. Fails where there is no such option.\n"
            "_hocket_table()\n{\n    case \"$1 $2\" in\n");
    for (int i = 0; hk_commands[i]; i++) {
        const hk_command *command = hk_commands[i];
        hk_completion_of_words(command, &completion);
        fprintf(out, "        '%s '", command->name);
        put_completion(out, &completion);
        for (const hk_option *option = command->options; option->name; option++) {
            fprintf(out, "        '%s %s%s'", command->name, dashes(option), option->name);
            if (option->kind == HK_OPTION_FLAG) {
                fprintf(out, ") kind=flag words= ;;\n");
                continue;
            }
            hk_completion_of_value(option->value, &completion);
            put_completion(out, &completion);
        }
    }
    fprintf(out, "        *) return 1 ;;\n    esac\n}\n\n");
}

static void put_options(FILE *out)
{
    fprintf(out, "# The options of the command $1; the commands where it is empty.\n"
                 "_hocket_options()\n{\n    case $1 in\n        '') echo '");
    for (int i = 0; hk_commands[i]; i++)
        fprintf(out, "%s ", hk_commands[i]->name);
    fprintf(out, "--version --help' ;;\n");
    for (int i = 0; hk_commands[i]; i++) {
        fprintf(out, "        %s) echo '", hk_commands[i]->name);
        for (const hk_option *option = hk_commands[i]->options; option->name; option++)
            fprintf(out, "%s%s ", dashes(option), option->name);
        fprintf(out, "--help' ;;\n");
    }
    fprintf(out, "    esac\n}\n\n");
}

void hk_complete_bash(FILE *out)
{
    fprintf(out, "# bash completion for hocket %s. Printed by `hocket help --complete bash`.\n\n",
            hocket_version());
    put_table(out);
    put_options(out);
    for (int i = 0; functions[i]; i++)
        fprintf(out, "%s\n", functions[i]);
}
