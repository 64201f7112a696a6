/* GGUF files in parts: each part of an array is that slice of the whole, for every kind of tensor,
 * also from several threads; and no more of a file than what is asked for comes into memory. */
#include "mlx_help.h"

#include <hocket/mlx.h>

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { ALIGNMENT = 32, VERSION = 3, RANK_MAX = 3, THREADS = 4 };

/* Dimensions are GGUF's: the first is the one that is contiguous. */
typedef struct tensor_case {
    const char *name;
    unsigned kind, elements, bytes; /* of a block */
    int rank;
    uint64_t dims[RANK_MAX];
} tensor_case;

static const tensor_case cases[] = {
    {"f32", 0, 1, 4, 2, {5, 3}},
    {"f16", 1, 1, 2, 3, {4, 3, 5}},
    {"line", 0, 1, 4, 1, {9}},
    {"bf16", 30, 1, 2, 2, {7, 4}},
    {"i8", 24, 1, 1, 3, {3, 4, 5}},
    {"i16", 25, 1, 2, 2, {6, 3}},
    {"i32", 26, 1, 4, 2, {6, 3}},
    {"q4_0.weight", 2, 32, 18, 2, {96, 5}},
    {"q4_1.weight", 3, 32, 20, 2, {128, 7}},
    {"q8_0.weight", 8, 32, 34, 2, {96, 4}},
    {"experts.weight", 8, 32, 34, 3, {64, 3, 4}},
    {"q4_k.weight", 12, 256, 144, 2, {512, 3}},
    {"q4_k_short.weight", 12, 256, 144, 2, {128, 4}}, /* two rows a block */
    {"q6_k.weight", 14, 256, 210, 2, {256, 3}},
    {"q6_k_short.weight", 14, 256, 210, 2, {64, 4}},
    {"wide", 24, 1, 1, 2, {600001, 3}}, /* runs longer than what is read at a time */
    {"long", 24, 1, 1, 2, {1001, 700}}, /* and more short ones than that */
    {"none", 0, 1, 4, 2, {0, 3}},
};
#define CASES (sizeof cases / sizeof cases[0])

static char path[64];

static uint64_t bytes_of(const tensor_case *of)
{
    uint64_t elements = 1;
    for (int i = 0; i < of->rank; i++)
        elements *= of->dims[i];
    return (elements + of->elements - 1) / of->elements * of->bytes;
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_number(FILE *to, int bytes, uint64_t number)
{
    for (int i = 0; i < bytes; i++)
        fputc((int)(number >> (8 * i) & 255), to);
}

static void put_header(FILE *to, const tensor_case *tensors, size_t count)
{
    fputs("GGUF", to);
    put_number(to, 4, VERSION);
    put_number(to, 8, count);
    put_number(to, 8, 0);
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        put_number(to, 8, strlen(tensors[i].name));
        fputs(tensors[i].name, to);
        put_number(to, 4, (uint64_t)tensors[i].rank);
        for (int j = 0; j < tensors[i].rank; j++)
            put_number(to, 8, tensors[i].dims[j]);
        put_number(to, 4, tensors[i].kind);
        put_number(to, 8, offset);
        offset += padded(bytes_of(&tensors[i]));
    }
    while (ftell(to) % ALIGNMENT != 0)
        fputc(0, to);
}

/* Bytes below 64, so that halves and floats are finite. */
static void write_cases(void)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    put_header(file, cases, CASES);
    uint32_t state = 1;
    for (size_t i = 0; i < CASES; i++) {
        for (uint64_t j = bytes_of(&cases[i]); j > 0; j--) {
            state = state * 1664525 + 1013904223;
            fputc((int)(state >> 26), file);
        }
        while (ftell(file) % ALIGNMENT != 0)
            fputc(0, file);
    }
    assert_int_equal(fclose(file), 0);
}

static hocket_gguf *open_cases(void)
{
    hocket_gguf *file;
    write_cases();
    OK(hocket_gguf_open(path, &file));
    return file;
}

