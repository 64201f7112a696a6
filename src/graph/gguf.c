/* The public functions on GGUF files. libhocket reads the header and cuts out what is asked for;
 * libhocket-mlx, which is loaded when the first file is opened, decodes it. */
#include "graph/gguf.h"

#include "core/plugin.h"
#include "core/status.h"
#include "graph/device.h"
#include "graph/tensor.h"

#include <pthread.h>
#include <stdlib.h>

/* The last quantized tensor that was read: of a weight that stays quantized three arrays are asked
 * for, one after the other. Whoever needs it takes it out and puts it back. */
typedef struct kept_tensor {
    pthread_mutex_t lock;
    const hk_gguf_tensor *tensor; /* NULL: none */
    hk_gguf_cut cut;
    hk_gguf_loaded *loaded;
} kept_tensor;

struct hocket_gguf {
    const hk_gguf_table *reader;
    hk_gguf_header header;
    hk_gguf_arrays arrays;
    hk_gguf_loaded *keys;
    kept_tensor *kept;
};

static hocket_status find_reader(const hk_gguf_table **reader)
{
    const hk_plugin *plugin;
    hocket_status status = hk_plugin_mlx(&plugin);
    *reader = status == HOCKET_OK ? plugin->gguf : NULL;
    return status;
}

static hocket_status fail_null(const char *function)
{
    return hk_fail(HOCKET_ERR_INVALID, "%s: an argument is NULL", function);
}

static bool is_form(hocket_gguf_form form)
{
    return form == HOCKET_GGUF_STORED || form == HOCKET_GGUF_FLOAT32;
}

/* === Opening ================================================================================== */

static hocket_status load_keys(hocket_gguf *file)
{
    hk_unnamed small;
    hocket_status status = hk_gguf_extract_keys(&file->header, &small);
    if (status != HOCKET_OK)
        return status;
    status = file->reader->load(small.path, &file->keys);
    hk_unnamed_close(&small);
    return status == HOCKET_OK ? HOCKET_OK : hk_fail_prefix("%s: ", file->header.path);
}

static hocket_status open_all(const char *path, hocket_gguf *file)
{
    hocket_status status = hk_gguf_header_open(path, &file->header);
    if (status == HOCKET_OK)
        status = find_reader(&file->reader);
    if (status == HOCKET_OK)
        status = hk_gguf_arrays_list(&file->header, file->reader, &file->arrays);
    return status == HOCKET_OK ? load_keys(file) : status;
}

static hocket_gguf *make_file(void)
{
    hocket_gguf *made = calloc(1, sizeof *made);
    kept_tensor *kept = calloc(1, sizeof *kept);
    if (made && kept && pthread_mutex_init(&kept->lock, NULL) == 0) {
        made->kept = kept;
        return made;
    }
    free(made);
    free(kept);
    return NULL;
}

hocket_status hocket_gguf_open(const char *path, hocket_gguf **file)
{
    if (file)
        *file = NULL;
    if (path == NULL || file == NULL)
        return fail_null("hocket_gguf_open");
    hocket_gguf *made = make_file();
    if (made == NULL)
        return hk_fail_memory(sizeof *made, "a GGUF file");
    hocket_status status = open_all(path, made);
    if (status == HOCKET_OK) {
        *file = made;
        return HOCKET_OK;
    }
    hocket_gguf_close(made);
    return hk_fail_prefix("hocket_gguf_open: ");
}

void hocket_gguf_close(hocket_gguf *file)
{
    if (file == NULL)
        return;
    if (file->reader) {
        file->reader->unload(file->kept->loaded);
        file->reader->unload(file->keys);
        file->reader->tidy();
    }
    pthread_mutex_destroy(&file->kept->lock);
    free(file->kept);
    hk_gguf_arrays_free(&file->arrays);
    hk_gguf_header_close(&file->header);
    free(file);
}

/* === Arrays =================================================================================== */

