/* Small GGUF files in memory, made of pieces of a large one. */
#include "graph/gguf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PIECE_BYTES = 256 * 1024, /* of the file that are in memory at a time */
    HEAD_MAX = 256,
    BLOCK_MAX = 256,
    VERSION = 3,
    DATA_ALIGNMENT = 32 /* GGUF's, where no key says another */
};

static uint64_t product(const int64_t *dims, int from, int to)
{
    uint64_t elements = 1;
    for (int i = from; i < to; i++)
        elements *= (uint64_t)dims[i];
    return elements;
}

hk_gguf_cut hk_gguf_cut_make(const hk_gguf_tensor *tensor, int axis, int64_t start, int64_t stop)
{
    const hk_gguf_kind *kind = tensor->kind;
    const int rank = tensor->rank;
    hk_gguf_cut cut = {.at = tensor->at, .runs = 1};
    memcpy(cut.dims, tensor->dims, sizeof cut.dims);
    if (tensor->dims[rank - 1] % kind->elements != 0) {
        uint64_t elements = product(tensor->dims, 0, rank);
        cut.run = (elements + kind->elements - 1) / kind->elements * kind->bytes;
        cut.stride = cut.run;
        return cut;
    }
    /* A step is the least that can be cut: an index, or a block where the axis is that of blocks.
     */
    const int64_t step = axis == rank - 1 ? kind->elements : 1;
    const int64_t first = start / step, end = (stop + step - 1) / step;
    const uint64_t inner = (uint64_t)step * product(tensor->dims, axis + 1, rank);
    const uint64_t step_bytes = inner / kind->elements * kind->bytes;
    cut.first = first * step;
    cut.dims[axis] = (end - first) * step;
    cut.at += (uint64_t)first * step_bytes;
    cut.run = (uint64_t)(end - first) * step_bytes;
    cut.stride = (uint64_t)(tensor->dims[axis] / step) * step_bytes;
    cut.runs = product(tensor->dims, 0, axis);
    return cut;
}

static hocket_status read_at(const hk_gguf_header *header, uint64_t at, char *to, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = pread(fileno(header->stream), to + done, length - done, (off_t)(at + done));
        if (got == 0)
            return hk_fail(HOCKET_ERR_INVALID, "%s has been cut off since it was opened",
                           header->path);
        if (got < 0 && errno != EINTR)
            return hk_fail_errno(errno, "reading %s", header->path);
        done += got > 0 ? (size_t)got : 0;
    }
    return HOCKET_OK;
}

static hocket_status append(hk_unnamed *to, const char *from, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = write(to->fd, from + done, length - done);
        if (put < 0 && errno != EINTR)
            return hk_fail_errno(errno, "copying %zu bytes of a GGUF file", length);
        done += put > 0 ? (size_t)put : 0;
    }
    return HOCKET_OK;
}

static hocket_status copy_run(const hk_gguf_header *header, uint64_t at, uint64_t length,
                              char *piece, hk_unnamed *to)
{
    hocket_status status = HOCKET_OK;
    while (status == HOCKET_OK && length > 0) {
        size_t now = length < PIECE_BYTES ? (size_t)length : PIECE_BYTES;
        status = read_at(header, at, piece, now);
        if (status == HOCKET_OK)
            status = append(to, piece, now);
        at += now;
        length -= now;
    }
    return status;
}

/* Short runs are read many at a time, with what lies between them. */
static hocket_status copy_short_runs(const hk_gguf_header *header, const hk_gguf_cut *cut,
                                     char *piece, hk_unnamed *to)
{
    const size_t run = (size_t)cut->run, stride = (size_t)cut->stride;
    const uint64_t most = PIECE_BYTES / stride;
    hocket_status status = HOCKET_OK;
    for (uint64_t i = 0; status == HOCKET_OK && i < cut->runs; i += most) {
        size_t now = (size_t)(cut->runs - i < most ? cut->runs - i : most);
        status = read_at(header, cut->at + i * stride, piece, (now - 1) * stride + run);
        for (size_t j = 1; status == HOCKET_OK && j < now; j++)
            memmove(piece + j * run, piece + j * stride, run);
        if (status == HOCKET_OK)
            status = append(to, piece, now * run);
    }
    return status;
}

