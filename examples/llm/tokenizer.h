/* Text to tokens and back: byte-pair encoding over GPT-2's byte alphabet, with the vocabulary and
 * the merges of a GGUF file. */
#ifndef LLM_TOKENIZER_H
#define LLM_TOKENIZER_H

#include <hocket/mlx.h>

typedef struct tokenizer tokenizer;

/* GGUF's kinds of tokens that matter here. */
enum { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_USER = 4 };

/* What a file says of its tokenizer. Texts need not outlive tokenizer_create. */
typedef struct vocabulary {
    const char *words; /* rule for words by the file's name for it: "smollm", "gpt-2", ... */
    const char *const *tokens;
    const int *kinds;
    size_t token_count;
    const char *const *merges; /* "left right", the most important first */
    size_t merge_count;
    int begin, end; /* the tokens of a text's begin, which encoded texts want, and end; -1: none */
} vocabulary;

/* Fails on an unknown rule, and on merges of what is no token. */
bool tokenizer_create(const vocabulary *from, tokenizer **made);
/* From tokenizer.ggml.* of a file, which may be closed then. */
bool tokenizer_open(const hocket_gguf *file, tokenizer **made);
void tokenizer_free(tokenizer *coder); /* NULL is fine */

size_t tokenizer_count(const tokenizer *coder);
/* The token of exactly this text, -1 when there is none. */
int tokenizer_find(const tokenizer *coder, const char *text);

/* -1 when there is none. */
int tokenizer_begin(const tokenizer *coder);
int tokenizer_end(const tokenizer *coder);

/* *tokens is the caller's to free, *count how many there are. Special tokens (<|im_start|>) are
 * recognised in the text, none is added. A byte that the vocabulary has no token for is left out,
 * as other implementations do: SmolLM2's has none for some control characters. */
bool tokenizer_encode(const tokenizer *coder, const char *text, int **tokens, size_t *count);
/* How many bytes of the text that are. */
size_t tokenizer_lacking(const tokenizer *coder, const char *text);

/* The bytes that a token stands for, which need not be whole characters; none for control tokens.
 * They live as long as the tokenizer. */
const char *tokenizer_text(const tokenizer *coder, int token, size_t *length);

/* How many of these bytes are whole characters; the rest may be completed by what follows. Bytes
 * that can never be a character count as whole. */
size_t whole_characters(const char *bytes, size_t length);

#endif