size_t hocket_gguf_count(const hocket_gguf *file)
{
    return file ? file->arrays.count : 0;
}

const char *hocket_gguf_name(const hocket_gguf *file, size_t index)
{
    return index < hocket_gguf_count(file) ? file->arrays.items[index].name : NULL;
}

static hocket_status find(const hocket_gguf *file, const char *name, const hk_gguf_array **array)
{
    *array = hk_gguf_arrays_find(&file->arrays, name);
    return *array ? HOCKET_OK
                  : hk_fail(HOCKET_ERR_INVALID, "%s has no array '%s'", file->header.path, name);
}

hocket_status hocket_gguf_type(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                               hocket_type *type)
{
    if (file == NULL || name == NULL || type == NULL)
        return fail_null("hocket_gguf_type");
    if (!is_form(form))
        return hk_fail(HOCKET_ERR_INVALID, "hocket_gguf_type: there is no form %d", (int)form);
    const hk_gguf_array *array;
    hocket_status status = find(file, name, &array);
    if (status == HOCKET_OK)
        *type = array->types[form];
    return status;
}

/* What is asked for of an array. */
typedef struct request {
    const hk_gguf_array *array;
    hocket_gguf_form form;
    hocket_gguf_part part; /* inside, its axis counted from the first */
    hocket_type type;      /* of what comes out */
} request;

/* part NULL: the whole, which is one along the first axis. */
static hocket_status set_part(const hocket_gguf_part *part, request *of)
{
    const char *name = of->array->name;
    of->type = of->array->types[of->form];
    of->part = (hocket_gguf_part){.stop = of->type.dims[0]};
    if (part == NULL)
        return HOCKET_OK;
    const int rank = of->type.rank;
    if (part->axis < -rank || part->axis >= rank)
        return hk_fail(HOCKET_ERR_INVALID, "%s has %d dimensions, none is axis %d", name, rank,
                       part->axis);
    of->part = *part;
    of->part.axis += part->axis < 0 ? rank : 0;
    int64_t *length = &of->type.dims[of->part.axis];
    if (part->start < 0 || part->start > part->stop || part->stop > *length)
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s has %lld along axis %d; %lld to %lld does not lie inside", name,
                       (long long)*length, of->part.axis, (long long)part->start,
                       (long long)part->stop);
    *length = part->stop - part->start;
    return HOCKET_OK;
}

/* Whether it is one of the three that a quantized weight is, and not the weight unpacked. */
static bool is_packed(const request *of)
{
    return of->array->unit > 1 && (of->form == HOCKET_GGUF_STORED || !of->array->is_weight);
}

/* How many elements of the tensor one step along the part's axis is. */
static int64_t unit_of(const request *of)
{
    return is_packed(of) && of->part.axis == of->type.rank - 1 ? of->array->unit : 1;
}

static bool is_same_cut(const hk_gguf_cut *left, const hk_gguf_cut *right)
{
    return left->at == right->at && left->run == right->run && left->runs == right->runs;
}

/* The tensor that was kept, when it is this one. Any other goes: what is read next needs the room.
 */
static hk_gguf_loaded *take_kept(const hocket_gguf *file, const hk_gguf_tensor *tensor,
                                 const hk_gguf_cut *cut)
{
    kept_tensor *kept = file->kept;
    pthread_mutex_lock(&kept->lock);
    const bool same = kept->tensor == tensor && is_same_cut(&kept->cut, cut);
    hk_gguf_loaded *loaded = kept->loaded;
    kept->tensor = NULL;
    kept->loaded = NULL;
    pthread_mutex_unlock(&kept->lock);
    if (same)
        return loaded;
    file->reader->unload(loaded);
    return NULL;
}

