/* The public functions on GGUF files, which libhocket-mlx carries out. They are here so that a
 * program need not link libhocket-mlx: it is loaded when the first file is opened. */
#include "graph/gguf.h"

#include "core/plugin.h"
#include "core/status.h"
#include "graph/device.h"
#include "graph/tensor.h"

#include <errno.h>
#include <unistd.h>

static hocket_status find_table(const hk_gguf_table **table)
{
    const hk_plugin *plugin;
    hocket_status status = hk_plugin_mlx(&plugin);
    *table = status == HOCKET_OK ? plugin->gguf : NULL;
    return status;
}

/* The table of a file that is open, which has therefore been found before. */
static const hk_gguf_table *table_of_open(void)
{
    const hk_gguf_table *table;
    find_table(&table);
    return table;
}

static hocket_status fail_null(const char *function)
{
    return hk_fail(HOCKET_ERR_INVALID, "%s: an argument is NULL", function);
}

static bool is_form(hocket_gguf_form form)
{
    return form == HOCKET_GGUF_STORED || form == HOCKET_GGUF_FLOAT32;
}

hocket_status hocket_gguf_open(const char *path, hocket_gguf **file)
{
    if (file)
        *file = NULL;
    if (path == NULL || file == NULL)
        return fail_null("hocket_gguf_open");
    hocket_status status = hk_gguf_check(path);
    /* MLX's reader opens for reading and writing, though it writes nothing. */
    if (status == HOCKET_OK && access(path, W_OK) != 0)
        status = hk_fail_errno(errno,
                               "%s may not be written, and MLX opens GGUF files so that they "
                               "could be; a copy with permission to write will do",
                               path);
    const hk_gguf_table *table;
    if (status == HOCKET_OK)
        status = find_table(&table);
    if (status == HOCKET_OK)
        status = table->open(path, file);
    return status == HOCKET_OK ? HOCKET_OK : hk_fail_prefix("hocket_gguf_open: ");
}

void hocket_gguf_close(hocket_gguf *file)
{
    if (file)
        table_of_open()->close(file);
}

size_t hocket_gguf_count(const hocket_gguf *file)
{
    return file ? table_of_open()->count(file) : 0;
}

const char *hocket_gguf_name(const hocket_gguf *file, size_t index)
{
    return index < hocket_gguf_count(file) ? table_of_open()->name(file, index) : NULL;
}

hocket_status hocket_gguf_type(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                               hocket_type *type)
{
    if (file == NULL || name == NULL || type == NULL)
        return fail_null("hocket_gguf_type");
    if (!is_form(form))
        return hk_fail(HOCKET_ERR_INVALID, "hocket_gguf_type: there is no form %d", (int)form);
    return table_of_open()->type(file, name, form, type);
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
    hocket_type type;
    void *handle;
    hocket_status status = hk_device_get("mlx", &device);
    if (status == HOCKET_OK)
        status = table_of_open()->array(file, name, form, part, &type, &handle);
    return status == HOCKET_OK ? hk_tensor_make(device, &type, handle, tensor) : status;
}

size_t hocket_gguf_value_count(const hocket_gguf *file, const char *key)
{
    return file && key ? table_of_open()->value_count(file, key) : 0;
}

hocket_status hocket_gguf_text(const hocket_gguf *file, const char *key, size_t index,
                               const char **text, size_t *length)
{
    if (file == NULL || key == NULL || text == NULL)
        return fail_null("hocket_gguf_text");
    *text = NULL;
    return table_of_open()->text(file, key, index, text, length);
}

hocket_status hocket_gguf_number(const hocket_gguf *file, const char *key, size_t index,
                                 double *number)
{
    if (file == NULL || key == NULL || number == NULL)
        return fail_null("hocket_gguf_number");
    return table_of_open()->number(file, key, index, number);
}
