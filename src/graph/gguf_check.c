/* The header of a GGUF file (little-endian):
 *
 *     "GGUF", u32 version, u64 tensors, u64 keys
 *     for each key:    string name, u32 type, value
 *     for each tensor: string name, u32 rank, u64 dims[rank], u32 kind, u64 offset
 *     padding to the alignment; then the tensors' data, to which their offsets relate
 *
 * A string is a u64 length and its bytes; a value that is an array is a u32 type, a u64 count and
 * its elements. */
#include "graph/gguf.h"

#include "core/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    VERSION_FIRST = 2, /* version 1 had other lengths */
    VERSION_LAST = 3,
    ALIGNMENT_USUAL = 32,
    ALIGNMENT_MAX = 1 << 20,
    NAME_MAX_BYTES = 1 << 16,
    TENSOR_RANK_MAX = 8,  /* the array in MLX's reader has so many */
    SKIP_BY_READING = 512 /* so far reading is cheaper than seeking */
};

enum { VALUE_U32 = 4, VALUE_STRING = 8, VALUE_ARRAY = 9 };

/* Bytes of a value by its type; 0 for strings and arrays. */
static const unsigned char value_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
#define VALUE_TYPES (sizeof value_bytes)

/* The kinds of tensors that MLX reads: elements of a block, and its bytes. */
static const struct {
    uint32_t kind;
    unsigned elements, bytes;
} kinds[] = {
    {0, 1, 4},      /* f32 */
    {1, 1, 2},      /* f16 */
    {2, 32, 18},    /* q4_0 */
    {3, 32, 20},    /* q4_1 */
    {8, 32, 34},    /* q8_0 */
    {10, 256, 84},  /* q2_k */
    {12, 256, 144}, /* q4_k */
    {14, 256, 210}, /* q6_k */
    {24, 1, 1},     /* i8 */
    {25, 1, 2},     /* i16 */
    {26, 1, 4},     /* i32 */
    {30, 1, 2},     /* bf16 */
};
#define KINDS (sizeof kinds / sizeof kinds[0])

typedef struct reader {
    FILE *stream;
    const char *path;
    uint64_t size, at;
    uint64_t alignment;
} reader;

static hocket_status fail_short(const reader *in)
{
    return hk_fail(HOCKET_ERR_INVALID,
                   "%s is cut off or damaged: at byte %llu its header wants more than the %llu "
                   "bytes that the file has",
                   in->path, (unsigned long long)in->at, (unsigned long long)in->size);
}

static hocket_status take(reader *in, void *bytes, size_t length)
{
    if (length > in->size - in->at)
        return fail_short(in);
    if (length > 0 && fread(bytes, length, 1, in->stream) != 1)
        return ferror(in->stream) ? hk_fail_errno(errno, "reading %s", in->path) : fail_short(in);
    in->at += length;
    return HOCKET_OK;
}

static hocket_status skip(reader *in, uint64_t length)
{
    char nothing[SKIP_BY_READING];
    if (length <= sizeof nothing)
        return take(in, nothing, (size_t)length);
    if (length > in->size - in->at)
        return fail_short(in);
    if (fseeko(in->stream, (off_t)length, SEEK_CUR) != 0)
        return hk_fail_errno(errno, "reading %s", in->path);
    in->at += length;
    return HOCKET_OK;
}

static hocket_status take_number(reader *in, unsigned bytes, uint64_t *number)
{
    unsigned char raw[8];
    hocket_status status = take(in, raw, bytes);
    *number = 0;
    for (unsigned i = 0; status == HOCKET_OK && i < bytes; i++)
        *number |= (uint64_t)raw[i] << (8 * i);
    return status;
}

static hocket_status skip_string(reader *in)
{
    uint64_t length;
    hocket_status status = take_number(in, 8, &length);
    return status == HOCKET_OK ? skip(in, length) : status;
}

/* name is cut to what fits; names are for messages and for one comparison. */
static hocket_status take_name(reader *in, char *name, size_t capacity)
{
    uint64_t length;
    hocket_status status = take_number(in, 8, &length);
    if (status != HOCKET_OK)
        return status;
    if (length > NAME_MAX_BYTES)
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s is damaged: a name of %llu bytes ends before byte %llu", in->path,
                       (unsigned long long)length, (unsigned long long)(in->at + length));
    size_t kept = length < capacity ? (size_t)length : capacity - 1;
    status = take(in, name, kept);
    name[status == HOCKET_OK ? kept : 0] = '\0';
    return status == HOCKET_OK ? skip(in, length - kept) : status;
}

static hocket_status check_array(reader *in, const char *key)
{
    uint64_t type = 0, count = 0;
    hocket_status status = take_number(in, 4, &type);
    if (status == HOCKET_OK)
        status = take_number(in, 8, &count);
    if (status != HOCKET_OK)
        return status;
    if (type >= VALUE_TYPES || type == VALUE_ARRAY)
        return hk_fail(HOCKET_ERR_UNSUPPORTED, "%s: '%s' is a list of type %llu", in->path, key,
                       (unsigned long long)type);
    if (count > INT32_MAX)
        return fail_short(in);
    if (type != VALUE_STRING)
        return skip(in, count * value_bytes[type]);
    for (uint64_t i = 0; status == HOCKET_OK && i < count; i++)
        status = skip_string(in);
    return status;
}

