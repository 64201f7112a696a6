#include "weights.h"

#include "fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct loader {
    const hocket_gguf *file;
    const char *device;
    bool packed; /* quantized weights stay so */
    weights *made;
} loader;

static void release(void *memory, void *context)
{
    (void)context;
    free(memory);
}

/* The reader makes tensors of the device mlx; the cpu's own memory is a copy of one. */
static bool move_to_cpu(hocket_tensor **tensor)
{
    enum { ALIGNMENT = 64 };
    const hocket_type type = *hocket_tensor_type(*tensor);
    size_t bytes = hocket_type_bytes(&type);
    void *memory;
    if (posix_memalign(&memory, ALIGNMENT, bytes + 1) != 0)
        return fault("out of memory for a weight of %zu bytes", bytes);
    hocket_status status = hocket_tensor_read(*tensor, memory, bytes);
    hocket_tensor_free(*tensor);
    *tensor = NULL;
    if (status == HOCKET_OK)
        status = hocket_tensor_wrap("cpu", &type, memory, release, NULL, tensor);
    if (status == HOCKET_OK)
        return true;
    free(memory);
    return fault("%s", hocket_last_error());
}

static bool add(loader *from, const char *name, hocket_gguf_form form, const hocket_gguf_part *part)
{
    weights *made = from->made;
    if (made->count == made->capacity) {
        size_t capacity = 2 * made->capacity + 64;
        weight *items = realloc(made->items, capacity * sizeof *items);
        if (!items)
            return fault("out of memory for the table of weights");
        made->items = items;
        made->capacity = capacity;
    }
    weight *item = &made->items[made->count];
    snprintf(item->name, sizeof item->name, "%s", name);
    TRY(hocket_gguf_tensor(from->file, name, form, part, &item->tensor));
    made->count++;
    if (strcmp(from->device, "cpu") == 0 && !move_to_cpu(&item->tensor))
        return false;
    made->bytes += hocket_type_bytes(hocket_tensor_type(item->tensor));
    return true;
}

static bool check_shape(loader *from, const char *name, int64_t rows, int64_t columns)
{
    hocket_type type;
    char text[96];
    TRY(hocket_gguf_type(from->file, name, HOCKET_GGUF_FLOAT32, &type));
    if (type.rank == (rows > 0 ? 2 : 1) && type.dims[type.rank - 1] == columns &&
        (rows == 0 || type.dims[0] == rows))
        return true;
    return fault("%s is %s, the model's sizes make it %" PRId64 " by %" PRId64, name,
                 hocket_type_text(&type, text, sizeof text), rows, columns);
}

static bool vector(loader *from, const char *name, int length)
{
    return check_shape(from, name, 0, length) && add(from, name, HOCKET_GGUF_FLOAT32, NULL);
}

const char *weight_beside(char *name, const char *weight, const char *what)
{
    size_t stem = strlen(weight) - strlen("weight");
    snprintf(name, WEIGHT_NAME_MAX, "%.*s%s", (int)stem, weight, what);
    return name;
}

int weight_bits(const hocket_type *words, const hocket_type *scales)
{
    if (scales->rank != 2 || words->rank != 2 || scales->dims[1] == 0)
        return 0;
    return (int)(words->dims[1] * WEIGHT_WORD_BITS / (scales->dims[1] * WEIGHT_GROUP));
}

/* Of a weight in the file; 0 when it is not quantized. */
static int bits_of(const loader *from, const char *name)
{
    char scales_name[WEIGHT_NAME_MAX];
    hocket_type words, scales;
    if (hocket_gguf_type(from->file, weight_beside(scales_name, name, "scales"), HOCKET_GGUF_STORED,
                         &scales) != HOCKET_OK ||
        hocket_gguf_type(from->file, name, HOCKET_GGUF_STORED, &words) != HOCKET_OK)
        return 0;
    return weight_bits(&words, &scales);
}

