/* GGUF files: what is in them comes out, whole and in parts; what is no such file, cut off or
 * damaged is an error and nothing worse. */
#include "mlx_help.h"

#include <hocket/mlx.h>

#include <errno.h>
#include <math.h>
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

/* === A file made by hand ====================================================================== */

enum { FILE_MAX = 8192, ALIGNMENT = 32, PLAIN_ROWS = 3, PLAIN_COLUMNS = 5 };
enum { PACKED_ROWS = 4, PACKED_COLUMNS = 64, GROUP = 32 };
enum { U8 = 0, U32 = 4, I32 = 5, F32 = 6, BOOLEAN = 7, STRING = 8, ARRAY = 9, F64 = 12 };
enum { KIND_F32 = 0, KIND_Q4_1 = 3 };

typedef struct image {
    unsigned char bytes[FILE_MAX];
    size_t length;
    /* Where things lie: values, and what describes the last tensor. */
    size_t alignment_at, count_at, rank_at, dimension_at, kind_at;
} image;

static char path[64];

static void put(image *to, const void *bytes, size_t length)
{
    assert_true(to->length + length <= sizeof to->bytes);
    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
}

static void put_number(image *to, size_t bytes, uint64_t number)
{
    for (size_t i = 0; i < bytes; i++)
        put(to, &(unsigned char){(unsigned char)(number >> (8 * i))}, 1);
}

static void put_text(image *to, const char *text, size_t length)
{
    put_number(to, 8, length);
    put(to, text, length);
}

static void put_key(image *to, const char *name, uint32_t type)
{
    put_text(to, name, strlen(name));
    put_number(to, 4, type);
}

static void pad(image *to)
{
    while (to->length % ALIGNMENT != 0)
        put(to, "", 1);
}

static float plain_value(int row, int column)
{
    return (float)(10 * row + column) - 7.5f;
}

static unsigned packed_digit(int row, int column)
{
    return (unsigned)(3 * row + column) % 16;
}

/* Scale 0.5 and bias -1, 2 or 4, by row and group: exact in halves. */
static float packed_value(int row, int column)
{
    float bias = column < GROUP ? -1.0f : row % 2 ? 2.0f : 4.0f;
    return 0.5f * (float)packed_digit(row, column) + bias;
}

static void put_packed(image *to)
{
    for (int row = 0; row < PACKED_ROWS; row++) {
        for (int first = 0; first < PACKED_COLUMNS; first += GROUP) {
            unsigned bias = first == 0 ? 0xbc00 : row % 2 ? 0x4000 : 0x4400;
            put_number(to, 2, 0x3800);
            put_number(to, 2, bias);
            for (int i = 0; i < GROUP / 2; i++)
                put_number(to, 1,
                           packed_digit(row, first + i) | packed_digit(row, first + i + GROUP / 2)
                                                              << 4);
        }
    }
}

static void put_tensor(image *to, const char *name, uint64_t rows, uint64_t columns, uint32_t kind,
                       uint64_t offset)
{
    put_text(to, name, strlen(name));
    to->rank_at = to->length;
    put_number(to, 4, 2);
    to->dimension_at = to->length;
    put_number(to, 8, columns);
    put_number(to, 8, rows);
    to->kind_at = to->length;
    put_number(to, 4, kind);
    put_number(to, 8, offset);
}

