/* Headers of GGUF files, and what is cut out of files by them. */
#include "graph/gguf.h"
#include "input.h"

#include <unistd.h>

enum { PATH_BYTES = 32, TENSORS = 8 };

/* The file is as long as its header wants, so that all that it describes can be cut out. */
static void cut_out(const hk_gguf_header *header, const hk_gguf_tensor *tensor, int axis)
{
    const int64_t length = tensor->dims[axis];
    for (int i = 0; i < tensor->rank; i++)
        if (tensor->dims[i] == 0)
            return;
    for (int64_t start = 0; start < length; start += 1 + length / 2) {
        hk_gguf_cut cut = hk_gguf_cut_make(tensor, axis, start, start + 1 + (length - start) / 3);
        FUZZ_CHECK(cut.first <= start && cut.run > 0 && cut.run <= cut.stride);
        hk_unnamed made;
        FUZZ_CHECK(hk_gguf_extract(header, tensor, &cut, &made) == HOCKET_OK);
        off_t size = lseek(made.fd, 0, SEEK_END);
        FUZZ_CHECK(size > 0 && (uint64_t)size % 32 == cut.run * cut.runs % 32);
        hk_gguf_header small;
        FUZZ_CHECK(hk_gguf_header_open(made.path, &small) == HOCKET_OK && small.count == 1);
        hk_gguf_header_close(&small);
        hk_unnamed_close(&made);
    }
}

/* In place of MLX: every kind is packed into four bits. */
static hocket_status load(const char *path, hk_gguf_loaded **loaded)
{
    hk_gguf_header block;
    FUZZ_CHECK(hk_gguf_header_open(path, &block) == HOCKET_OK && block.count == 1);
    hk_gguf_header_close(&block);
    *loaded = NULL;
    return HOCKET_OK;
}

static hocket_status layout(const hk_gguf_loaded *loaded, unsigned elements, hocket_dtype *dtype,
                            unsigned *bits)
{
    (void)loaded;
    *dtype = HOCKET_UINT32;
    *bits = elements > 1 ? 4 : 0;
    return HOCKET_OK;
}

static void unload(hk_gguf_loaded *loaded)
{
    (void)loaded;
}

static void use(const hk_gguf_header *header)
{
    hk_unnamed keys;
    FUZZ_CHECK(hk_gguf_extract_keys(header, &keys) == HOCKET_OK);
    hk_gguf_header small;
    FUZZ_CHECK(hk_gguf_header_open(keys.path, &small) == HOCKET_OK && small.count == 0 &&
               small.keys == header->keys);
    hk_gguf_header_close(&small);
    hk_unnamed_close(&keys);
    const hk_gguf_table reader = {.load = load, .unload = unload, .layout = layout};
    hk_gguf_arrays arrays;
    if (hk_gguf_arrays_list(header, &reader, &arrays) != HOCKET_OK)
        return;
    for (size_t i = 0; i < arrays.count; i++)
        FUZZ_CHECK(hk_gguf_arrays_find(&arrays, arrays.items[i].name) == &arrays.items[i]);
    for (size_t i = 0; i < header->count && i < TENSORS; i++)
        for (int axis = 0; axis < header->tensors[i].rank; axis++)
            cut_out(header, &header->tensors[i], axis);
    hk_gguf_arrays_free(&arrays);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) {
        FILE *file = tmpfile();
        FUZZ_CHECK(file != NULL && (fd = dup(fileno(file))) >= 0);
        fclose(file);
    }
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    FUZZ_CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    hk_gguf_header header;
    hocket_status status = hk_gguf_header_open(path, &header);
    if (status == HOCKET_OK) {
        use(&header);
        hk_gguf_header_close(&header);
    }
    FUZZ_CHECK(status == HOCKET_OK || status == HOCKET_ERR_INVALID ||
               status == HOCKET_ERR_UNSUPPORTED || status == HOCKET_ERR_NO_MEMORY);
    return 0;
}