static void keep(const hocket_gguf *file, const hk_gguf_tensor *tensor, const hk_gguf_cut *cut,
                 hk_gguf_loaded *loaded)
{
    kept_tensor *kept = file->kept;
    pthread_mutex_lock(&kept->lock);
    hk_gguf_loaded *before = kept->loaded;
    kept->tensor = tensor;
    kept->cut = *cut;
    kept->loaded = loaded;
    pthread_mutex_unlock(&kept->lock);
    file->reader->unload(before);
}

static hocket_status load_cut(const hocket_gguf *file, const hk_gguf_tensor *tensor,
                              const hk_gguf_cut *cut, hk_gguf_loaded **loaded)
{
    *loaded = take_kept(file, tensor, cut);
    if (*loaded)
        return HOCKET_OK;
    hk_unnamed small;
    hocket_status status = hk_gguf_extract(&file->header, tensor, cut, &small);
    if (status != HOCKET_OK)
        return status;
    status = file->reader->load(small.path, loaded);
    hk_unnamed_close(&small);
    return status;
}

static hocket_status make_handle(const hocket_gguf *file, const request *of, void **handle)
{
    const hk_gguf_array *array = of->array;
    const int64_t unit = unit_of(of);
    const hk_gguf_cut cut =
        hk_gguf_cut_make(array->tensor, of->part.axis, of->part.start * unit, of->part.stop * unit);
    hk_gguf_loaded *loaded;
    hocket_status status = load_cut(file, array->tensor, &cut, &loaded);
    if (status != HOCKET_OK)
        return status;
    hocket_gguf_part left = of->part;
    left.start -= cut.first / unit;
    left.stop -= cut.first / unit;
    status = file->reader->array(loaded, array->role, of->form, &left, &of->type, handle);
    if (is_packed(of))
        keep(file, array->tensor, &cut, loaded);
    else
        file->reader->unload(loaded);
    return status;
}

hocket_status hocket_gguf_tensor(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                                 const hocket_gguf_part *part, hocket_tensor **tensor)
{
    if (tensor)
        *tensor = NULL;
    if (file == NULL || name == NULL || tensor == NULL)
        return fail_null("hocket_gguf_tensor");
    if (!is_form(form))
        return hk_fail(HOCKET_ERR_INVALID, "hocket_gguf_tensor: there is no form %d", (int)form);
    const hk_device *device;
    request of = {.form = form};
    hocket_status status = hk_device_get("mlx", &device);
    if (status == HOCKET_OK)
        status = find(file, name, &of.array);
    if (status == HOCKET_OK)
        status = set_part(part, &of);
    if (status != HOCKET_OK)
        return status;
    if (hocket_type_count(&of.type) == 0)
        return hk_tensor_upload(device, &of.type, "", tensor);
    void *handle;
    status = make_handle(file, &of, &handle);
    return status == HOCKET_OK ? hk_tensor_make(device, &of.type, handle, tensor)
                               : hk_fail_prefix("%s: ", name);
}

/* === Metadata ================================================================================= */

size_t hocket_gguf_value_count(const hocket_gguf *file, const char *key)
{
    return file && key ? file->reader->value_count(file->keys, key) : 0;
}

hocket_status hocket_gguf_text(const hocket_gguf *file, const char *key, size_t index,
                               const char **text, size_t *length)
{
    if (file == NULL || key == NULL || text == NULL)
        return fail_null("hocket_gguf_text");
    *text = NULL;
    hocket_status status = file->reader->text(file->keys, key, index, text, length);
    return status == HOCKET_OK ? HOCKET_OK : hk_fail_prefix("%s: ", file->header.path);
}

hocket_status hocket_gguf_number(const hocket_gguf *file, const char *key, size_t index,
                                 double *number)
{
    if (file == NULL || key == NULL || number == NULL)
        return fail_null("hocket_gguf_number");
    hocket_status status = file->reader->number(file->keys, key, index, number);
    return status == HOCKET_OK ? HOCKET_OK : hk_fail_prefix("%s: ", file->header.path);
}