/* Rows or columns of a matrix [rows, columns]. Columns that are not whole groups cannot stay
 * quantized. */
static bool matrix(loader *from, const char *name, int rows, int columns, int axis, span of)
{
    if (!check_shape(from, name, rows, columns))
        return false;
    hocket_gguf_part part = {axis, of.start, of.stop};
    int bits = from->packed ? bits_of(from, name) : 0;
    if ((bits != 4 && bits != 8) ||
        (axis == 1 && (of.start % WEIGHT_GROUP != 0 || of.stop % WEIGHT_GROUP != 0)))
        return add(from, name, HOCKET_GGUF_FLOAT32, &part);
    char other[WEIGHT_NAME_MAX];
    hocket_gguf_part words = part, scales = part;
    if (axis == 1) {
        words = (hocket_gguf_part){1, of.start * bits / WEIGHT_WORD_BITS,
                                   of.stop * bits / WEIGHT_WORD_BITS};
        scales = (hocket_gguf_part){1, of.start / WEIGHT_GROUP, of.stop / WEIGHT_GROUP};
    }
    return add(from, name, HOCKET_GGUF_STORED, &words) &&
           add(from, weight_beside(other, name, "scales"), HOCKET_GGUF_FLOAT32, &scales) &&
           add(from, weight_beside(other, name, "biases"), HOCKET_GGUF_FLOAT32, &scales);
}

static span times(span of, int width)
{
    return (span){of.start * width, of.stop * width};
}

static bool layer(loader *from, const model *of, const share *mine, int number)
{
    char name[WEIGHT_NAME_MAX];
    int width = of->width, head = of->head_width;
    span q = times(mine->heads, head), kv = times(mine->kv_heads, head);
#define NAME(part) weight_name(name, number, part)
    return vector(from, NAME("attn_norm"), width) &&
           matrix(from, NAME("attn_q"), of->heads * head, width, 0, q) &&
           matrix(from, NAME("attn_k"), of->kv_heads * head, width, 0, kv) &&
           matrix(from, NAME("attn_v"), of->kv_heads * head, width, 0, kv) &&
           matrix(from, NAME("attn_output"), width, of->heads * head, 1, q) &&
           vector(from, NAME("ffn_norm"), width) &&
           matrix(from, NAME("ffn_gate"), of->inside, width, 0, mine->inside) &&
           matrix(from, NAME("ffn_up"), of->inside, width, 0, mine->inside) &&
           matrix(from, NAME("ffn_down"), width, of->inside, 1, mine->inside);
#undef NAME
}

bool weights_load(const hocket_gguf *file, const model *of, const share *mine,
                  const options *chosen, weights *made)
{
    *made = (weights){0};
    loader from = {file, chosen->device, chosen->weights == WEIGHTS_Q4, made};
    bool ok = true;
    if (mine->is_first || (mine->is_last && of->tied))
        ok = matrix(&from, "token_embd.weight", of->vocabulary, of->width, 0, mine->rows);
    for (int i = mine->layers.start; ok && i < mine->layers.stop; i++)
        ok = layer(&from, of, mine, i);
    if (ok && mine->is_last)
        ok = vector(&from, "output_norm.weight", of->width) &&
             (of->tied || matrix(&from, "output.weight", of->vocabulary, of->width, 0, mine->rows));
    hocket_type factors;
    if (ok &&
        hocket_gguf_type(file, "rope_freqs.weight", HOCKET_GGUF_FLOAT32, &factors) == HOCKET_OK)
        ok = vector(&from, "rope_freqs.weight", of->head_width / 2);
    return ok;
}

const weight *weights_find(const weights *from, const char *name)
{
    for (size_t i = 0; i < from->count; i++)
        if (strcmp(from->items[i].name, name) == 0)
            return &from->items[i];
    return NULL;
}

void weights_free(weights *made)
{
    for (size_t i = 0; i < made->count; i++)
        hocket_tensor_free(made->items[i].tensor);
    free(made->items);
    *made = (weights){0};
}