/* The bytes of a part, to be freed; type is what it is. */
static unsigned char *read_part(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                                const hocket_gguf_part *part, hocket_type *type)
{
    hocket_tensor *tensor;
    OK(hocket_gguf_tensor(file, name, form, part, &tensor));
    *type = *hocket_tensor_type(tensor);
    size_t bytes = hocket_type_bytes(type);
    unsigned char *read = malloc(bytes + 1);
    assert_non_null(read);
    OK(hocket_tensor_read(tensor, read, bytes));
    hocket_tensor_free(tensor);
    return read;
}

static void check_part(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                       hocket_gguf_part part, const hocket_type *whole_type,
                       const unsigned char *whole)
{
    hocket_type type;
    unsigned char *read = read_part(file, name, form, &part, &type);
    assert_int_equal(type.dtype, whole_type->dtype);
    assert_int_equal(type.rank, whole_type->rank);
    size_t outer = 1, inner = hocket_dtype_size(type.dtype);
    for (int i = 0; i < type.rank; i++) {
        assert_int_equal(type.dims[i],
                         i == part.axis ? part.stop - part.start : whole_type->dims[i]);
        outer *= i < part.axis ? (size_t)type.dims[i] : 1;
        inner *= i > part.axis ? (size_t)type.dims[i] : 1;
    }
    size_t run = (size_t)(part.stop - part.start) * inner;
    size_t stride = (size_t)whole_type->dims[part.axis] * inner;
    for (size_t i = 0; i < outer; i++)
        if (memcmp(read + i * run, whole + i * stride + (size_t)part.start * inner, run) != 0)
            fail_msg("%s, form %d, axis %d, %d to %d: not the same as in the whole", name, form,
                     part.axis, (int)part.start, (int)part.stop);
    free(read);
}

static void check_parts(const hocket_gguf *file, const char *name, hocket_gguf_form form)
{
    hocket_type declared, type;
    OK(hocket_gguf_type(file, name, form, &declared));
    unsigned char *whole = read_part(file, name, form, NULL, &type);
    assert_memory_equal(&type, &declared, sizeof type);
    for (int axis = 0; axis < type.rank; axis++) {
        const int64_t length = type.dims[axis];
        const int64_t cuts[] = {0, length / 3, length / 2, length / 2 + 1, length - 1, length};
        for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
            for (size_t j = i; j < sizeof cuts / sizeof *cuts; j++)
                if (cuts[i] >= 0 && cuts[i] <= cuts[j] && cuts[j] <= length)
                    check_part(file, name, form, (hocket_gguf_part){axis, cuts[i], cuts[j]}, &type,
                               whole);
    }
    free(whole);
}

static void parts_are_slices_of_the_whole(void **state)
{
    (void)state;
    hocket_gguf *file = open_cases();
    assert_true(hocket_gguf_count(file) >= CASES + 2 * 4); /* q4_k depends on MLX's version */
    for (size_t i = 0; i < hocket_gguf_count(file); i++) {
        check_parts(file, hocket_gguf_name(file, i), HOCKET_GGUF_STORED);
        check_parts(file, hocket_gguf_name(file, i), HOCKET_GGUF_FLOAT32);
    }
    hocket_gguf_close(file);
}

/* Values as they lie in the file, by another way than MLX's. */
static void parts_of_integers_have_their_values(void **state)
{
    (void)state;
    hocket_gguf *file = open_cases();
    FILE *bytes = fopen(path, "rb");
    assert_non_null(bytes);
    const uint64_t wide = cases[CASES - 3].dims[0];
    assert_int_equal(fseek(bytes, 0, SEEK_END), 0);
    long at = ftell(bytes) - (long)(padded(3 * wide) + padded(bytes_of(&cases[CASES - 2])));
    unsigned char expected[3];
    hocket_gguf_part part = {.axis = 1, .start = 500000, .stop = 500003};
    hocket_type type;
    unsigned char *read = read_part(file, "wide", HOCKET_GGUF_STORED, &part, &type);
    for (int row = 0; row < 3; row++) {
        assert_int_equal(fseek(bytes, at + row * (long)wide + part.start, SEEK_SET), 0);
        assert_int_equal(fread(expected, 1, 3, bytes), 3);
        assert_memory_equal(read + 3 * row, expected, 3);
    }
    free(read);
    fclose(bytes);
    hocket_gguf_close(file);
}