static hocket_status check_key(reader *in)
{
    char key[128];
    uint64_t type;
    hocket_status status = take_name(in, key, sizeof key);
    if (status == HOCKET_OK)
        status = take_number(in, 4, &type);
    if (status != HOCKET_OK)
        return status;
    if (type >= VALUE_TYPES)
        return hk_fail(HOCKET_ERR_INVALID, "%s is damaged: '%s' has the type %llu", in->path, key,
                       (unsigned long long)type);
    if (type == VALUE_STRING)
        return skip_string(in);
    if (type == VALUE_ARRAY)
        return check_array(in, key);
    if (type != VALUE_U32 || strcmp(key, "general.alignment") != 0)
        return skip(in, value_bytes[type]);
    status = take_number(in, 4, &in->alignment);
    if (status == HOCKET_OK && (in->alignment == 0 || in->alignment > ALIGNMENT_MAX))
        return hk_fail(HOCKET_ERR_INVALID, "%s is damaged: its alignment is %llu bytes", in->path,
                       (unsigned long long)in->alignment);
    return status;
}

/* How many bytes so many elements take. */
static hocket_status tensor_bytes(const reader *in, const char *name, uint64_t kind,
                                  uint64_t elements, uint64_t *bytes)
{
    for (size_t i = 0; i < KINDS; i++) {
        if (kinds[i].kind == kind) {
            uint64_t blocks = (elements + kinds[i].elements - 1) / kinds[i].elements;
            *bytes = blocks * kinds[i].bytes;
            return HOCKET_OK;
        }
    }
    return hk_fail(HOCKET_ERR_UNSUPPORTED,
                   "%s: tensor '%s' is of GGUF's kind %llu, which MLX does not read; f32, f16, "
                   "q4_0, q4_1, q4_k and q8_0 are the usual ones that it does",
                   in->path, name, (unsigned long long)kind);
}

/* *end: where its data ends, counted from where the data of all begins. */
static hocket_status check_tensor(reader *in, uint64_t *end)
{
    char name[128];
    uint64_t rank = 0, elements = 1, kind = 0, offset = 0, bytes = 0;
    hocket_status status = take_name(in, name, sizeof name);
    if (status == HOCKET_OK)
        status = take_number(in, 4, &rank);
    if (status == HOCKET_OK && (rank == 0 || rank > TENSOR_RANK_MAX))
        return hk_fail(HOCKET_ERR_INVALID, "%s is damaged: tensor '%s' has %llu dimensions",
                       in->path, name, (unsigned long long)rank);
    for (uint64_t i = 0; status == HOCKET_OK && i < rank; i++) {
        uint64_t dimension;
        status = take_number(in, 8, &dimension);
        /* No element takes less than a quarter of a byte. */
        if (status == HOCKET_OK &&
            (dimension > INT32_MAX || (dimension > 0 && elements > 4 * in->size / dimension)))
            return hk_fail(HOCKET_ERR_INVALID,
                           "%s is cut off or damaged: tensor '%s' is larger than the file",
                           in->path, name);
        elements *= status == HOCKET_OK ? dimension : 1;
    }
    if (status == HOCKET_OK)
        status = take_number(in, 4, &kind);
    if (status == HOCKET_OK)
        status = take_number(in, 8, &offset);
    if (status == HOCKET_OK)
        status = tensor_bytes(in, name, kind, elements, &bytes);
    if (status != HOCKET_OK)
        return status;
    if (offset > in->size || bytes > in->size - offset)
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s is cut off or damaged: the data of tensor '%s' ends beyond the file",
                       in->path, name);
    *end = offset + bytes;
    return HOCKET_OK;
}

static hocket_status check_start(reader *in, uint64_t *tensors, uint64_t *keys)
{
    char magic[4];
    uint64_t version = 0;
    if (in->size < sizeof magic || take(in, magic, sizeof magic) != HOCKET_OK ||
        memcmp(magic, "GGUF", sizeof magic) != 0)
        return hk_fail(HOCKET_ERR_INVALID, "%s is not a GGUF file: it does not begin with 'GGUF'",
                       in->path);
    hocket_status status = take_number(in, 4, &version);
    if (status == HOCKET_OK && (version < VERSION_FIRST || version > VERSION_LAST))
        return hk_fail(HOCKET_ERR_UNSUPPORTED, "%s is of GGUF's version %llu, not %d or %d",
                       in->path, (unsigned long long)version, VERSION_FIRST, VERSION_LAST);
    if (status == HOCKET_OK)
        status = take_number(in, 8, tensors);
    if (status == HOCKET_OK)
        status = take_number(in, 8, keys);
    return status;
}

static hocket_status check_all(reader *in)
{
    uint64_t tensors = 0, keys = 0, data_end = 0;
    hocket_status status = check_start(in, &tensors, &keys);
    for (uint64_t i = 0; status == HOCKET_OK && i < keys; i++)
        status = check_key(in);
    for (uint64_t i = 0; status == HOCKET_OK && i < tensors; i++) {
        uint64_t end = 0;
        status = check_tensor(in, &end);
        if (end > data_end)
            data_end = end;
    }
    if (status != HOCKET_OK)
        return status;
    uint64_t data = (in->at + in->alignment - 1) / in->alignment * in->alignment;
    if (data_end > 0 && (data > in->size || data_end > in->size - data))
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s is cut off: it has %llu bytes of the %llu that its header describes",
                       in->path, (unsigned long long)in->size, (unsigned long long)data + data_end);
    return HOCKET_OK;
}

hocket_status hk_gguf_check(const char *path)
{
    reader in = {.path = path, .alignment = ALIGNMENT_USUAL};
    in.stream = fopen(path, "rb");
    if (in.stream == NULL)
        return hk_fail_errno(errno, "opening %s", path);
    hocket_status status;
    off_t size = -1;
    if (fseeko(in.stream, 0, SEEK_END) == 0)
        size = ftello(in.stream);
    if (size < 0 || fseeko(in.stream, 0, SEEK_SET) != 0) {
        status = hk_fail_errno(errno, "reading %s", path);
    } else {
        in.size = (uint64_t)size;
        status = check_all(&in);
    }
    fclose(in.stream);
    return status;
}
