/* Text cut into words before byte-pair encoding, which joins nothing across their borders. Models
 * say by a regular expression where the borders are; these are the three that are common. */
#ifndef LLM_WORDS_H
#define LLM_WORDS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum word_rule {
    /* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
    WORDS_GPT2,
    /* Each \p{N} a word of its own, what lies between them as GPT-2 has it. */
    WORDS_SMOLLM,
    /* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
     * |\s*[\r\n]+|\s+(?!\S)|\s+ */
    WORDS_LLAMA3
} word_rule;

/* Where the text is being cut. Zero-initialised but for the first three. */
typedef struct word_scan {
    word_rule rule;
    const char *text; /* UTF-8; a byte that is none counts as a sign */
    size_t length;
    size_t at, limit;
} word_scan;

/* The next word, never empty; false at the end of the text. */
bool words_next(word_scan *scan, const char **word, size_t *length);

#endif
