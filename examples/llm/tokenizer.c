/* A byte-pair encoder. A word begins as its bytes, each written as one character of an alphabet
 * that shows them all; then the two neighbours whose merge comes first in the list become one,
 * until no two neighbours are in the list. */
#include "tokenizer.h"

#include "fault.h"
#include "words.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, CHARACTER_MAX = 2 };
enum { NONE = -1 };

/* A piece of a text's memory. */
typedef struct piece {
    const char *text;
    size_t length;
} piece;

typedef struct merge {
    int left, right, joined; /* left NONE: an empty place of the table */
    int rank;
} merge;

struct tokenizer {
    word_rule rule;
    bool words_first; /* a word that is a token is not taken apart */
    char *memory;     /* all tokens' texts, and after them their bytes */
    piece *spelled;   /* a token as the vocabulary has it */
    piece *bytes;     /* and what it stands for */
    size_t count;
    int *by_text; /* tokens by the hash of their spelling, `places` of them, NONE where none is */
    size_t places;
    merge *merges;
    size_t merge_places;
    int *special; /* tokens that are recognised in texts */
    size_t special_count;
    int of_byte[BYTES];
    int begin, end;
};

/* === Tables ===================================================================================
 *
 * Both are filled once, to at most half, and looked through from the hash on. */

static size_t hash_text(const char *text, size_t length)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ hash >> 32);
}

static size_t hash_pair(int left, int right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (size_t)((pair * UINT64_C(0x9e3779b97f4a7c15)) >> 20);
}

static size_t places_for(size_t count)
{
    size_t places = 16;
    while (places < 2 * count)
        places *= 2;
    return places;
}

/* Where the text's token is, or would be. */
static int *place_of(const tokenizer *coder, const char *text, size_t length)
{
    for (size_t i = hash_text(text, length);; i++) {
        int *at = &coder->by_text[i % coder->places];
        if (*at == NONE || (coder->spelled[*at].length == length &&
                            memcmp(coder->spelled[*at].text, text, length) == 0))
            return at;
    }
}

static merge *merge_of(const tokenizer *coder, int left, int right)
{
    for (size_t i = hash_pair(left, right);; i++) {
        merge *at = &coder->merges[i % coder->merge_places];
        if (at->left == NONE || (at->left == left && at->right == right))
            return at;
    }
}

/* === The alphabet =============================================================================
 *
 * GPT-2 shows a byte that is a printable character of Latin-1 as that, the others as the
 * characters from U+0100 on, in their order. */

static bool is_shown_as_itself(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* code_of[byte], and byte_of[code] with NONE where no byte is shown so. */
enum { CODES = 512 };
static void make_alphabet(int code_of[BYTES], int byte_of[CODES])
{
    for (int i = 0; i < CODES; i++)
        byte_of[i] = NONE;
    int next = BYTES;
    for (int byte = 0; byte < BYTES; byte++) {
        code_of[byte] = is_shown_as_itself(byte) ? byte : next++;
        byte_of[code_of[byte]] = byte;
    }
}

static size_t write_character(int code, char text[CHARACTER_MAX])
{
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    text[0] = (char)(0xc0 | code >> 6);
    text[1] = (char)(0x80 | (code & 0x3f));
    return 2;
}

/* The bytes that a token's characters show, into bytes, which has room for as many. What is not of
 * the alphabet (in tokens that users added) stands for itself. */
static size_t unspell(const piece *spelled, const int byte_of[CODES], char *bytes)
{
    size_t length = 0;
    for (size_t i = 0; i < spelled->length; i++) {
        unsigned char first = (unsigned char)spelled->text[i];
        int code = first;
        bool pair = first >= 0xc0 && first < 0xc8 && i + 1 < spelled->length;
        if (pair)
            code = (first & 0x1f) << 6 | ((unsigned char)spelled->text[i + 1] & 0x3f);
        if ((first >= 0x80 && !pair) || byte_of[code] == NONE) {
            bytes[length++] = (char)first;
            continue;
        }
        bytes[length++] = (char)byte_of[code];
        i += pair;
    }
    return length;
}

/* === Making one =============================================================================== */

static bool find_rule(tokenizer *coder, const char *name)
{
    static const struct {
        const char *name;
        word_rule rule;
        bool words_first;
    } rules[] = {
        {"smollm", WORDS_SMOLLM, false}, {"gpt-2", WORDS_GPT2, false},
        {"gpt2", WORDS_GPT2, false},     {"llama-bpe", WORDS_LLAMA3, true},
        {"llama3", WORDS_LLAMA3, true},  {"llama-v3", WORDS_LLAMA3, true},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].name, name) == 0) {
            coder->rule = rules[i].rule;
            coder->words_first = rules[i].words_first;
            return true;
        }
    return fault("the model cuts words by the rule '%s'; known are smollm, gpt-2 and llama-bpe",
                 name);
}

