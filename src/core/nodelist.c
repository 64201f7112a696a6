#include "core/nodelist.h"

#include <string.h>

#define DIGITS_MAX 9 /* of a number in brackets */

/* What a host's name may have; also keeps a comma or a colon out of the coordinator's text. */
static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

typedef struct writer {
    char *at;
    size_t left; /* with the NUL */
} writer;

static bool put(writer *to, const char *text, size_t length)
{
    if (length >= to->left)
        return false;
    memcpy(to->at, text, length);
    to->at += length;
    to->left -= length;
    *to->at = '\0';
    return true;
}

static bool take_digits(const char **at, const char **digits, size_t *length)
{
    *digits = *at;
    *length = strspn(*at, "0123456789");
    *at += *length;
    return *length > 0 && *length <= DIGITS_MAX;
}

/* After the '[': "001-010,12]". Leading zeros belong to the name. */
static bool take_brackets(const char **at, writer *to, bool *several)
{
    for (bool first = true;; first = false) {
        const char *low, *high;
        size_t low_length, high_length;
        if (!take_digits(at, &low, &low_length))
            return false;
        if (first && !put(to, low, low_length))
            return false;
        *several = *several || !first;
        if (**at == '-') {
            ++*at;
            if (!take_digits(at, &high, &high_length))
                return false;
            *several = *several || high_length != low_length || memcmp(low, high, low_length) != 0;
        }
        char end = *(*at)++;
        if (end == ']')
            return true;
        if (end != ',')
            return false;
    }
}

bool hk_nodelist_first(const char *list, char *host, size_t size, bool *several)
{
    writer to = {host, size};
    const char *at = list;
    *several = false;
    if (size == 0)
        return false;
    host[0] = '\0';
    while (*at != '\0' && *at != ',') {
        const char *name = at;
        while (is_name(*at))
            at++;
        if (!put(&to, name, (size_t)(at - name)))
            return false;
        if (*at == '[') {
            at++;
            if (!take_brackets(&at, &to, several))
                return false;
        } else if (*at != '\0' && *at != ',') {
            return false;
        }
    }
    *several = *several || (*at == ',' && at[1] != '\0');
    return host[0] != '\0';
}
