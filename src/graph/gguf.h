/* GGUF files inside: the check that a file is whole, and what libhocket-mlx offers on them. */
#ifndef HK_GRAPH_GGUF_H
#define HK_GRAPH_GGUF_H

#include <hocket/mlx.h>

/* Reads a file's header from end to end and makes sure that all that it describes lies inside the
 * file. MLX's reader maps the file and follows its lengths, so a damaged one could end the process.
 *
 * HOCKET_ERR_SYSTEM: it cannot be opened or read. HOCKET_ERR_INVALID: it is no GGUF file, cut off,
 * or damaged. HOCKET_ERR_UNSUPPORTED: a version or a kind of tensor that MLX does not read. */
hocket_status hk_gguf_check(const char *path);

/* The functions of mlx.h by the same names, and array, of which hocket_gguf_tensor is made: *handle
 * is the device's, evaluated and without ties to the file. All arguments are checked but names. */
typedef struct hk_gguf_table {
    hocket_status (*open)(const char *path, hocket_gguf **file);
    void (*close)(hocket_gguf *file);
    size_t (*count)(const hocket_gguf *file);
    const char *(*name)(const hocket_gguf *file, size_t index);
    hocket_status (*type)(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                          hocket_type *type);
    hocket_status (*array)(const hocket_gguf *file, const char *name, hocket_gguf_form form,
                           const hocket_gguf_part *part, hocket_type *type, void **handle);
    size_t (*value_count)(const hocket_gguf *file, const char *key);
    hocket_status (*text)(const hocket_gguf *file, const char *key, size_t index, const char **text,
                          size_t *length);
    hocket_status (*number)(const hocket_gguf *file, const char *key, size_t index, double *number);
} hk_gguf_table;

#endif
