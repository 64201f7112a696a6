/* The tokenizer of examples/llm against the tokens that another implementation made of the same
 * texts (tests/golden/llm_tokens.py), with a real vocabulary. */
#include "mlx_help.h"

#include "fault.h"
#include "tokenizer.h"
#include "words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { LINE_MAX_BYTES = 4096, TEXTS_MIN = 90 };

static hocket_gguf *file;

/* === With a vocabulary made by hand =========================================================== */

static const char *const few_tokens[] = {"a",  "b",   "c",    "ab",      "abc",
                                         "bc", "<x>", "<xy>", "\xc4\xa0"};
static const int few_kinds[] = {1, 1, 1, 1, 1, 1, TOKEN_CONTROL, TOKEN_USER, 1};
static const char *const few_merges[] = {"b c", "a b", "a bc"};

static vocabulary few(void)
{
    return (vocabulary){"gpt-2", few_tokens, few_kinds, 9, few_merges, 3, -1, -1};
}

static void expect_tokens(const tokenizer *coder, const char *text, const int *wanted, size_t count)
{
    int *tokens;
    size_t got;
    if (!tokenizer_encode(coder, text, &tokens, &got))
        fail_msg("'%s': %s", text, fault_text());
    for (size_t i = 0; i < got && i < count; i++)
        if (tokens[i] != wanted[i])
            fail_msg("'%s': token %zu is %d, not %d", text, i, tokens[i], wanted[i]);
    if (got != count)
        fail_msg("'%s': %zu tokens, not %zu", text, got, count);
    free(tokens);
}

static void the_first_merge_of_the_list_goes_first(void **state)
{
    (void)state;
    tokenizer *coder;
    const vocabulary from = few();
    assert_true(tokenizer_create(&from, &coder));
    expect_tokens(coder, "abc", (const int[]){4}, 1);
    expect_tokens(coder, "abab", (const int[]){3, 3}, 2);
    expect_tokens(coder, "a bc", (const int[]){0, 8, 5}, 3);
    expect_tokens(coder, "", NULL, 0);
    tokenizer_free(coder);
}

static void special_tokens_are_recognised_the_longest_first(void **state)
{
    (void)state;
    tokenizer *coder;
    const vocabulary from = few();
    assert_true(tokenizer_create(&from, &coder));
    expect_tokens(coder, "a<x>b<xy>c", (const int[]){0, 6, 1, 7, 2}, 5);
    size_t length;
    tokenizer_text(coder, 6, &length);
    assert_int_equal(length, 0);
    assert_memory_equal(tokenizer_text(coder, 7, &length), "<xy>", 4);
    assert_memory_equal(tokenizer_text(coder, 8, &length), " ", 1);
    assert_int_equal(length, 1);
    tokenizer_text(coder, 9, &length);
    assert_int_equal(length, 0);
    assert_int_equal(tokenizer_find(coder, "abc"), 4);
    assert_int_equal(tokenizer_find(coder, "abd"), -1);
    tokenizer_free(coder);
}

static void damaged_vocabularies_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"a d", "ab", "", " ", "a ", "b b"};
    tokenizer *coder;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vocabulary from = few();
        from.merges = &bad[i];
        from.merge_count = 1;
        assert_false(tokenizer_create(&from, &coder));
        assert_non_null(strstr(fault_text(), "merge 0"));
        assert_null(coder);
    }
    vocabulary from = few();
    from.words = "of-tomorrow";
    assert_false(tokenizer_create(&from, &coder));
    assert_non_null(strstr(fault_text(), "of-tomorrow"));
}

static void bytes_without_a_token_are_left_out(void **state)
{
    (void)state;
    static const char *const rules[] = {"gpt-2", "smollm", "llama-bpe"};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        tokenizer *coder;
        vocabulary from = few();
        from.words = rules[i];
        assert_true(tokenizer_create(&from, &coder));
        expect_tokens(coder, "adbc\xff<x>d", (const int[]){4, 6}, 2);
        expect_tokens(coder, "\x1d", NULL, 0);
        assert_int_equal(tokenizer_lacking(coder, "adbc\xff<x>d"), 3);
        assert_int_equal(tokenizer_lacking(coder, "abc"), 0);
        tokenizer_free(coder);
    }
}

static void incomplete_characters_are_held_back(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t whole;
    } cases[] = {{"", 0},
                 {"ab", 2},
                 {"a\xc3", 1},
                 {"a\xc3\xa9", 3},
                 {"\xe2\x82", 0},
                 {"\xe2", 0},
                 {"\xe2\x82\xac", 3},
                 {"\xf0\x9f\x98", 0},
                 {"x\xf0\x9f", 1},
                 {"\x80\x80", 2},
                 {"\xff", 1},
                 {"\xf0\x9f\x98\x80", 4},
                 {"\x80\x80\x80\x80", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(whole_characters(cases[i].bytes, strlen(cases[i].bytes)), cases[i].whole);
}

static void words_cover_any_bytes(void **state)
{
    (void)state;
    uint32_t random = 1;
    char text[257];
    for (int round = 0; round < 20000; round++) {
        static const char bytes[] = "a1 \n\r'sLl.\xc3\xa9\xd9\xa3\xe2\x82\xf0\xff\x80";
        size_t length = (random = random * 1103515245u + 12345u) >> 24;
        for (size_t i = 0; i < length; i++)
            text[i] = bytes[((random = random * 1103515245u + 12345u) >> 16) % (sizeof bytes - 1)];
        word_scan scan = {.rule = (word_rule)(round % 3), .text = text, .length = length};
        const char *word;
        size_t at = 0, word_length;
        while (words_next(&scan, &word, &word_length)) {
            assert_ptr_equal(word, text + at);
            assert_true(word_length > 0 && word_length <= length - at);
            at += word_length;
        }
        assert_int_equal(at, length);
    }
}

/* === With a real one ========================================================================== */

static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '\\') {
            *to++ = *from;
            continue;
        }
        from++;
        *to++ = *from == 'n' ? '\n' : *from == 't' ? '\t' : *from == 'r' ? '\r' : *from;
    }
    *to = '\0';
}

