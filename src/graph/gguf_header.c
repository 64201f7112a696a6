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
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    VERSION_FIRST = 2, /* version 1 had other lengths */
    VERSION_LAST = 3,
    ALIGNMENT_USUAL = 32,
    ALIGNMENT_MAX = 1 << 20,
    NAME_MAX_BYTES = 1 << 16,
    TENSOR_RANK_MAX = 8,  /* the array in MLX's reader has so many, and HOCKET_MAX_RANK */
    SKIP_BY_READING = 512 /* so far reading is cheaper than seeking */
};

enum { VALUE_U32 = 4, VALUE_STRING = 8, VALUE_ARRAY = 9, VALUE_F64 = 12 };

/* Bytes of a value by its type; 0 for strings and arrays. */
static const unsigned char value_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
#define VALUE_TYPES (sizeof value_bytes)

static const hk_gguf_kind kinds[] = {
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

/* How much of a name is in a message. */
#define NAME "'%.127s'"

typedef struct reader {
    FILE *stream;
    const char *path;
    uint64_t size, at;
    uint64_t alignment;
    char *name; /* the last one read, in NAME_MAX_BYTES + 1 */
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

/* Into in->name. One with a 0 inside ends there. */
static hocket_status take_name(reader *in)
{
    uint64_t length;
    hocket_status status = take_number(in, 8, &length);
    if (status != HOCKET_OK)
        return status;
    if (length > NAME_MAX_BYTES)
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s is damaged: a name of %llu bytes ends before byte %llu", in->path,
                       (unsigned long long)length, (unsigned long long)(in->at + length));
    status = take(in, in->name, (size_t)length);
    in->name[status == HOCKET_OK ? length : 0] = '\0';
    return status;
}

/* MLX's reader takes a step of four bytes over each of these. */
static hocket_status fail_double(const reader *in)
{
    return hk_fail(HOCKET_ERR_UNSUPPORTED, "%s: " NAME " is in float64, which MLX does not read",
                   in->path, in->name);
}

static hocket_status check_array(reader *in)
{
    uint64_t type = 0, count = 0;
    hocket_status status = take_number(in, 4, &type);
    if (status == HOCKET_OK)
        status = take_number(in, 8, &count);
    if (status != HOCKET_OK)
        return status;
    if (type >= VALUE_TYPES || type == VALUE_ARRAY)
        return hk_fail(HOCKET_ERR_UNSUPPORTED, "%s: " NAME " is a list of type %llu", in->path,
                       in->name, (unsigned long long)type);
    if (type == VALUE_F64)
        return fail_double(in);
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
    uint64_t type;
    hocket_status status = take_name(in);
    if (status == HOCKET_OK)
        status = take_number(in, 4, &type);
    if (status != HOCKET_OK)
        return status;
    if (type >= VALUE_TYPES)
        return hk_fail(HOCKET_ERR_INVALID, "%s is damaged: " NAME " has the type %llu", in->path,
                       in->name, (unsigned long long)type);
    if (type == VALUE_F64)
        return fail_double(in);
    if (type == VALUE_STRING)
        return skip_string(in);
    if (type == VALUE_ARRAY)
        return check_array(in);
    if (type != VALUE_U32 || strcmp(in->name, "general.alignment") != 0)
        return skip(in, value_bytes[type]);
    status = take_number(in, 4, &in->alignment);
    if (status == HOCKET_OK && (in->alignment == 0 || in->alignment > ALIGNMENT_MAX))
        return hk_fail(HOCKET_ERR_INVALID, "%s is damaged: its alignment is %llu bytes", in->path,
                       (unsigned long long)in->alignment);
    return status;
}

static hocket_status find_kind(const reader *in, uint64_t number, const hk_gguf_kind **kind)
{
    for (size_t i = 0; i < KINDS; i++) {
        if (kinds[i].number == number) {
            *kind = &kinds[i];
            return HOCKET_OK;
        }
    }
    return hk_fail(HOCKET_ERR_UNSUPPORTED,
                   "%s: tensor " NAME " is of GGUF's kind %llu, which MLX does not read; f32, f16, "
                   "q4_0, q4_1, q4_k and q8_0 are the usual ones that it does",
                   in->path, in->name, (unsigned long long)number);
}

/* Of the tensor in->name. GGUF has the dimension that is contiguous first. */
static hocket_status take_shape(reader *in, hk_gguf_tensor *tensor, uint64_t *elements)
{
    uint64_t rank = 0;
    hocket_status status = take_number(in, 4, &rank);
    if (status == HOCKET_OK && (rank == 0 || rank > TENSOR_RANK_MAX))
        return hk_fail(HOCKET_ERR_INVALID, "%s is damaged: tensor " NAME " has %llu dimensions",
                       in->path, in->name, (unsigned long long)rank);
    tensor->rank = (int)rank;
    *elements = 1;
    for (uint64_t i = 0; status == HOCKET_OK && i < rank; i++) {
        uint64_t dimension;
        status = take_number(in, 8, &dimension);
        /* No element takes less than a quarter of a byte. */
        if (status == HOCKET_OK &&
            (dimension > INT32_MAX || (dimension > 0 && *elements > 4 * in->size / dimension)))
            return hk_fail(HOCKET_ERR_INVALID,
                           "%s is cut off or damaged: tensor " NAME " is larger than the file",
                           in->path, in->name);
        *elements *= status == HOCKET_OK ? dimension : 1;
        tensor->dims[rank - 1 - i] = (int64_t)dimension;
    }
    return status;
}

/* tensor->at and *end count from where the data of all begins. The name is not the tensor's yet. */
static hocket_status take_tensor(reader *in, hk_gguf_tensor *tensor, uint64_t *end)
{
    uint64_t elements = 0, number = 0;
    hocket_status status = take_name(in);
    if (status == HOCKET_OK)
        status = take_shape(in, tensor, &elements);
    if (status == HOCKET_OK)
        status = take_number(in, 4, &number);
    if (status == HOCKET_OK)
        status = take_number(in, 8, &tensor->at);
    if (status == HOCKET_OK)
        status = find_kind(in, number, &tensor->kind);
    if (status != HOCKET_OK)
        return status;
    uint64_t blocks = (elements + tensor->kind->elements - 1) / tensor->kind->elements;
    uint64_t bytes = blocks * tensor->kind->bytes;
    if (tensor->at > in->size || bytes > in->size - tensor->at)
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s is cut off or damaged: the data of tensor " NAME " ends beyond the file",
                       in->path, in->name);
    *end = tensor->at + bytes;
    return HOCKET_OK;
}