static hocket_status copy(const hk_gguf_header *header, const hk_gguf_cut *cut, hk_unnamed *to)
{
    char *piece = malloc(PIECE_BYTES);
    if (piece == NULL)
        return hk_fail_memory(PIECE_BYTES, "reading a GGUF file");
    hocket_status status = HOCKET_OK;
    if (cut->run == cut->stride)
        status = copy_run(header, cut->at, cut->run * cut->runs, piece, to);
    else if (cut->stride <= PIECE_BYTES)
        status = copy_short_runs(header, cut, piece, to);
    else
        for (uint64_t i = 0; status == HOCKET_OK && i < cut->runs; i++)
            status = copy_run(header, cut->at + i * cut->stride, cut->run, piece, to);
    free(piece);
    return status;
}

/* The first bytes of a small file. */
typedef struct head {
    char bytes[HEAD_MAX];
    size_t length;
} head;

static void put(head *to, unsigned bytes, uint64_t number)
{
    for (unsigned i = 0; i < bytes; i++)
        to->bytes[to->length++] = (char)(number >> (8 * i) & 255);
}

static head start_head(uint64_t tensors, uint64_t keys)
{
    head made = {.bytes = "GGUF", .length = 4};
    put(&made, 4, VERSION);
    put(&made, 8, tensors);
    put(&made, 8, keys);
    return made;
}

/* What comes before the data of a file with one tensor. */
static head tensor_head(const hk_gguf_kind *kind, int rank, const int64_t *dims)
{
    static const char name[] = HK_GGUF_WEIGHT;
    head made = start_head(1, 0);
    put(&made, 8, sizeof name - 1);
    memcpy(made.bytes + made.length, name, sizeof name - 1);
    made.length += sizeof name - 1;
    put(&made, 4, (uint64_t)rank);
    for (int i = rank - 1; i >= 0; i--)
        put(&made, 8, (uint64_t)dims[i]);
    put(&made, 4, kind->number);
    put(&made, 8, 0); /* the data's offset */
    while (made.length % DATA_ALIGNMENT != 0)
        put(&made, 1, 0);
    return made;
}

static hocket_status begin(const head *with, hk_unnamed *made)
{
    hocket_status status = hk_unnamed_make(made);
    return status == HOCKET_OK ? append(made, with->bytes, with->length) : status;
}

static hocket_status end(hocket_status status, hk_unnamed *made)
{
    if (status != HOCKET_OK)
        hk_unnamed_close(made);
    return status;
}

hocket_status hk_gguf_extract(const hk_gguf_header *header, const hk_gguf_tensor *tensor,
                              const hk_gguf_cut *cut, hk_unnamed *made)
{
    const head first = tensor_head(tensor->kind, tensor->rank, cut->dims);
    hocket_status status = begin(&first, made);
    if (status == HOCKET_OK)
        status = copy(header, cut, made);
    return end(status, made);
}

hocket_status hk_gguf_extract_keys(const hk_gguf_header *header, hk_unnamed *made)
{
    const head first = start_head(0, header->keys);
    const hk_gguf_cut keys = {.at = header->keys_at,
                              .run = header->keys_bytes,
                              .stride = header->keys_bytes,
                              .runs = 1};
    hocket_status status = begin(&first, made);
    if (status == HOCKET_OK)
        status = copy(header, &keys, made);
    return end(status, made);
}

hocket_status hk_gguf_make_block(const hk_gguf_kind *kind, hk_unnamed *made)
{
    static const char zeros[BLOCK_MAX];
    const int64_t elements = kind->elements;
    const head first = tensor_head(kind, 1, &elements);
    hocket_status status = begin(&first, made);
    if (status == HOCKET_OK)
        status = append(made, zeros, kind->bytes < BLOCK_MAX ? kind->bytes : BLOCK_MAX);
    return end(status, made);
}
