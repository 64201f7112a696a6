#include "words.h"

#include <stdint.h>
#include <string.h>

typedef struct unicode_range {
    uint32_t first, last;
} unicode_range;

#include "unicode_classes.h"

typedef enum class { LETTER, NUMBER, SPACE, SIGN, END } class;

static bool is_in(const unicode_range *ranges, size_t count, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && code >= ranges[low].first;
}

static bool is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || code == ' ' || code == 0x85 || code == 0xa0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

/* The character at the start of text and its bytes; a byte that begins none is one, of no class. */
static uint32_t decode(const char *text, size_t length, size_t *bytes)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t need = c[0] < 0x80       ? 1
                  : c[0] >> 5 == 6  ? 2
                  : c[0] >> 4 == 14 ? 3
                  : c[0] >> 3 == 30 ? 4
                                    : 0;
    uint32_t code = need == 1 ? c[0] : c[0] & (0x7fu >> need);
    *bytes = 1;
    if (need == 0 || need > length)
        return 0;
    for (size_t i = 1; i < need; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (c[i] & 0x3f);
    }
    *bytes = need;
    return code;
}

/* What is at `at`, and in *next where it ends. */
static class look(const word_scan *scan, size_t at, size_t *next)
{
    *next = at;
    if (at >= scan->limit)
        return END;
    size_t bytes;
    uint32_t code = decode(scan->text + at, scan->limit - at, &bytes);
    *next = at + bytes;
    if (is_space(code))
        return SPACE;
    if (is_in(letters, sizeof letters / sizeof *letters, code))
        return LETTER;
    return is_in(numbers, sizeof numbers / sizeof *numbers, code) ? NUMBER : SIGN;
}

/* The end of the run of at most `most` characters of a class that begins at `at`. */
static size_t run(const word_scan *scan, size_t at, class wanted, size_t most)
{
    size_t next;
    for (; most > 0 && look(scan, at, &next) == wanted; most--)
        at = next;
    return at;
}

static bool is_newline(const word_scan *scan, size_t at)
{
    return at < scan->limit && (scan->text[at] == '\n' || scan->text[at] == '\r');
}

/* The bytes of an English ending such as 've at `at`, or 0. */
static size_t contraction(const word_scan *scan, size_t at, bool any_case)
{
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t length = strlen(endings[i]), same = 0;
        if (length > scan->limit - at)
            continue;
        for (; same < length; same++) {
            char c = scan->text[at + same];
            if (any_case && c >= 'A' && c <= 'Z')
                c = (char)(c - 'A' + 'a');
            if (c != endings[i][same])
                break;
        }
        if (same == length)
            return length;
    }
    return 0;
}

/* \s+(?!\S)|\s+: the blanks before a word leave it their last one, if they are several. */
static size_t blanks(const word_scan *scan, size_t at)
{
    size_t end = at, last = at, next;
    while (look(scan, end, &next) == SPACE) {
        last = end;
        end = next;
    }
    return end < scan->limit && last > at ? last : end;
}

static size_t gpt2_word(const word_scan *scan, size_t at)
{
    size_t ending = contraction(scan, at, false);
    if (ending > 0)
        return at + ending;
    size_t next, start = scan->text[at] == ' ' ? at + 1 : at;
    class kind = look(scan, start, &next);
    if (kind == SPACE || kind == END)
        return blanks(scan, at);
    return run(scan, start, kind, SIZE_MAX);
}

/* The end of the longest \s*[\r\n]+ at `at`, or `at`. */
static size_t line_ends(const word_scan *scan, size_t at)
{
    size_t end = at, next;
    for (size_t i = at; look(scan, i, &next) == SPACE; i = next)
        if (is_newline(scan, i))
            end = next;
    return end;
}

static size_t llama3_word(const word_scan *scan, size_t at)
{
    enum { DIGITS = 3 };
    size_t next, after, ending = contraction(scan, at, true);
    if (ending > 0)
        return at + ending;
    class kind = look(scan, at, &next);
    if (kind == LETTER)
        return run(scan, at, LETTER, SIZE_MAX);
    if (kind != NUMBER && !is_newline(scan, at) && look(scan, next, &after) == LETTER)
        return run(scan, next, LETTER, SIZE_MAX);
    if (kind == NUMBER)
        return run(scan, at, NUMBER, DIGITS);
    size_t start = scan->text[at] == ' ' ? at + 1 : at;
    if (look(scan, start, &next) == SIGN) {
        size_t end = run(scan, start, SIGN, SIZE_MAX);
        while (is_newline(scan, end))
            end++;
        return end;
    }
    size_t end = line_ends(scan, at);
    return end > at ? end : blanks(scan, at);
}

/* With digits that stand alone, all rules see the text up to the next one as if it ended there. */
static size_t next_limit(word_scan *scan)
{
    size_t at = scan->at, next;
    scan->limit = scan->length;
    if (scan->rule != WORDS_SMOLLM)
        return scan->length;
    class kind = look(scan, at, &next);
    if (kind == NUMBER)
        return next;
    for (; kind != NUMBER && kind != END; kind = look(scan, at, &next))
        at = next;
    return at;
}

bool words_next(word_scan *scan, const char **word, size_t *length)
{
    if (scan->at >= scan->length)
        return false;
    if (scan->at >= scan->limit)
        scan->limit = next_limit(scan);
    size_t end =
        scan->rule == WORDS_LLAMA3 ? llama3_word(scan, scan->at) : gpt2_word(scan, scan->at);
    *word = scan->text + scan->at;
    *length = end - scan->at;
    scan->at = end;
    return true;
}