static image make_image(void)
{
    image made = {.length = 0};
    put(&made, "GGUF", 4);
    put_number(&made, 4, 3);
    put_number(&made, 8, 2); /* tensors */
    put_number(&made, 8, 6); /* keys */
    put_key(&made, "general.alignment", U32);
    made.alignment_at = made.length;
    put_number(&made, 4, ALIGNMENT);
    put_key(&made, "name", STRING);
    put_text(&made, "a\0b", 3);
    put_key(&made, "epsilon", F32);
    put(&made, &(float){0.25f}, 4);
    put_key(&made, "add_bos", BOOLEAN);
    put_number(&made, 1, 1);
    put_key(&made, "tokens", ARRAY);
    put_number(&made, 4, STRING);
    made.count_at = made.length;
    put_number(&made, 8, 3);
    put_text(&made, "one", 3);
    put_text(&made, "", 0);
    put_text(&made, "three", 5);
    put_key(&made, "types", ARRAY);
    put_number(&made, 4, I32);
    put_number(&made, 8, 3);
    put_number(&made, 4, 1);
    put_number(&made, 4, (uint32_t)-2);
    put_number(&made, 4, 3);
    size_t plain_bytes = PLAIN_ROWS * PLAIN_COLUMNS * sizeof(float);
    size_t packed_at = (plain_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    put_tensor(&made, "packed.weight", PACKED_ROWS, PACKED_COLUMNS, KIND_Q4_1, packed_at);
    put_tensor(&made, "plain", PLAIN_ROWS, PLAIN_COLUMNS, KIND_F32, 0);
    pad(&made);
    for (int i = 0; i < PLAIN_ROWS * PLAIN_COLUMNS; i++)
        put(&made, &(float){plain_value(i / PLAIN_COLUMNS, i % PLAIN_COLUMNS)}, sizeof(float));
    pad(&made);
    put_packed(&made);
    return made;
}

static void write_file(const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static hocket_gguf *open_image(void)
{
    image made = make_image();
    write_file(made.bytes, made.length);
    hocket_gguf *file;
    OK(hocket_gguf_open(path, &file));
    return file;
}

/* === What comes out =========================================================================== */

static void arrays_have_names_and_types(void **state)
{
    (void)state;
    const char *names[] = {"packed.biases", "packed.scales", "packed.weight", "plain"};
    const char *stored[] = {"float16[4,2]", "float16[4,2]", "uint32[4,8]", "float32[3,5]"};
    const char *floats[] = {"float32[4,2]", "float32[4,2]", "float32[4,64]", "float32[3,5]"};
    hocket_gguf *file = open_image();
    assert_int_equal(hocket_gguf_count(file), 4);
    for (size_t i = 0; i < 4; i++) {
        char text[64];
        hocket_type type;
        assert_string_equal(hocket_gguf_name(file, i), names[i]);
        OK(hocket_gguf_type(file, names[i], HOCKET_GGUF_STORED, &type));
        assert_string_equal(hocket_type_text(&type, text, sizeof text), stored[i]);
        OK(hocket_gguf_type(file, names[i], HOCKET_GGUF_FLOAT32, &type));
        assert_string_equal(hocket_type_text(&type, text, sizeof text), floats[i]);
    }
    assert_null(hocket_gguf_name(file, 4));
    hocket_gguf_close(file);
}

/* Every part of an array along an axis, against the function that made the values. */
static void check_parts(const hocket_gguf *file, const char *name, int rows, int columns, int axis,
                        float (*value)(int, int))
{
    const int length = axis == 0 ? rows : columns;
    for (int start = 0; start <= length; start += 1 + length / 7) {
        for (int stop = start; stop <= length; stop += 1 + length / 7) {
            hocket_gguf_part part = {.axis = axis - 2 * (start % 2), .start = start, .stop = stop};
            hocket_tensor *tensor;
            OK(hocket_gguf_tensor(file, name, HOCKET_GGUF_FLOAT32, &part, &tensor));
            int height = axis == 0 ? stop - start : rows;
            int width = axis == 1 ? stop - start : columns;
            float read[PACKED_ROWS * PACKED_COLUMNS];
            size_t bytes = (size_t)(height * width) * sizeof read[0];
            OK(hocket_tensor_read(tensor, read, bytes));
            for (int i = 0; i < height * width; i++) {
                int row = i / width + (axis == 0 ? start : 0);
                int column = i % width + (axis == 1 ? start : 0);
                assert_true(read[i] == value(row, column));
            }
            hocket_tensor_free(tensor);
        }
    }
}

static void parts_of_arrays_have_their_values(void **state)
{
    (void)state;
    hocket_gguf *file = open_image();
    for (int axis = 0; axis < 2; axis++) {
        check_parts(file, "plain", PLAIN_ROWS, PLAIN_COLUMNS, axis, plain_value);
        check_parts(file, "packed.weight", PACKED_ROWS, PACKED_COLUMNS, axis, packed_value);
    }
    hocket_gguf_close(file);
}

static void tensors_outlive_their_file(void **state)
{
    (void)state;
    hocket_gguf *file = open_image();
    hocket_tensor *words, *plain;
    OK(hocket_gguf_tensor(file, "packed.weight", HOCKET_GGUF_STORED, NULL, &words));
    OK(hocket_gguf_tensor(file, "plain", HOCKET_GGUF_STORED, NULL, &plain));
    hocket_gguf_close(file);
    uint32_t packed[PACKED_ROWS * PACKED_COLUMNS / 8];
    float values[PLAIN_ROWS * PLAIN_COLUMNS];
    OK(hocket_tensor_read(words, packed, sizeof packed));
    OK(hocket_tensor_read(plain, values, sizeof values));
    for (int i = 0; i < PACKED_ROWS * PACKED_COLUMNS; i++)
        assert_int_equal(packed[i / 8] >> (4 * (i % 8)) & 15,
                         packed_digit(i / PACKED_COLUMNS, i % PACKED_COLUMNS));
    for (int i = 0; i < PLAIN_ROWS * PLAIN_COLUMNS; i++)
        assert_true(values[i] == plain_value(i / PLAIN_COLUMNS, i % PLAIN_COLUMNS));
    hocket_tensor_free(words);
    hocket_tensor_free(plain);
}

static void metadata_has_its_values(void **state)
{
    (void)state;
    hocket_gguf *file = open_image();
    const char *text;
    size_t length;
    double number;
    OK(hocket_gguf_text(file, "name", 0, &text, &length));
    assert_int_equal(length, 3);
    assert_memory_equal(text, "a\0b", 4);
    assert_int_equal(hocket_gguf_value_count(file, "tokens"), 3);
    OK(hocket_gguf_text(file, "tokens", 2, &text, NULL));
    assert_string_equal(text, "three");
    OK(hocket_gguf_number(file, "epsilon", 0, &number));
    assert_true(number == 0.25);
    OK(hocket_gguf_number(file, "add_bos", 0, &number));
    assert_true(number == 1);
    assert_int_equal(hocket_gguf_value_count(file, "types"), 3);
    OK(hocket_gguf_number(file, "types", 1, &number));
    assert_true(number == -2);

    assert_int_equal(hocket_gguf_value_count(file, "colour"), 0);
    assert_int_equal(hocket_gguf_text(file, "colour", 0, &text, NULL), HOCKET_ERR_INVALID);
    assert_int_equal(hocket_gguf_text(file, "tokens", 3, &text, NULL), HOCKET_ERR_INVALID);
    assert_int_equal(hocket_gguf_text(file, "epsilon", 0, &text, NULL), HOCKET_ERR_INVALID);
    assert_int_equal(hocket_gguf_number(file, "name", 0, &number), HOCKET_ERR_INVALID);
    hocket_gguf_close(file);
}

/* === Errors =================================================================================== */

static void wrong_names_and_parts_are_named(void **state)
{
    (void)state;
    hocket_gguf *file = open_image();
    hocket_tensor *tensor;
    hocket_type type;
    assert_int_equal(hocket_gguf_tensor(file, "plane", HOCKET_GGUF_FLOAT32, NULL, &tensor),
                     HOCKET_ERR_INVALID);
    assert_null(tensor);
    assert_non_null(strstr(hocket_last_error(), "no array 'plane'"));
    assert_int_equal(hocket_gguf_type(file, "plain", (hocket_gguf_form)7, &type),
                     HOCKET_ERR_INVALID);
    const hocket_gguf_part parts[] = {{2, 0, 1}, {-3, 0, 1}, {0, 0, 4}, {0, 2, 1}, {1, -1, 2}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(hocket_gguf_tensor(file, "plain", HOCKET_GGUF_FLOAT32, &parts[i], &tensor),
                         HOCKET_ERR_INVALID);
        assert_non_null(strstr(hocket_last_error(), "plain"));
    }
    hocket_gguf_close(file);
}

static void expect_refusal(hocket_status expected, const char *words)
{
    hocket_gguf *file = (hocket_gguf *)&file;
    hocket_status status = hocket_gguf_open(path, &file);
    if (status != expected || strstr(hocket_last_error(), words) == NULL)
        fail_msg("status %d (%s), not %d with '%s'", status, hocket_last_error(), expected, words);
    assert_null(file);
}

static void what_is_no_gguf_file_is_refused(void **state)
{
    (void)state;
    unlink(path);
    expect_refusal(HOCKET_ERR_SYSTEM, strerror(ENOENT));
    write_file("", 0);
    expect_refusal(HOCKET_ERR_INVALID, "not a GGUF file");
    write_file("PK and so on, for a while longer", 32);
    expect_refusal(HOCKET_ERR_INVALID, "not a GGUF file");
    hocket_gguf *file;
    assert_int_not_equal(hocket_gguf_open("/", &file), HOCKET_OK);
    assert_int_equal(hocket_gguf_open(NULL, &file), HOCKET_ERR_INVALID);
    assert_int_equal(hocket_gguf_open(path, NULL), HOCKET_ERR_INVALID);
}

static void a_truncated_file_is_refused_wherever_it_ends(void **state)
{
    (void)state;
    image made = make_image();
    for (size_t length = 0; length < made.length; length++) {
        write_file(made.bytes, length);
        expect_refusal(HOCKET_ERR_INVALID, length < 4 ? "not a GGUF file" : "cut off");
    }
}

static void damaged_numbers_are_refused(void **state)
{
    (void)state;
    const image good = make_image();
    const struct {
        size_t at, bytes;
        uint64_t number;
        hocket_status status;
        const char *words;
    } cases[] = {
        {4, 4, 1, HOCKET_ERR_UNSUPPORTED, "version 1"},
        {8, 8, UINT64_MAX, HOCKET_ERR_INVALID, "damaged"},
        {16, 8, UINT64_MAX, HOCKET_ERR_INVALID, "damaged"},
        {24, 8, UINT64_MAX - 7, HOCKET_ERR_INVALID, "damaged"},
        {good.alignment_at, 4, 0, HOCKET_ERR_INVALID, "alignment"},
        {good.count_at, 8, UINT64_MAX / 2, HOCKET_ERR_INVALID, "damaged"},
        {good.count_at - 4, 4, ARRAY, HOCKET_ERR_UNSUPPORTED, "list"},
        {good.count_at - 4, 4, 99, HOCKET_ERR_UNSUPPORTED, "list"},
        {good.count_at - 4, 4, F64, HOCKET_ERR_UNSUPPORTED, "float64"},
        {good.alignment_at - 4, 4, F64, HOCKET_ERR_UNSUPPORTED, "float64"},
        {good.rank_at, 4, 0, HOCKET_ERR_INVALID, "'plain' has 0 dimensions"},
        {good.rank_at, 4, 77, HOCKET_ERR_INVALID, "'plain' has 77 dimensions"},
        {good.dimension_at, 8, UINT64_MAX, HOCKET_ERR_INVALID, "'plain' is larger"},
        {good.dimension_at, 8, 3000, HOCKET_ERR_INVALID, "'plain' is larger"},
        {good.dimension_at, 8, 200, HOCKET_ERR_INVALID, "cut off"},
        {good.kind_at, 4, 77, HOCKET_ERR_UNSUPPORTED, "'plain' is of GGUF's kind 77"},
        {good.kind_at, 4, KIND_Q4_1, HOCKET_ERR_UNSUPPORTED, "'plain' have 5 elements"},
        {good.kind_at + 4, 8, UINT64_MAX - 63, HOCKET_ERR_INVALID, "'plain' ends beyond"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image bad = good;
        bad.length = cases[i].at;
        put_number(&bad, cases[i].bytes, cases[i].number);
        write_file(bad.bytes, good.length);
        expect_refusal(cases[i].status, cases[i].words);
    }
}

/* A name that is another's "scales", and the same twice. */
static void two_arrays_of_one_name_are_refused(void **state)
{
    (void)state;
    const char *names[][2] = {{"a.weight", "a.scales"}, {"a.weight", "a.weight"}};
    for (size_t i = 0; i < 2; i++) {
        image made = {.length = 0};
        put(&made, "GGUF", 4);
        put_number(&made, 4, 3);
        put_number(&made, 8, 2);
        put_number(&made, 8, 0);
        put_tensor(&made, names[i][0], 1, GROUP, KIND_Q4_1, 0);
        put_tensor(&made, names[i][1], 1, 1, KIND_F32, 0);
        pad(&made);
        put(&made, (char[GROUP]){0}, GROUP);
        write_file(made.bytes, made.length);
        expect_refusal(HOCKET_ERR_INVALID, "two of its arrays are called 'a.");
    }
}

/* Whatever a byte of the header says instead, the file is refused or can be read. */
static void a_changed_byte_is_refused_or_read(void **state)
{
    (void)state;
    const image good = make_image();
    const unsigned char changes[] = {1, 128, 255};
    int read = 0;
    for (size_t at = 0; at < 3 * good.length; at++) {
        image bad = good;
        bad.bytes[at / 3] ^= changes[at % 3];
        write_file(bad.bytes, bad.length);
        hocket_gguf *file;
        if (hocket_gguf_open(path, &file) != HOCKET_OK) {
            assert_true(hocket_last_error()[0] != '\0');
            continue;
        }
        for (size_t i = 0; i < 2 * hocket_gguf_count(file); i++) {
            hocket_tensor *tensor;
            if (hocket_gguf_tensor(file, hocket_gguf_name(file, i / 2), (hocket_gguf_form)(i % 2),
                                   NULL, &tensor) == HOCKET_OK)
                hocket_tensor_free(tensor);
        }
        read++;
        hocket_gguf_close(file);
    }
    assert_true(read > 0);
}

int main(void)
{
    if (!mlx_is_built())
        return 77;
    snprintf(path, sizeof path, "/tmp/hocket-test-%ld.gguf", (long)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_have_names_and_types),
        cmocka_unit_test(parts_of_arrays_have_their_values),
        cmocka_unit_test(tensors_outlive_their_file),
        cmocka_unit_test(metadata_has_its_values),
        cmocka_unit_test(wrong_names_and_parts_are_named),
        cmocka_unit_test(what_is_no_gguf_file_is_refused),
        cmocka_unit_test(a_truncated_file_is_refused_wherever_it_ends),
        cmocka_unit_test(damaged_numbers_are_refused),
        cmocka_unit_test(two_arrays_of_one_name_are_refused),
        cmocka_unit_test(a_changed_byte_is_refused_or_read),
    };
    int failures = cmocka_run_group_tests_name("mlx_gguf", tests, NULL, NULL);
    unlink(path);
    return failures;
}