/* Spelled texts and their bytes lie one after the other in one piece of memory. */
static bool take_tokens(tokenizer *coder, const vocabulary *from)
{
    size_t total = 0;
    for (size_t i = 0; i < from->token_count; i++)
        total += 2 * strlen(from->tokens[i]);
    coder->count = from->token_count;
    coder->places = places_for(coder->count);
    coder->memory = malloc(total + 1);
    coder->spelled = calloc(coder->count + 1, sizeof *coder->spelled);
    coder->bytes = calloc(coder->count + 1, sizeof *coder->bytes);
    coder->special = calloc(coder->count + 1, sizeof *coder->special);
    coder->by_text = calloc(coder->places, sizeof *coder->by_text);
    if (!coder->memory || !coder->spelled || !coder->bytes || !coder->special || !coder->by_text)
        return fault("out of memory for %zu tokens", coder->count);
    int code_of[BYTES], byte_of[CODES];
    make_alphabet(code_of, byte_of);
    for (size_t i = 0; i < coder->places; i++)
        coder->by_text[i] = NONE;
    char *at = coder->memory;
    for (size_t i = 0; i < coder->count; i++) {
        piece *spelled = &coder->spelled[i], *bytes = &coder->bytes[i];
        *spelled = (piece){at, strlen(from->tokens[i])};
        memcpy(at, from->tokens[i], spelled->length);
        at += spelled->length;
        *bytes = (piece){at, 0};
        if (from->kinds[i] != TOKEN_CONTROL)
            bytes->length = unspell(spelled, byte_of, at);
        at += bytes->length;
        if ((from->kinds[i] == TOKEN_CONTROL || from->kinds[i] == TOKEN_USER) &&
            spelled->length > 0)
            coder->special[coder->special_count++] = (int)i;
        int *place = place_of(coder, spelled->text, spelled->length);
        if (*place == NONE)
            *place = (int)i;
    }
    for (int byte = 0; byte < BYTES; byte++) {
        char text[CHARACTER_MAX];
        size_t length = write_character(code_of[byte], text);
        coder->of_byte[byte] = *place_of(coder, text, length);
    }
    return true;
}

static bool take_merges(tokenizer *coder, const vocabulary *from)
{
    coder->merge_places = places_for(from->merge_count);
    coder->merges = calloc(coder->merge_places, sizeof *coder->merges);
    if (!coder->merges)
        return fault("out of memory for %zu merges", from->merge_count);
    for (size_t i = 0; i < coder->merge_places; i++)
        coder->merges[i].left = NONE;
    for (size_t i = 0; i < from->merge_count; i++) {
        const char *text = from->merges[i], *blank = text[0] ? strchr(text + 1, ' ') : NULL;
        char joined[256];
        size_t length = strlen(text), left_length = blank ? (size_t)(blank - text) : 0;
        if (!blank || length > sizeof joined)
            return fault("merge %zu of the model, '%.100s', is not two tokens", i, text);
        memcpy(joined, text, left_length);
        memcpy(joined + left_length, blank + 1, length - left_length - 1);
        merge made = {.left = *place_of(coder, text, left_length),
                      .right = *place_of(coder, blank + 1, length - left_length - 1),
                      .joined = *place_of(coder, joined, length - 1),
                      .rank = (int)i};
        if (made.left == NONE || made.right == NONE || made.joined == NONE)
            return fault("merge %zu of the model, '%.100s', is not of its tokens", i, text);
        merge *place = merge_of(coder, made.left, made.right);
        if (place->left == NONE)
            *place = made;
    }
    return true;
}

bool tokenizer_create(const vocabulary *from, tokenizer **made)
{
    *made = NULL;
    tokenizer *coder = calloc(1, sizeof *coder);
    if (!coder)
        return fault("out of memory for a tokenizer");
    coder->begin = from->begin;
    coder->end = from->end;
    if (from->token_count > INT32_MAX / 2 || from->merge_count > INT32_MAX / 2)
        fault("%zu tokens and %zu merges are too many", from->token_count, from->merge_count);
    else if (find_rule(coder, from->words) && take_tokens(coder, from) && take_merges(coder, from))
        *made = coder;
    if (!*made)
        tokenizer_free(coder);
    return *made != NULL;
}

void tokenizer_free(tokenizer *coder)
{
    if (!coder)
        return;
    free(coder->memory);
    free(coder->spelled);
    free(coder->bytes);
    free(coder->by_text);
    free(coder->merges);
    free(coder->special);
    free(coder);
}

