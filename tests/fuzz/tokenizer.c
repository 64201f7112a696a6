/* Any text through the tokenizer of examples/llm, with a vocabulary of all bytes, some merges and
 * special tokens, under each rule for words: its tokens are the text again. */
#include "fault.h"
#include "tokenizer.h"
#include "input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256 };

static tokenizer *make(const char *rule)
{
    static char spelled[BYTES][3];
    static const char *tokens[BYTES + 8];
    static int kinds[BYTES + 8];
    static const char *const more[] = {"th", "the",   "\xc4\xa0t", "\xc4\xa0the",
                                       "11", "<|x|>", "<|",        "|>"};
    static const char *const merges[] = {"t h", "th e", "\xc4\xa0 t", "\xc4\xa0 the", "1 1"};
    int next = BYTES;
    for (int byte = 0; byte < BYTES; byte++) {
        bool shown = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        int code = shown ? byte : next++;
        if (code < 0x80)
            snprintf(spelled[byte], 3, "%c", code);
        else
            snprintf(spelled[byte], 3, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 0x3f));
        tokens[byte] = spelled[byte];
        kinds[byte] = TOKEN_NORMAL;
    }
    for (int i = 0; i < 8; i++) {
        tokens[BYTES + i] = more[i];
        kinds[BYTES + i] = i < 5 ? TOKEN_NORMAL : TOKEN_USER;
    }
    const vocabulary from = {rule, tokens, kinds, BYTES + 8, merges, 5, -1, -1};
    tokenizer *made;
    FUZZ_CHECK(tokenizer_create(&from, &made));
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tokenizer *coders[3];
    static const char *const rules[] = {"gpt-2", "smollm", "llama-bpe"};
    char *text = malloc(size + 1);
    FUZZ_CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    for (int rule = 0; rule < 3; rule++) {
        if (!coders[rule])
            coders[rule] = make(rules[rule]);
        int *tokens;
        size_t count, at = 0, length;
        FUZZ_CHECK(tokenizer_encode(coders[rule], text, &tokens, &count));
        for (size_t i = 0; i < count; i++) {
            const char *bytes = tokenizer_text(coders[rule], tokens[i], &length);
            FUZZ_CHECK(length > 0 && length <= strlen(text) - at);
            FUZZ_CHECK(memcmp(text + at, bytes, length) == 0);
            at += length;
        }
        FUZZ_CHECK(at == strlen(text));
        FUZZ_CHECK(whole_characters(text, at) <= at && at - whole_characters(text, at) < 4);
        free(tokens);
    }
    free(text);
    return 0;
}
