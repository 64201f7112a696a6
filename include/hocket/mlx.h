/* What comes of MLX beside devices and transports.
 *
 * Model files: weights and metadata from GGUF files, by MLX's reader. These functions are
 * libhocket's own, which loads libhocket-mlx when they are used.
 *
 * libhocket opens libhocket-mlx, and with it MLX, when something of it is asked for; on Linux it
 * opens OpenBLAS before, as MLX's wheel has a BLAS that is some 30 times slower. To measure that,
 * HOCKET_BLAS=reference in the environment leaves MLX its own. Where MLX computes on the cpu, the
 * device mlx does some operations by libhocket's own kernels; HOCKET_MLX_KERNELS=mlx leaves those
 * to MLX, too.
 *
 * For programs that use MLX themselves, and link libhocket-mlx beside libhocket:
 *
 * Tensors: on the device mlx the handle of a tensor (hocket_tensor_handle, hocket_tensor_wrap, the
 * handles of a kernel) is an mlx::core::array *, which is also what mlx-c keeps in the ctx of an
 * mlx_array. A kernel makes its output with new; whoever is given a handle away deletes it.
 *
 * Groups: hocket_mlx_group makes of a group what MLX's own operations take, so that all_sum,
 * all_gather, sum_scatter, send, recv, split and all that is built on them run over any transport
 * of hocket's. They stay lazy; an error comes out of eval. MLX's messages go under tag 0. */
#ifndef HOCKET_MLX_H
#define HOCKET_MLX_H

#include <hocket/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* *mlx_group is a new mlx::core::distributed::Group *, the ctx of mlx-c's mlx_distributed_group.
 * group stays the caller's and must outlive it, and whatever was composed with it. A group that
 * MLX's own transport carries gives MLX's own. */
HOCKET_API hocket_status hocket_mlx_group(hocket_group *group, void **mlx_group);
HOCKET_API void hocket_mlx_group_free(void *mlx_group); /* NULL is fine */

/* === GGUF files ==================================================================================
 *
 *     hocket_gguf *file;
 *     hocket_tensor *mine;
 *     hocket_gguf_part rows = {.axis = 0, .start = 768 * rank, .stop = 768 * (rank + 1)};
 *     hocket_gguf_open("model.gguf", &file);
 *     hocket_gguf_tensor(file, "blk.0.ffn_gate.weight", HOCKET_GGUF_FLOAT32, &rows, &mine);
 *     hocket_gguf_close(file);
 *
 * Any thread may use a file, several at a time; closing is the last call on it. On Linux /proc must
 * be there: MLX's reader opens by path, and what it decodes is cut out into files in memory. */

typedef struct hocket_gguf hocket_gguf;

typedef enum hocket_gguf_form {
    HOCKET_GGUF_STORED = 0, /* as MLX keeps it: of a quantized weight, the packed words */
    HOCKET_GGUF_FLOAT32 = 1 /* as float32, a quantized weight dequantized */
} hocket_gguf_form;

/* start <= index < stop along axis (negative: from the last), in the form's own elements. */
typedef struct hocket_gguf_part {
    int axis;
    int64_t start, stop;
} hocket_gguf_part;

/* Opens a file and reads its header and metadata. Tensors stay in it until they are asked for, so
 * it must not be changed before it is closed. HOCKET_ERR_SYSTEM: it cannot be opened.
 * HOCKET_ERR_INVALID: it is no GGUF file, cut off or damaged. HOCKET_ERR_UNSUPPORTED: MLX does not
 * read what is in it. HOCKET_ERR_UNAVAILABLE: no MLX here. *file is NULL after a failure. */
HOCKET_API hocket_status hocket_gguf_open(const char *path, hocket_gguf **file);
/* Gives its memory back; tensors made of it live on. NULL is fine. */
HOCKET_API void hocket_gguf_close(hocket_gguf *file);

/* The arrays by name, in alphabetical order; NULL beyond the last. A quantized weight is three:
 * "x.weight" (uint32), "x.scales" and "x.biases" (float16, one for each group of 32). */
HOCKET_API size_t hocket_gguf_count(const hocket_gguf *file);
HOCKET_API const char *hocket_gguf_name(const hocket_gguf *file, size_t index);
/* HOCKET_ERR_INVALID: no such array. */
HOCKET_API hocket_status hocket_gguf_type(const hocket_gguf *file, const char *name,
                                          hocket_gguf_form form, hocket_type *type);
/* A new tensor on the device mlx with an array, or the part of it (NULL: all). Of the file nothing
 * but that is read into memory, so ranks that take parts of a model may together hold one that is
 * larger than the memory of each. (Two exceptions: of kinds with rows that are not whole blocks all
 * is read, and only the part kept. And of a quantized weight that is read as it is stored, the part
 * stays in memory until the next tensor is read, as its scales and biases come of it too.) */
HOCKET_API hocket_status hocket_gguf_tensor(const hocket_gguf *file, const char *name,
                                            hocket_gguf_form form, const hocket_gguf_part *part,
                                            hocket_tensor **tensor);

/* Metadata: how many values a key has: 0 when there is none, 1, or the length of a list. */
HOCKET_API size_t hocket_gguf_value_count(const hocket_gguf *file, const char *key);
/* A value that is text, until the file is closed; it ends with 0 and may hold others. length may be
 * NULL. HOCKET_ERR_INVALID: no such key, no value by this index, or it is a number. */
HOCKET_API hocket_status hocket_gguf_text(const hocket_gguf *file, const char *key, size_t index,
                                          const char **text, size_t *length);
/* A value that is a number, or true as 1. */
HOCKET_API hocket_status hocket_gguf_number(const hocket_gguf *file, const char *key, size_t index,
                                            double *number);

#ifdef __cplusplus
}
#endif

#endif