/* === From a file ============================================================================== */

#define KEY(name) "tokenizer.ggml." name

static bool read_texts(const hocket_gguf *file, const char *key, const char ***texts, size_t *count)
{
    *count = hocket_gguf_value_count(file, key);
    if (*count == 0)
        return fault("the model has no %s", key);
    *texts = calloc(*count, sizeof **texts);
    if (!*texts)
        return fault("out of memory for %zu texts", *count);
    for (size_t i = 0; i < *count; i++)
        TRY(hocket_gguf_text(file, key, i, &(*texts)[i], NULL));
    return true;
}

static bool read_kinds(const hocket_gguf *file, size_t count, int **kinds)
{
    size_t given = hocket_gguf_value_count(file, KEY("token_type"));
    if (given != 0 && given != count)
        return fault("the model has %zu tokens and %zu kinds of tokens", count, given);
    *kinds = calloc(count, sizeof **kinds);
    if (!*kinds)
        return fault("out of memory for %zu kinds", count);
    for (size_t i = 0; i < count; i++) {
        double kind = TOKEN_NORMAL;
        if (given > 0)
            TRY(hocket_gguf_number(file, KEY("token_type"), i, &kind));
        (*kinds)[i] = (int)kind;
    }
    return true;
}

/* A token by its number under a key; NONE when the file does not say. */
static bool read_token(const hocket_gguf *file, const char *key, int *token)
{
    double number = NONE;
    if (hocket_gguf_value_count(file, key) == 1)
        TRY(hocket_gguf_number(file, key, 0, &number));
    *token = number >= 0 && number < INT32_MAX ? (int)number : NONE;
    return true;
}

/* Whether encoded texts begin with the token for that, where the file leaves it open: as llama.cpp
 * has it, those of Llama 3. */
static bool read_begin(const hocket_gguf *file, const char *words, int *begin)
{
    double wanted = strcmp(words, "llama-bpe") == 0;
    if (hocket_gguf_value_count(file, KEY("add_bos_token")) == 1)
        TRY(hocket_gguf_number(file, KEY("add_bos_token"), 0, &wanted));
    *begin = NONE;
    return wanted == 0 || read_token(file, KEY("bos_token_id"), begin);
}

bool tokenizer_open(const hocket_gguf *file, tokenizer **made)
{
    *made = NULL;
    const char *kind = "none";
    if (hocket_gguf_value_count(file, KEY("model")) == 1)
        TRY(hocket_gguf_text(file, KEY("model"), 0, &kind, NULL));
    if (strcmp(kind, "gpt2") != 0)
        return fault("the model's tokenizer is of the kind '%s'; only gpt2's (byte-pair encoding "
                     "over bytes) is known here",
                     kind);
    const char **tokens = NULL, **merges = NULL;
    int *kinds = NULL;
    vocabulary from = {.words = "gpt-2"};
    if (hocket_gguf_value_count(file, KEY("pre")) == 1)
        TRY(hocket_gguf_text(file, KEY("pre"), 0, &from.words, NULL));
    bool ok = read_token(file, KEY("eos_token_id"), &from.end) &&
              read_begin(file, from.words, &from.begin) &&
              read_texts(file, KEY("tokens"), &tokens, &from.token_count) &&
              read_kinds(file, from.token_count, &kinds) &&
              read_texts(file, KEY("merges"), &merges, &from.merge_count);
    from.tokens = tokens;
    from.kinds = kinds;
    from.merges = merges;
    ok = ok && tokenizer_create(&from, made);
    free(tokens);
    free(kinds);
    free(merges);
    return ok;
}

/* === Encoding ================================================================================= */

typedef struct token_list {
    int *items;
    size_t count, capacity;
} token_list;

static bool append(token_list *list, const int *tokens, size_t count)
{
    if (count > list->capacity - list->count) {
        size_t capacity = 2 * (list->capacity + count);
        int *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return fault("out of memory for %zu tokens", capacity);
        list->items = items;
        list->capacity = capacity;
    }
    if (count > 0)
        memcpy(list->items + list->count, tokens, count * sizeof *tokens);
    list->count += count;
    return true;
}

/* Merges tokens[0 ... count) as far as the list of merges goes. ranks[i] is the merge of tokens i
 * and i + 1. Returns how many are left. */