static const char **texts_of(const char *key, size_t *count)
{
    *count = hocket_gguf_value_count(file, key);
    const char **texts = calloc(*count, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0; i < *count; i++)
        OK(hocket_gguf_text(file, key, i, &texts[i], NULL));
    return texts;
}

/* The file's vocabulary, under another rule for words than its own. */
static tokenizer *under_rule(const char *rule)
{
    vocabulary from = {.words = rule, .begin = -1, .end = -1};
    from.tokens = texts_of("tokenizer.ggml.tokens", &from.token_count);
    from.merges = texts_of("tokenizer.ggml.merges", &from.merge_count);
    int *kinds = calloc(from.token_count, sizeof *kinds);
    assert_non_null(kinds);
    for (size_t i = 0; i < from.token_count; i++) {
        double kind;
        OK(hocket_gguf_number(file, "tokenizer.ggml.token_type", i, &kind));
        kinds[i] = (int)kind;
    }
    from.kinds = kinds;
    tokenizer *coder;
    if (!tokenizer_create(&from, &coder))
        fail_msg("%s", fault_text());
    free(kinds);
    free((void *)from.tokens);
    free((void *)from.merges);
    return coder;
}

static size_t parse_tokens(const char *text, int *tokens, size_t capacity)
{
    size_t count = 0;
    for (char *end; *text; text = *end ? end + 1 : end) {
        assert_true(count < capacity);
        tokens[count++] = (int)strtol(text, &end, 10);
    }
    return count;
}

static void tokens_are_those_of_another_implementation(void **state)
{
    (void)state;
    static const char *const rules[] = {"smollm", "gpt-2", "llama-bpe"};
    tokenizer *coders[3];
    coders[0] = NULL;
    if (!tokenizer_open(file, &coders[0]))
        fail_msg("%s", fault_text());
    coders[1] = under_rule(rules[1]);
    coders[2] = under_rule(rules[2]);
    FILE *golden = fopen("tests/golden/llm-tokens.txt", "r");
    assert_non_null(golden);
    char line[LINE_MAX_BYTES];
    int lines = 0;
    for (; fgets(line, sizeof line, golden); lines++) {
        line[strcspn(line, "\n")] = '\0';
        char *ids = strchr(line, '\t'), *text = ids ? strchr(ids + 1, '\t') : NULL;
        assert_non_null(text);
        *ids++ = *text++ = '\0';
        unescape(text);
        int rule = 0, wanted[LINE_MAX_BYTES / 2];
        while (strcmp(line, rules[rule]) != 0)
            rule++;
        size_t count = parse_tokens(ids, wanted, LINE_MAX_BYTES / 2);
        expect_tokens(coders[rule], text, wanted, count);
    }
    fclose(golden);
    assert_true(lines >= TEXTS_MIN);
    for (int i = 0; i < 3; i++)
        tokenizer_free(coders[i]);
}

static void text_comes_back(void **state)
{
    (void)state;
    tokenizer *coder;
    assert_true(tokenizer_open(file, &coder));
    static const char text[] = "Grüße, 日本 😀\n\t x86_64 'tis 1984\x01\x7f";
    char back[sizeof text];
    size_t at = 0, count;
    int *tokens;
    assert_true(tokenizer_encode(coder, text, &tokens, &count));
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *bytes = tokenizer_text(coder, tokens[i], &length);
        assert_true(length < sizeof back - at);
        memcpy(back + at, bytes, length);
        at += length;
    }
    back[at] = '\0';
    assert_string_equal(back, text);
    free(tokens);
    tokenizer_free(coder);
}

int main(void)
{
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(the_first_merge_of_the_list_goes_first),
        cmocka_unit_test(special_tokens_are_recognised_the_longest_first),
        cmocka_unit_test(damaged_vocabularies_are_refused),
        cmocka_unit_test(bytes_without_a_token_are_left_out),
        cmocka_unit_test(incomplete_characters_are_held_back),
        cmocka_unit_test(words_cover_any_bytes),
    };
    int failures = cmocka_run_group_tests_name("llm_tokenizer", alone, NULL, NULL);
    if (failures > 0)
        return failures;
    if (!mlx_is_built())
        return 77;
    if (system("scripts/model.sh >&2") != 0) {
        printf("skipped the rest: the model cannot be downloaded\n");
        return 77;
    }
    OK(hocket_gguf_open(".deps/models/smollm2.gguf", &file));
    const struct CMUnitTest real[] = {
        cmocka_unit_test(tokens_are_those_of_another_implementation),
        cmocka_unit_test(text_comes_back),
    };
    failures = cmocka_run_group_tests_name("llm_tokenizer with SmolLM2", real, NULL, NULL);
    hocket_gguf_close(file);
    return failures;
}