static hocket_status add_tensor(reader *in, const hk_gguf_tensor *tensor, hk_gguf_header *to,
                                size_t *capacity)
{
    if (to->count == *capacity) {
        size_t more = 2 * *capacity + 64;
        hk_gguf_tensor *tensors = realloc(to->tensors, more * sizeof *tensors);
        if (tensors == NULL)
            return hk_fail_memory(more * sizeof *tensors, "the tensors of a GGUF file");
        to->tensors = tensors;
        *capacity = more;
    }
    to->tensors[to->count] = *tensor;
    to->tensors[to->count].name = strdup(in->name);
    if (to->tensors[to->count].name == NULL)
        return hk_fail_memory(strlen(in->name) + 1, "the name of a tensor");
    to->count++;
    return HOCKET_OK;
}

static hocket_status check_start(reader *in, uint64_t *version, uint64_t *tensors, uint64_t *keys)
{
    char magic[4];
    if (in->size < sizeof magic || take(in, magic, sizeof magic) != HOCKET_OK ||
        memcmp(magic, "GGUF", sizeof magic) != 0)
        return hk_fail(HOCKET_ERR_INVALID, "%s is not a GGUF file: it does not begin with 'GGUF'",
                       in->path);
    hocket_status status = take_number(in, 4, version);
    if (status == HOCKET_OK && (*version < VERSION_FIRST || *version > VERSION_LAST))
        return hk_fail(HOCKET_ERR_UNSUPPORTED, "%s is of GGUF's version %llu, not %d or %d",
                       in->path, (unsigned long long)*version, VERSION_FIRST, VERSION_LAST);
    if (status == HOCKET_OK)
        status = take_number(in, 8, tensors);
    if (status == HOCKET_OK)
        status = take_number(in, 8, keys);
    return status;
}

static hocket_status take_tensors(reader *in, uint64_t tensors, hk_gguf_header *to)
{
    uint64_t data_end = 0;
    size_t capacity = 0;
    hocket_status status = HOCKET_OK;
    for (uint64_t i = 0; status == HOCKET_OK && i < tensors; i++) {
        hk_gguf_tensor tensor = {0};
        uint64_t end = 0;
        status = take_tensor(in, &tensor, &end);
        if (status == HOCKET_OK)
            status = add_tensor(in, &tensor, to, &capacity);
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
    for (size_t i = 0; i < to->count; i++)
        to->tensors[i].at += data;
    return HOCKET_OK;
}

static hocket_status take_all(reader *in, hk_gguf_header *to)
{
    uint64_t tensors = 0, version = 0;
    hocket_status status = check_start(in, &version, &tensors, &to->keys);
    to->keys_at = in->at;
    for (uint64_t i = 0; status == HOCKET_OK && i < to->keys; i++)
        status = check_key(in);
    to->keys_bytes = in->at - to->keys_at;
    return status == HOCKET_OK ? take_tensors(in, tensors, to) : status;
}

static hocket_status open_stream(const char *path, hk_gguf_header *header, uint64_t *size)
{
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hk_fail_errno(errno, "opening %s", path);
    header->stream = fdopen(fd, "rb");
    if (header->stream == NULL) {
        int error = errno;
        close(fd);
        return hk_fail_errno(error, "opening %s", path);
    }
    if (fstat(fd, &found) != 0)
        return hk_fail_errno(errno, "reading %s", path);
    if (!S_ISREG(found.st_mode))
        return hk_fail(HOCKET_ERR_INVALID, "%s is not a GGUF file: it is no ordinary file", path);
    *size = (uint64_t)found.st_size;
    return HOCKET_OK;
}

hocket_status hk_gguf_header_open(const char *path, hk_gguf_header *header)
{
    *header = (hk_gguf_header){.path = strdup(path)};
    reader in = {.path = path, .alignment = ALIGNMENT_USUAL, .name = malloc(NAME_MAX_BYTES + 1)};
    hocket_status status = HOCKET_OK;
    if (header->path == NULL || in.name == NULL)
        status = hk_fail_memory(NAME_MAX_BYTES, "reading a GGUF file");
    if (status == HOCKET_OK)
        status = open_stream(path, header, &in.size);
    in.stream = header->stream;
    if (status == HOCKET_OK)
        status = take_all(&in, header);
    free(in.name);
    if (status != HOCKET_OK)
        hk_gguf_header_close(header);
    return status;
}

void hk_gguf_header_close(hk_gguf_header *header)
{
    for (size_t i = 0; i < header->count; i++)
        free(header->tensors[i].name);
    free(header->tensors);
    free(header->path);
    if (header->stream)
        fclose(header->stream);
    *header = (hk_gguf_header){0};
}
