/* GGUF files inside. libhocket reads a file's header and copies what is asked for, a tensor or some
 * of its rows or columns, into a small GGUF file of its own; MLX's reader, which can only read
 * whole files, decodes that one. So no more of a file is in memory than what is asked for. */
#ifndef HK_GRAPH_GGUF_H
#define HK_GRAPH_GGUF_H

#include "core/unnamed.h"

#include <hocket/mlx.h>

#include <stdio.h>

enum {
    HK_GGUF_GROUP = 32, /* weights that have one scale, in what MLX keeps quantized */
    HK_GGUF_KINDS = 32
};

/* A kind of tensor that MLX reads. */
typedef struct hk_gguf_kind {
    uint32_t number;          /* GGUF's, below HK_GGUF_KINDS */
    unsigned elements, bytes; /* of a block */
} hk_gguf_kind;

typedef struct hk_gguf_tensor {
    char *name;
    const hk_gguf_kind *kind;
    int rank;                      /* 1 at least */
    int64_t dims[HOCKET_MAX_RANK]; /* the last is the one whose elements lie side by side */
    uint64_t at;                   /* its data, from the start of the file */
} hk_gguf_tensor;

/* A file that is open, and what its header says. Nothing in it changes: any thread may use it. */
typedef struct hk_gguf_header {
    char *path;
    FILE *stream;
    uint64_t keys, keys_at, keys_bytes; /* how many, and where they are described */
    hk_gguf_tensor *tensors;
    size_t count;
} hk_gguf_header;

/* Opens a file, reads its header from end to end and makes sure that all that it describes lies
 * inside the file. MLX's reader maps files and follows their lengths, so a damaged one could end
 * the process.
 *
 * HOCKET_ERR_SYSTEM: it cannot be opened or read. HOCKET_ERR_INVALID: it is no GGUF file, cut off,
 * or damaged. HOCKET_ERR_UNSUPPORTED: a version or a kind of tensor or value that MLX does not
 * read. Nothing is to be closed then. */
hocket_status hk_gguf_header_open(const char *path, hk_gguf_header *header);
void hk_gguf_header_close(hk_gguf_header *header);

/* A part of a tensor in whole blocks: `runs` runs of `run` bytes, each `stride` bytes after the one
 * before. dims are the part's own. */
typedef struct hk_gguf_cut {
    uint64_t at, run, stride, runs;
    int64_t dims[HOCKET_MAX_RANK];
    int64_t first; /* index along the axis at which it begins */
} hk_gguf_cut;

/* The least cut with the elements start <= index < stop along axis, which are inside and some. It
 * is the whole tensor where rows do not consist of whole blocks. */
hk_gguf_cut hk_gguf_cut_make(const hk_gguf_tensor *tensor, int axis, int64_t start, int64_t stop);

/* The names of arrays that MLX makes of a cut: the first always, the others of what is quantized.
 */
#define HK_GGUF_WEIGHT "t.weight"
#define HK_GGUF_SCALES "t.scales"
#define HK_GGUF_BIASES "t.biases"

/* New GGUF files: one with nothing but a cut as the tensor HK_GGUF_WEIGHT, one with nothing but the
 * keys, and one with a block of zeros as that tensor. HOCKET_ERR_INVALID: the file has been cut off
 * since it was opened. HOCKET_ERR_SYSTEM: it cannot be read, or there is no room for the new one.
 * Nothing is to be closed then. */
hocket_status hk_gguf_extract(const hk_gguf_header *header, const hk_gguf_tensor *tensor,
                              const hk_gguf_cut *cut, hk_unnamed *made);
hocket_status hk_gguf_extract_keys(const hk_gguf_header *header, hk_unnamed *made);
hocket_status hk_gguf_make_block(const hk_gguf_kind *kind, hk_unnamed *made);

/* What libhocket-mlx does: it reads small files. A hk_gguf_loaded has no ties to its file, does not
 * change, and serves any thread. */
typedef struct hk_gguf_loaded hk_gguf_loaded;
typedef struct hk_gguf_table {
    hocket_status (*load)(const char *path, hk_gguf_loaded **loaded);
    void (*unload)(hk_gguf_loaded *loaded); /* NULL is fine */
    /* Of a tensor of one row: the dtype of its HK_GGUF_WEIGHT, and how many bits of that an element
     * is packed into; 0: it is not quantized. */
    hocket_status (*layout)(const hk_gguf_loaded *loaded, unsigned elements, hocket_dtype *dtype,
                            unsigned *bits);
    void (*tidy)(void); /* gives back what MLX keeps of memory that was unloaded */
    /* A part of an array by its role; *handle is the device's, evaluated. The part lies inside, its
     * axis counted from the first; type is what must come out. */
    hocket_status (*array)(const hk_gguf_loaded *loaded, const char *role, hocket_gguf_form form,
                           const hocket_gguf_part *part, const hocket_type *type, void **handle);
    /* The functions of mlx.h by the same names. */
    size_t (*value_count)(const hk_gguf_loaded *loaded, const char *key);
    hocket_status (*text)(const hk_gguf_loaded *loaded, const char *key, size_t index,
                          const char **text, size_t *length);
    hocket_status (*number)(const hk_gguf_loaded *loaded, const char *key, size_t index,
                            double *number);
} hk_gguf_table;

/* An array of a file, as MLX would name it. */
typedef struct hk_gguf_array {
    char *name;
    const hk_gguf_tensor *tensor;
    const char *role;     /* HK_GGUF_WEIGHT, ... */
    bool is_weight;       /* and not what is beside a quantized one */
    int64_t unit;         /* elements of the tensor that one of the array has, as it is stored */
    hocket_type types[2]; /* by form */
} hk_gguf_array;

typedef struct hk_gguf_arrays {
    hk_gguf_array *items; /* sorted by name */
    size_t count;
} hk_gguf_arrays;

/* Asks the reader what it makes of the kinds of tensors that are there, as versions of MLX differ.
 * HOCKET_ERR_INVALID: two have one name. HOCKET_ERR_UNSUPPORTED: rows that MLX does not read.
 * Nothing is to be freed then. */
hocket_status hk_gguf_arrays_list(const hk_gguf_header *header, const hk_gguf_table *reader,
                                  hk_gguf_arrays *arrays);
void hk_gguf_arrays_free(hk_gguf_arrays *arrays);
/* NULL: there is none. */
const hk_gguf_array *hk_gguf_arrays_find(const hk_gguf_arrays *arrays, const char *name);

#endif