static size_t join(const tokenizer *coder, int *tokens, int *ranks, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) {
        const merge *pair = merge_of(coder, tokens[i], tokens[i + 1]);
        ranks[i] = pair->left == NONE ? INT32_MAX : pair->rank;
    }
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == INT32_MAX)
            break;
        tokens[best] = merge_of(coder, tokens[best], tokens[best + 1])->joined;
        size_t rest = count - best - 2;
        memmove(tokens + best + 1, tokens + best + 2, rest * sizeof *tokens);
        if (rest > 0)
            memmove(ranks + best + 1, ranks + best + 2, (rest - 1) * sizeof *ranks);
        count--;
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < count; i++) {
            const merge *pair = merge_of(coder, tokens[i], tokens[i + 1]);
            ranks[i] = pair->left == NONE ? INT32_MAX : pair->rank;
        }
    }
    return count;
}

static bool encode_word(const tokenizer *coder, const char *word, size_t length, int *room,
                        token_list *list)
{
    int *tokens = room, *ranks = room + length;
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        tokens[count] = coder->of_byte[(unsigned char)word[i]];
        count += tokens[count] != NONE;
    }
    if (coder->words_first && count == length) {
        /* Every byte has at most CHARACTER_MAX, which is less than an int has. */
        char *spelled = (char *)ranks;
        size_t at = 0;
        for (size_t i = 0; i < length; i++) {
            piece character = coder->spelled[tokens[i]];
            memcpy(spelled + at, character.text, character.length);
            at += character.length;
        }
        int whole = *place_of(coder, spelled, at);
        if (whole != NONE)
            return append(list, &whole, 1);
    }
    return append(list, tokens, join(coder, tokens, ranks, count));
}

static bool encode_plain(const tokenizer *coder, const char *text, size_t length, int *room,
                         token_list *list)
{
    word_scan scan = {.rule = coder->rule, .text = text, .length = length};
    const char *word;
    size_t word_length;
    while (words_next(&scan, &word, &word_length))
        if (!encode_word(coder, word, word_length, room, list))
            return false;
    return true;
}

/* The longest special token that the text begins with, or NONE. */
static int special_at(const tokenizer *coder, const char *text, size_t length)
{
    int found = NONE;
    for (size_t i = 0; i < coder->special_count; i++) {
        const piece *one = &coder->spelled[coder->special[i]];
        if (one->length <= length && memcmp(one->text, text, one->length) == 0 &&
            (found == NONE || one->length > coder->spelled[found].length))
            found = coder->special[i];
    }
    return found;
}

bool tokenizer_encode(const tokenizer *coder, const char *text, int **tokens, size_t *count)
{
    size_t length = strlen(text), begin = 0;
    token_list list = {0};
    int *room = calloc(2 * length + 1, sizeof *room);
    bool ok = room || fault("out of memory for a text of %zu bytes", length);
    for (size_t at = 0; ok && at < length;) {
        int special = special_at(coder, text + at, length - at);
        if (special == NONE) {
            at++;
            continue;
        }
        ok = encode_plain(coder, text + begin, at - begin, room, &list) &&
             append(&list, &special, 1);
        at += coder->spelled[special].length;
        begin = at;
    }
    ok = ok && encode_plain(coder, text + begin, length - begin, room, &list);
    free(room);
    if (!ok) {
        free(list.items);
        list = (token_list){0};
    }
    *tokens = list.items;
    *count = list.count;
    return ok;
}

size_t tokenizer_lacking(const tokenizer *coder, const char *text)
{
    size_t length = strlen(text), lacking = 0;
    for (size_t at = 0; at < length;) {
        int special = special_at(coder, text + at, length - at);
        lacking += special == NONE && coder->of_byte[(unsigned char)text[at]] == NONE;
        at += special == NONE ? 1 : coder->spelled[special].length;
    }
    return lacking;
}

/* === Tokens as text =========================================================================== */

size_t tokenizer_count(const tokenizer *coder)
{
    return coder->count;
}

int tokenizer_find(const tokenizer *coder, const char *text)
{
    return *place_of(coder, text, strlen(text));
}

int tokenizer_begin(const tokenizer *coder)
{
    return coder->begin;
}

int tokenizer_end(const tokenizer *coder)
{
    return coder->end;
}

const char *tokenizer_text(const tokenizer *coder, int token, size_t *length)
{
    bool known = token >= 0 && (size_t)token < coder->count;
    *length = known ? coder->bytes[token].length : 0;
    return known ? coder->bytes[token].text : "";
}

size_t whole_characters(const char *bytes, size_t length)
{
    /* Only the last character can be incomplete: one that wants more bytes than follow it. */
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char c = (unsigned char)bytes[length - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t wants = c >= 0xf0 && c < 0xf8   ? 4
                       : c >= 0xe0 && c < 0xf0 ? 3
                       : c >= 0xc0 && c < 0xe0 ? 2
                                               : 1;
        return wants > back ? length - back : length;
    }
    return length;
}