static void *read_all(void *file)
{
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < hocket_gguf_count(file); i++)
            if (strstr(hocket_gguf_name(file, i), "q4_"))
                check_parts(file, hocket_gguf_name(file, i), HOCKET_GGUF_STORED);
    return NULL;
}

static void threads_share_a_file(void **state)
{
    (void)state;
    hocket_gguf *file = open_cases();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, file), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    hocket_gguf_close(file);
}

/* === Memory, descriptors ====================================================================== */

static long peak(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* The peak's unit is not the same on all systems, so it is compared with itself: a process with MLX
 * in it is some tens of megabytes, the file has a thousand, which are a hole. */
static void no_more_is_in_memory_than_what_is_asked_for(void **state)
{
    (void)state;
    hocket_gguf *file = open_cases();
    hocket_type type;
    free(read_part(file, "q4_0.weight", HOCKET_GGUF_FLOAT32, NULL, &type));
    hocket_gguf_close(file);
    const tensor_case tensors[] = {
        {"large", 0, 1, 4, 2, {1 << 14, 1 << 14}},
        {"small", 0, 1, 4, 1, {8}},
    };
    FILE *made = fopen(path, "wb");
    assert_non_null(made);
    put_header(made, tensors, 2);
    long data = ftell(made);
    assert_int_equal(fclose(made), 0);
    assert_int_equal(truncate(path, data + (off_t)(bytes_of(&tensors[0]) + bytes_of(&tensors[1]))),
                     0);

    const long before = peak();
    OK(hocket_gguf_open(path, &file));
    free(read_part(file, "small", HOCKET_GGUF_STORED, NULL, &type));
    hocket_gguf_part rows = {.axis = 0, .start = 9000, .stop = 9010};
    free(read_part(file, "large", HOCKET_GGUF_FLOAT32, &rows, &type));
    hocket_gguf_part columns = {.axis = 1, .start = 9000, .stop = 9010};
    free(read_part(file, "large", HOCKET_GGUF_FLOAT32, &columns, &type));
    hocket_gguf_close(file);
    if (peak() > 2 * before)
        fail_msg("the process has grown from %ld to %ld", before, peak());
}

static int next_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static void a_file_cut_off_later_is_an_error_and_no_descriptor_stays(void **state)
{
    (void)state;
    hocket_gguf *file = open_cases();
    hocket_gguf_close(file);
    const int before = next_descriptor();
    OK(hocket_gguf_open(path, &file));
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(truncate(path, found.st_size / 2), 0);
    hocket_tensor *tensor;
    assert_int_equal(hocket_gguf_tensor(file, "long", HOCKET_GGUF_STORED, NULL, &tensor),
                     HOCKET_ERR_INVALID);
    assert_null(tensor);
    assert_non_null(strstr(hocket_last_error(), "long: "));
    assert_non_null(strstr(hocket_last_error(), "cut off"));
    OK(hocket_gguf_tensor(file, "f32", HOCKET_GGUF_STORED, NULL, &tensor));
    hocket_tensor_free(tensor);
    hocket_gguf_close(file);
    assert_int_equal(hocket_gguf_open(path, &file), HOCKET_ERR_INVALID);
    assert_int_equal(next_descriptor(), before);
}

/* Whoever runs this as root may write all the same. */
static void a_file_need_not_be_writable(void **state)
{
    (void)state;
    write_cases();
    assert_int_equal(chmod(path, 0444), 0);
    hocket_gguf *file;
    OK(hocket_gguf_open(path, &file));
    check_parts(file, "q8_0.weight", HOCKET_GGUF_FLOAT32);
    hocket_gguf_close(file);
    unlink(path);
}

int main(void)
{
    if (!mlx_is_built())
        return 77;
    snprintf(path, sizeof path, "/tmp/hocket-test-parts-%ld.gguf", (long)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_is_in_memory_than_what_is_asked_for),
        cmocka_unit_test(parts_are_slices_of_the_whole),
        cmocka_unit_test(parts_of_integers_have_their_values),
        cmocka_unit_test(threads_share_a_file),
        cmocka_unit_test(a_file_cut_off_later_is_an_error_and_no_descriptor_stays),
        cmocka_unit_test(a_file_need_not_be_writable),
    };
    int failures = cmocka_run_group_tests_name("mlx_gguf_parts", tests, NULL, NULL);
    unlink(path);
    return failures;
}
