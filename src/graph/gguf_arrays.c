/* The arrays that MLX's reader makes of a file's tensors, found out without reading them. */
#include "core/status.h"
#include "graph/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_BITS = 32, ROLES = 3 };

static const char *const roles[ROLES] = {HK_GGUF_WEIGHT, HK_GGUF_SCALES, HK_GGUF_BIASES};

/* MLX cuts as many bytes as ".weight" has off a quantized tensor's name, whatever they are. */
static char *name_beside(const char *name, const char *role)
{
    const size_t length = strlen(name), cut = strlen(".weight");
    const size_t stem = length < cut ? length : length - cut;
    const char *what = strchr(role, '.');
    char *made = malloc(stem + strlen(what) + 1);
    if (made == NULL)
        return NULL;
    memcpy(made, name, stem);
    memcpy(made + stem, what, strlen(what) + 1);
    return made;
}

/* What the reader makes of a kind of tensor. */
typedef struct layout {
    bool known;
    hocket_dtype dtype;
    unsigned bits;
} layout;

/* It is given a block, which says it. */
static hocket_status find_layout(const hk_gguf_table *reader, const hk_gguf_kind *kind,
                                 layout *found)
{
    if (found->known)
        return HOCKET_OK;
    hk_unnamed block;
    hocket_status status = hk_gguf_make_block(kind, &block);
    if (status != HOCKET_OK)
        return status;
    hk_gguf_loaded *loaded;
    status = reader->load(block.path, &loaded);
    hk_unnamed_close(&block);
    if (status != HOCKET_OK)
        return status;
    status = reader->layout(loaded, kind->elements, &found->dtype, &found->bits);
    reader->unload(loaded);
    found->known = status == HOCKET_OK;
    return status;
}

static hocket_status set_types(hk_gguf_array *array, const layout *of, int role)
{
    const hk_gguf_tensor *tensor = array->tensor;
    const unsigned bits = of->bits;
    int64_t dims[HOCKET_MAX_RANK], *last = &dims[tensor->rank - 1];
    memcpy(dims, tensor->dims, sizeof dims);
    array->unit = role > 0 ? HK_GGUF_GROUP : bits > 0 ? WORD_BITS / (int64_t)bits : 1;
    *last /= array->unit;
    hocket_dtype stored = role > 0 ? HOCKET_FLOAT16 : of->dtype;
    hocket_status status =
        hocket_type_make(stored, tensor->rank, dims, &array->types[HOCKET_GGUF_STORED]);
    if (role == 0)
        *last = tensor->dims[tensor->rank - 1];
    if (status == HOCKET_OK)
        status = hocket_type_make(HOCKET_FLOAT32, tensor->rank, dims,
                                  &array->types[HOCKET_GGUF_FLOAT32]);
    return status;
}

static hocket_status add(const hk_gguf_tensor *tensor, const layout *of, int role,
                         hk_gguf_arrays *to)
{
    hk_gguf_array *made = &to->items[to->count];
    *made = (hk_gguf_array){.tensor = tensor, .role = roles[role], .is_weight = role == 0};
    made->name = role > 0 ? name_beside(tensor->name, made->role) : strdup(tensor->name);
    if (made->name == NULL)
        return hk_fail_memory(strlen(tensor->name) + 1, "the name of an array");
    to->count++;
    return set_types(made, of, role);
}

static int compare(const void *left, const void *right)
{
    return strcmp(((const hk_gguf_array *)left)->name, ((const hk_gguf_array *)right)->name);
}

static hocket_status check_names(const hk_gguf_header *header, const hk_gguf_arrays *arrays)
{
    for (size_t i = 1; i < arrays->count; i++)
        if (compare(&arrays->items[i - 1], &arrays->items[i]) == 0)
            return hk_fail(HOCKET_ERR_INVALID, "%s is damaged: two of its arrays are called '%s'",
                           header->path, arrays->items[i].name);
    return HOCKET_OK;
}

static hocket_status add_all(const hk_gguf_header *header, const hk_gguf_tensor *tensor,
                             const layout *of, hk_gguf_arrays *to)
{
    const int64_t columns = tensor->dims[tensor->rank - 1];
    if (of->bits > 0 && columns % HK_GGUF_GROUP != 0)
        return hk_fail(
            HOCKET_ERR_UNSUPPORTED,
            "%s: the rows of tensor '%s' have %lld elements; MLX reads quantized ones of "
            "whole groups of %d",
            header->path, tensor->name, (long long)columns, HK_GGUF_GROUP);
    hocket_status status = HOCKET_OK;
    for (int role = 0; status == HOCKET_OK && role < (of->bits > 0 ? ROLES : 1); role++)
        status = add(tensor, of, role, to);
    return status;
}

hocket_status hk_gguf_arrays_list(const hk_gguf_header *header, const hk_gguf_table *reader,
                                  hk_gguf_arrays *arrays)
{
    layout layouts[HK_GGUF_KINDS] = {0};
    *arrays = (hk_gguf_arrays){.items = calloc(ROLES * header->count + 1, sizeof *arrays->items)};
    if (arrays->items == NULL)
        return hk_fail_memory(ROLES * header->count * sizeof *arrays->items, "a table of arrays");
    hocket_status status = HOCKET_OK;
    for (size_t i = 0; status == HOCKET_OK && i < header->count; i++) {
        const hk_gguf_tensor *tensor = &header->tensors[i];
        layout *of = &layouts[tensor->kind->number];
        status = find_layout(reader, tensor->kind, of);
        if (status == HOCKET_OK)
            status = add_all(header, tensor, of, arrays);
    }
    if (status == HOCKET_OK) {
        qsort(arrays->items, arrays->count, sizeof *arrays->items, compare);
        status = check_names(header, arrays);
    }
    if (status != HOCKET_OK)
        hk_gguf_arrays_free(arrays);
    return status;
}

void hk_gguf_arrays_free(hk_gguf_arrays *arrays)
{
    for (size_t i = 0; i < arrays->count; i++)
        free(arrays->items[i].name);
    free(arrays->items);
    *arrays = (hk_gguf_arrays){0};
}

const hk_gguf_array *hk_gguf_arrays_find(const hk_gguf_arrays *arrays, const char *name)
{
    const hk_gguf_array key = {.name = (char *)(uintptr_t)name};
    return bsearch(&key, arrays->items, arrays->count, sizeof key, compare);
}
