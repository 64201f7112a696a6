/* Templates are programs in Jinja, which nothing here runs. ChatML's are all alike, though: a turn
 * is <|im_start|>, who speaks, a line's end, what is said, <|im_end|>, a line's end. */
#include "chat.h"

#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN "<|im_start|>"
#define END "<|im_end|>"

/* What a template says itself as the system: the first turn that is spelled out in it, with nothing
 * of Jinja in between. */
static const char *find_system(const char *template, size_t *length)
{
    static const char head[] = BEGIN "system\n";
    for (const char *at = template; (at = strstr(at, head)) != NULL;) {
        at += sizeof head - 1;
        const char *end = strstr(at, END);
        *length = end ? (size_t)(end - at) : 0;
        if (end && *length > 0 && strcspn(at, "'\"{}") >= *length)
            return at;
    }
    *length = 0;
    return "";
}

bool chat_format(const char *template, const char *prompt, char **text, bool *known)
{
    *known = template && strstr(template, BEGIN);
    if (!*known) {
        *text = strdup(prompt);
        return *text || fault("out of memory for the prompt");
    }
    size_t system_length;
    const char *system = find_system(template, &system_length);
    const char *system_head = system_length > 0 ? BEGIN "system\n" : "";
    const char *system_end = system_length > 0 ? END "\n" : "";
    static const char user_head[] = BEGIN "user\n", user_end[] = END "\n" BEGIN "assistant\n";
    size_t size = strlen(system_head) + system_length + strlen(system_end) + sizeof user_head +
                  strlen(prompt) + sizeof user_end;
    *text = malloc(size);
    if (!*text)
        return fault("out of memory for the prompt");
    snprintf(*text, size, "%s%.*s%s%s%s%s", system_head, (int)system_length, system, system_end,
             user_head, prompt, user_end);
    return true;
}
