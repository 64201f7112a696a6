/* What fuzz targets share: an input is bytes that a target takes apart from the front. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer's entry, one a target; replay.c calls it too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must be true whatever the bytes were. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

/* The next bytes, at most `most`; the rest of `to` stays as it was. Returns how many there were. */
static inline size_t fuzz_take(fuzz_input *input, void *to, size_t most)
{
    size_t count = most < input->left ? most : input->left;
    if (count > 0)
        memcpy(to, input->at, count);
    input->at += count;
    input->left -= count;
    return count;
}

/* 0 at the end of the input. */
static inline uint8_t fuzz_byte(fuzz_input *input)
{
    uint8_t byte = 0;
    fuzz_take(input, &byte, 1);
    return byte;
}

static inline uint64_t fuzz_number(fuzz_input *input, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number |= (uint64_t)fuzz_byte(input) << (8 * i);
    return number;
}

/* The next bytes up to `end`, which is taken too, as a string in memory of its own length. Bytes
 * of value 0 end the string earlier. To be freed. */
static inline char *fuzz_text(fuzz_input *input, uint8_t end)
{
    const uint8_t *stop = input->left > 0 ? memchr(input->at, end, input->left) : NULL;
    size_t length = stop != NULL ? (size_t)(stop - input->at) : input->left;
    char *text = malloc(length + 1);
    if (text == NULL)
        abort();
    fuzz_take(input, text, length);
    text[length] = '\0';
    if (stop != NULL)
        fuzz_byte(input);
    size_t shown = strlen(text) + 1;
    char *exact = realloc(text, shown);
    return exact != NULL ? exact : text;
}

#endif
