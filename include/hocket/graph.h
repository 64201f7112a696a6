/* Graphs: a tensor program that one or several ranks share.
 *
 * A graph is built node by node; each builder function is named after its operation and checks
 * shapes and dtypes at once. An executable is a graph compiled for a device (cpu, mlx) and a mode.
 * Collectives are operations like any other, so a layer whose weights are spread over the ranks is
 * one graph, and on mlx nothing leaves the device:
 *
 *     hocket_graph *graph;
 *     hocket_node x, w, y;
 *     hocket_executable *layer;
 *     hocket_graph_create(&graph);
 *     hocket_graph_input(graph, "x", HOCKET_FLOAT32, 2, (int64_t[]){1, 64}, &x);
 *     hocket_graph_param(graph, "w", HOCKET_FLOAT32, 2, (int64_t[]){64, 32}, &w);
 *     hocket_graph_matmul(graph, x, w, &y);
 *     hocket_graph_all_reduce(graph, y, &y);
 *     if (hocket_graph_output(graph, "y", y) != HOCKET_OK)
 *         return fail(hocket_last_error());
 *     hocket_executable_compile(graph, "cpu", HOCKET_COMPILED, &layer);
 *     hocket_executable_set(layer, "w", weights, sizeof weights);
 *     for (...) {
 *         hocket_executable_set(layer, "x", values, sizeof values);
 *         hocket_executable_run(layer);
 *         hocket_executable_read(layer, "y", result, sizeof result);
 *     }
 *
 * What holds everywhere:
 * - A builder that fails sets *node to a failed node. A builder given a failed node fails with the
 * first failure's text, so a chain of calls may be checked once, at hocket_graph_output.
 * - Shapes are static. A tensor has at most HOCKET_MAX_RANK dimensions, any of which may be 0; rank
 * 0 is a scalar. Data of the host is contiguous, the last dimension fastest.
 * - Dtypes never change by themselves: operands of one operation have the same, else cast.
 * Arithmetic takes integers and floats, division and everything transcendental floats; bool can be
 * cast and compared for equality, and complex64 only be moved and communicated.
 * - Collectives of a graph run in the order in which the graph was built, on every rank, whatever
 * the order in which outputs are read. Between executables the order is that of the runs, or in
 * lazy mode of the reads; ranks must agree on it.
 * - Threads: a graph and an executable each serve one thread at a time. Tensors may be shared. The
 * registries and the table of groups may be used from any thread.
 * - Errors are hocket_status and hocket_last_error(), as in hocket.h. They name the operation, its
 * node and the shapes. After HOCKET_ERR_INVALID nothing has changed.
 */
#ifndef HOCKET_GRAPH_H
#define HOCKET_GRAPH_H

#include <hocket/hocket.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HOCKET_MAX_RANK = 8 };

/* What a tensor is: its dtype and shape. dims beyond rank are 0. */
typedef struct hocket_type {
    hocket_dtype dtype;
    int rank;
    int64_t dims[HOCKET_MAX_RANK];
} hocket_type;

/* HOCKET_ERR_INVALID: no such dtype, rank over HOCKET_MAX_RANK, a negative dimension, or more bytes
 * than memory can have. dims may be NULL when rank is 0. */
HOCKET_API hocket_status hocket_type_make(hocket_dtype dtype, int rank, const int64_t *dims,
                                          hocket_type *type);
HOCKET_API size_t hocket_type_count(const hocket_type *type); /* elements; of a scalar 1 */
HOCKET_API size_t hocket_type_bytes(const hocket_type *type);
/* Writes "float32[2,3]" into text, cut to capacity, and returns text. */
HOCKET_API char *hocket_type_text(const hocket_type *type, char *text, size_t capacity);

/* === Tensors =====================================================================================
 *
 * A tensor lives on a device and does not change. It is counted: each hocket_tensor_free gives back
 * one reference, and inputs, parameters and outputs of executables hold their own. An output kept
 * as a tensor can be the input of the next run without leaving the device. */

typedef struct hocket_tensor hocket_tensor;

/* Copies data (hocket_type_bytes of them) to the device. HOCKET_ERR_UNAVAILABLE: no such device
 * here. *tensor is NULL after a failure. */
HOCKET_API hocket_status hocket_tensor_create(const char *device, hocket_dtype dtype, int rank,
                                              const int64_t *dims, const void *data,
                                              hocket_tensor **tensor);
/* Makes a tensor of a handle that is there already. cpu: the handle is a pointer to the elements,
 * aligned to their size, for example in a mapped file; mlx.h says what it is on mlx. When the last
 * reference goes, release(handle, context) is called, from any thread; NULL: nobody is told. After
 * a failure the handle is still the caller's. */
HOCKET_API hocket_status hocket_tensor_wrap(const char *device, const hocket_type *type,
                                            void *handle,
                                            void (*release)(void *handle, void *context),
                                            void *context, hocket_tensor **tensor);
/* Evaluates it if it is lazy and copies it out. bytes must be hocket_type_bytes. */
HOCKET_API hocket_status hocket_tensor_read(const hocket_tensor *tensor, void *buffer,
                                            size_t bytes);
HOCKET_API const hocket_type *hocket_tensor_type(const hocket_tensor *tensor);
HOCKET_API const char *hocket_tensor_device(const hocket_tensor *tensor);
/* The device's own handle; cpu: a pointer to the elements. Lives as long as the tensor. */
HOCKET_API void *hocket_tensor_handle(const hocket_tensor *tensor);
HOCKET_API hocket_tensor *hocket_tensor_retain(hocket_tensor *tensor); /* one more reference */
HOCKET_API void hocket_tensor_free(hocket_tensor *tensor);             /* NULL is fine */

/* === Attributes ===============================================================================
 *
 * What an operation needs to know besides its inputs: a list of named, typed values. */

typedef enum hocket_attr_kind {
    HOCKET_ATTR_INT = 0,
    HOCKET_ATTR_FLOAT = 1,
    HOCKET_ATTR_STRING = 2,
    HOCKET_ATTR_INTS = 3
} hocket_attr_kind;

typedef struct hocket_attr {
    const char *name;
    hocket_attr_kind kind;
    int64_t integer; /* HOCKET_ATTR_INT */
    double number;   /* HOCKET_ATTR_FLOAT */
    const char *text;    /* HOCKET_ATTR_STRING */
    const int64_t *list; /* HOCKET_ATTR_INTS: count of them */
    size_t count;
} hocket_attr;

HOCKET_API hocket_attr hocket_attr_int(const char *name, int64_t value);
HOCKET_API hocket_attr hocket_attr_float(const char *name, double value);
HOCKET_API hocket_attr hocket_attr_string(const char *name, const char *text);
HOCKET_API hocket_attr hocket_attr_ints(const char *name, const int64_t *list, size_t count);

typedef struct hocket_attrs {
    const hocket_attr *items;
    size_t count;
} hocket_attrs;

/* The value by this name, or otherwise when there is none. An int also serves where a float is
 * asked for. *_ints gives NULL and *count 0. */
HOCKET_API bool hocket_attrs_has(const hocket_attrs *attributes, const char *name);
HOCKET_API int64_t hocket_attrs_int(const hocket_attrs *attributes, const char *name,
                                    int64_t otherwise);
HOCKET_API double hocket_attrs_float(const hocket_attrs *attributes, const char *name,
                                     double otherwise);
HOCKET_API const char *hocket_attrs_string(const hocket_attrs *attributes, const char *name,
                                           const char *otherwise);
HOCKET_API const int64_t *hocket_attrs_ints(const hocket_attrs *attributes, const char *name,
                                            size_t *count);

/* === Graphs =================================================================================== */

typedef struct hocket_graph hocket_graph;

/* A node of one graph. number counts the graph's nodes from 0 in the order of building and is -1
 * for a failed one. */
typedef struct hocket_node {
    uint32_t graph;
    int32_t number;
} hocket_node;

HOCKET_API hocket_status hocket_graph_create(hocket_graph **graph);
/* Executables made of it live on. NULL is fine. */
HOCKET_API void hocket_graph_free(hocket_graph *graph);

/* A value given for each run. Names of inputs and parameters are unique in a graph, and copied. */
HOCKET_API hocket_status hocket_graph_input(hocket_graph *graph, const char *name,
                                            hocket_dtype dtype, int rank, const int64_t *dims,
                                            hocket_node *node);
/* A value given once and kept, a weight. */
HOCKET_API hocket_status hocket_graph_param(hocket_graph *graph, const char *name,
                                            hocket_dtype dtype, int rank, const int64_t *dims,
                                            hocket_node *node);
/* A value that is part of the graph; data is copied. */
HOCKET_API hocket_status hocket_graph_constant(hocket_graph *graph, hocket_dtype dtype, int rank,
                                               const int64_t *dims, const void *data,
                                               hocket_node *node);
/* A constant of rank 0, value converted to dtype (any but complex64). It broadcasts. */
HOCKET_API hocket_status hocket_graph_scalar(hocket_graph *graph, hocket_dtype dtype, double value,
                                             hocket_node *node);
/* Names a node as a result. The same node may have several names. Not collective. */
HOCKET_API hocket_status hocket_graph_output(hocket_graph *graph, const char *name,
                                             hocket_node node);
/* The dtype and shape of a node; NULL for a failed one or one of another graph. Until the graph is
 * freed. */
HOCKET_API const hocket_type *hocket_graph_type(const hocket_graph *graph, hocket_node node);

/* Any registered operation by name: what all builders below call. inputs may be NULL when
 * input_count is 0; attributes may be NULL and are copied. HOCKET_ERR_INVALID: an unknown
 * operation, an attribute that it does not take, or what its inference says about the inputs. */
HOCKET_API hocket_status hocket_graph_op(hocket_graph *graph, const char *op,
                                         const hocket_node *inputs, int input_count,
                                         const hocket_attr *attributes, size_t attribute_count,
                                         hocket_node *node);

/* --- Elementwise. Two operands broadcast as in NumPy: aligned at the last dimension, a dimension
 * of 1 repeats. --- */

HOCKET_API hocket_status hocket_graph_add(hocket_graph *graph, hocket_node left, hocket_node right,
                                          hocket_node *node);
HOCKET_API hocket_status hocket_graph_subtract(hocket_graph *graph, hocket_node left,
                                               hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_multiply(hocket_graph *graph, hocket_node left,
                                               hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_divide(hocket_graph *graph, hocket_node left,
                                             hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_maximum(hocket_graph *graph, hocket_node left,
                                              hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_minimum(hocket_graph *graph, hocket_node left,
                                              hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_power(hocket_graph *graph, hocket_node left,
                                            hocket_node right, hocket_node *node); /* floats */

/* Comparisons: the result is bool. */
HOCKET_API hocket_status hocket_graph_equal(hocket_graph *graph, hocket_node left,
                                            hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_not_equal(hocket_graph *graph, hocket_node left,
                                                hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_less(hocket_graph *graph, hocket_node left,
                                           hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_less_equal(hocket_graph *graph, hocket_node left,
                                                 hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_greater(hocket_graph *graph, hocket_node left,
                                              hocket_node right, hocket_node *node);
HOCKET_API hocket_status hocket_graph_greater_equal(hocket_graph *graph, hocket_node left,
                                                    hocket_node right, hocket_node *node);
/* chosen where condition (bool) is true, otherwise elsewhere; all three broadcast. */
HOCKET_API hocket_status hocket_graph_where(hocket_graph *graph, hocket_node condition,
                                            hocket_node chosen, hocket_node otherwise,
                                            hocket_node *node);

HOCKET_API hocket_status hocket_graph_negative(hocket_graph *graph, hocket_node x,
                                               hocket_node *node);
HOCKET_API hocket_status hocket_graph_abs(hocket_graph *graph, hocket_node x, hocket_node *node);
HOCKET_API hocket_status hocket_graph_exp(hocket_graph *graph, hocket_node x, hocket_node *node);
HOCKET_API hocket_status hocket_graph_log(hocket_graph *graph, hocket_node x, hocket_node *node);
HOCKET_API hocket_status hocket_graph_sqrt(hocket_graph *graph, hocket_node x, hocket_node *node);
HOCKET_API hocket_status hocket_graph_rsqrt(hocket_graph *graph, hocket_node x, hocket_node *node);
HOCKET_API hocket_status hocket_graph_sin(hocket_graph *graph, hocket_node x, hocket_node *node);
HOCKET_API hocket_status hocket_graph_cos(hocket_graph *graph, hocket_node x, hocket_node *node);
HOCKET_API hocket_status hocket_graph_tanh(hocket_graph *graph, hocket_node x, hocket_node *node);
HOCKET_API hocket_status hocket_graph_sigmoid(hocket_graph *graph, hocket_node x,
                                              hocket_node *node);
HOCKET_API hocket_status hocket_graph_silu(hocket_graph *graph, hocket_node x,
                                           hocket_node *node); /* x * sigmoid(x) */
/* x * (1 + erf(x / sqrt 2)) / 2. Attribute "approximate" = "tanh" of the operation "gelu" gives the
 * usual approximation. */
HOCKET_API hocket_status hocket_graph_gelu(hocket_graph *graph, hocket_node x, hocket_node *node);
/* Floats to integers go towards zero; to bool, everything but 0 is true. */
HOCKET_API hocket_status hocket_graph_cast(hocket_graph *graph, hocket_node x, hocket_dtype dtype,
                                           hocket_node *node);

/* --- Products, norms, reductions. Floats; f16 and bf16 are computed in float32 and rounded once.
 * An axis may be negative: -1 is the last. --- */

/* [..., m, k] times [..., k, n]; the leading dimensions broadcast. The attributes
 * "transpose_left" and "transpose_right" (0 or 1) of the operation "matmul" swap an operand's last
 * two dimensions without a copy. */
HOCKET_API hocket_status hocket_graph_matmul(hocket_graph *graph, hocket_node left,
                                             hocket_node right, hocket_node *node);
/* x [..., k] times the transpose of weight [n, k], as weights are usually stored. */
HOCKET_API hocket_status hocket_graph_linear(hocket_graph *graph, hocket_node x, hocket_node weight,
                                             hocket_node *node);
/* The same with a weight [n, k] that stays quantized, as MLX packs it and hocket_gguf_tensor gives
 * it: of each row, group elements in turn have one scale and one bias, element = number * scale +
 * bias, and the numbers of bits each lie in words of 32, the first one lowest. words: uint32
 * [n, k * bits / 32]; scales, biases: [n, k / group], floats of any width up to 32, where x's own
 * dtype is fastest. bits: 4 or 8; group: 32, 64 or 128. The result has x's dtype. */
HOCKET_API hocket_status hocket_graph_quantized_linear(hocket_graph *graph, hocket_node x,
                                                       hocket_node words, hocket_node scales,
                                                       hocket_node biases, int group, int bits,
                                                       hocket_node *node);
/* The floats of rows that are packed so: of a table of embeddings, rows of words, scales and biases
 * are taken and become floats here. [rows, k], of the dtype of scales. */
HOCKET_API hocket_status hocket_graph_dequantize(hocket_graph *graph, hocket_node words,
                                                 hocket_node scales, hocket_node biases, int group,
                                                 int bits, hocket_node *node);
HOCKET_API hocket_status hocket_graph_softmax(hocket_graph *graph, hocket_node x, int axis,
                                              hocket_node *node);
/* Over the last axis: x / sqrt(mean(x^2) + epsilon) * weight. weight: [last]. */
HOCKET_API hocket_status hocket_graph_rms_norm(hocket_graph *graph, hocket_node x,
                                               hocket_node weight, double epsilon,
                                               hocket_node *node);
/* Over the last axis: (x - mean) / sqrt(variance + epsilon) * weight + bias, both [last]. */
HOCKET_API hocket_status hocket_graph_layer_norm(hocket_graph *graph, hocket_node x,
                                                 hocket_node weight, hocket_node bias,
                                                 double epsilon, hocket_node *node);
/* Over these axes, or over all when axes is NULL. keep: reduced dimensions stay as 1. The dtype
 * stays: integers wrap; mean takes floats; max and min of nothing are HOCKET_ERR_INVALID. */
HOCKET_API hocket_status hocket_graph_sum(hocket_graph *graph, hocket_node x, const int64_t *axes,
                                          size_t axis_count, bool keep, hocket_node *node);
HOCKET_API hocket_status hocket_graph_mean(hocket_graph *graph, hocket_node x, const int64_t *axes,
                                           size_t axis_count, bool keep, hocket_node *node);
HOCKET_API hocket_status hocket_graph_max(hocket_graph *graph, hocket_node x, const int64_t *axes,
                                          size_t axis_count, bool keep, hocket_node *node);
HOCKET_API hocket_status hocket_graph_min(hocket_graph *graph, hocket_node x, const int64_t *axes,
                                          size_t axis_count, bool keep, hocket_node *node);

/* Where along axis the largest element is, int32; of equal ones the first. Without the axis. */
HOCKET_API hocket_status hocket_graph_argmax(hocket_graph *graph, hocket_node x, int axis,
                                             hocket_node *node);

/* --- Attention over a cache: what a decoder needs to go on with a text. Floats.
 *
 * position (int32, rank 0) says where in the sequence the call's first row stands. It is a value of
 * the run, so one executable serves every position:
 *
 *     hocket_graph_input(graph, "position", HOCKET_INT32, 0, NULL, &position);
 *     hocket_graph_input(graph, "k_cache", HOCKET_FLOAT32, 3, (int64_t[]){3, 512, 64}, &k_cache);
 *     hocket_graph_rope(graph, k, position, 10000, false, &k);
 *     hocket_graph_cache_update(graph, k_cache, k, position, &k_cache);
 *     hocket_graph_output(graph, "k_cache", k_cache);
 *     ... the same for v; hocket_graph_attention(graph, q, k_cache, v_cache, position, 0.125, &y);
 *
 * and after each run an output becomes the next run's input:
 *
 *     hocket_executable_output(step, "k_cache", &cache);
 *     hocket_executable_bind(step, "k_cache", cache);
 *     hocket_tensor_free(cache);
 *
 * A cache is then written in place, as nobody holds it besides the run: on cpu in eager and
 * compiled mode, on mlx in lazy and compiled mode. It is copied once where somebody does: a caller
 * that kept the tensor, another executable whose last output it is, or a graph that reads the old
 * one too.
 *
 * A position that does not fit is HOCKET_ERR_INVALID: on cpu when run, on mlx when evaluated. MLX's
 * GPUs do not check it and write the rows where they just fit. --- */

/* Rotates pairs of x [heads, rows, size]: row i, pair j by the angle (position + i) *
 * base^(-2j / size). interleaved: pairs are elements 2j and 2j + 1, else j and j + size / 2. The
 * operation "rope" takes factors (float32 [size / 2]) as a third input: angle j is divided by
 * factors[j], for models with a stretched context. */
HOCKET_API hocket_status hocket_graph_rope(hocket_graph *graph, hocket_node x, hocket_node position,
                                           double base, bool interleaved, hocket_node *node);
/* cache [heads, capacity, size] with rows [heads, t, size] at position ... position + t - 1. Any
 * dtype. */
HOCKET_API hocket_status hocket_graph_cache_update(hocket_graph *graph, hocket_node cache,
                                                   hocket_node rows, hocket_node position,
                                                   hocket_node *node);
/* softmax(q k^T * scale) v, for each head: q [heads, t, size], k and v [kv heads, capacity, size].
 * Row i sees columns 0 ... position + i of k and v; those behind only have to be finite. Head j
 * of q reads head j / (heads / kv heads) of k and v; the attribute "heads" of the operation
 * "attention" lists it for each j instead, so that heads may be shared unevenly. On cpu the cost
 * grows with the columns that are seen, not with the capacity. */
HOCKET_API hocket_status hocket_graph_attention(hocket_graph *graph, hocket_node q, hocket_node k,
                                                hocket_node v, hocket_node position, double scale,
                                                hocket_node *node);

/* --- Shapes. Any dtype. --- */

/* One of dims may be -1: what is left. */
HOCKET_API hocket_status hocket_graph_reshape(hocket_graph *graph, hocket_node x, int rank,
                                              const int64_t *dims, hocket_node *node);
/* Dimension i of the result is axes[i] of x; axes NULL reverses them. */
HOCKET_API hocket_status hocket_graph_transpose(hocket_graph *graph, hocket_node x,
                                                const int64_t *axes, hocket_node *node);
HOCKET_API hocket_status hocket_graph_broadcast_to(hocket_graph *graph, hocket_node x, int rank,
                                                   const int64_t *dims, hocket_node *node);
/* start[i] <= index < stop[i] in steps of step[i] > 0 (NULL: 1), one of each for every dimension.
 * Negative numbers count from the end; bounds must lie inside. */
HOCKET_API hocket_status hocket_graph_slice(hocket_graph *graph, hocket_node x,
                                            const int64_t *start, const int64_t *stop,
                                            const int64_t *step, hocket_node *node);
HOCKET_API hocket_status hocket_graph_concatenate(hocket_graph *graph, const hocket_node *inputs,
                                                  int input_count, int axis, hocket_node *node);
/* x's slices along axis by number (indices: int32 or int64 of any shape, which replaces the axis).
 * An index outside is HOCKET_ERR_INVALID when run on cpu; on mlx it is not checked. */
HOCKET_API hocket_status hocket_graph_take(hocket_graph *graph, hocket_node x, hocket_node indices,
                                           int axis, hocket_node *node);

/* --- Collectives, over the group bound to id 0. The operations "collective.all_reduce" and so on
 * take the attributes "group" (id, default 0), "reduce" ("sum" "mean" "max" "min" "prod", default
 * "sum"), "axis" (default 0), "root" (default 0), "to", "peer", "tag" (default 0). They run once in
 * each run, whether their result is used or not. --- */

/* Reduced over the ranks; every rank gets the same bits. */
HOCKET_API hocket_status hocket_graph_all_reduce(hocket_graph *graph, hocket_node x,
                                                 hocket_node *node);
/* The ranks' x one after the other along axis. */
HOCKET_API hocket_status hocket_graph_all_gather(hocket_graph *graph, hocket_node x, int axis,
                                                 hocket_node *node);
/* Summed over the ranks; each keeps its own part of axis, which the world size must divide. */
HOCKET_API hocket_status hocket_graph_reduce_scatter(hocket_graph *graph, hocket_node x, int axis,
                                                     hocket_node *node);
/* x of rank root. */
HOCKET_API hocket_status hocket_graph_broadcast(hocket_graph *graph, hocket_node x, int root,
                                                hocket_node *node);
/* Rank r's x goes to rank to[r], or nowhere at -1; who gets none gets zeros. count: world size. */
HOCKET_API hocket_status hocket_graph_permute(hocket_graph *graph, hocket_node x, const int64_t *to,
                                              size_t count, hocket_node *node);
/* A message to peer; the result is x. */
HOCKET_API hocket_status hocket_graph_send(hocket_graph *graph, hocket_node x, int peer,
                                           uint32_t tag, hocket_node *node);
/* A message from peer, which must be exactly this tensor. Attributes of "collective.recv" besides:
 * "dtype", "dims". */
HOCKET_API hocket_status hocket_graph_recv(hocket_graph *graph, int peer, uint32_t tag,
                                           hocket_dtype dtype, int rank, const int64_t *dims,
                                           hocket_node *node);

/* Binds an id to a group for all graphs of this process. The group is the caller's and must live
 * until it is unbound. HOCKET_ERR_INVALID: the id is bound already, or negative.
 *
 * Id 0 is the world: when nobody has bound it, its first use calls hocket_init(NULL) (which is
 * collective) and keeps that group until id 0 is unbound. Inference and kernels look the id up, so
 * bind before building. */
HOCKET_API hocket_status hocket_graph_bind_group(int64_t id, hocket_group *group);
HOCKET_API hocket_status hocket_graph_unbind_group(int64_t id);
HOCKET_API hocket_status hocket_graph_group(int64_t id, hocket_group **group);

/* === Executables ============================================================================== */

typedef enum hocket_mode {
    HOCKET_EAGER = 0, /* run evaluates node after node */
    HOCKET_LAZY = 1,  /* run only composes; reading an output evaluates what it needs, and every
                         collective built before it */
    HOCKET_COMPILED = 2 /* planned (cpu: which buffers are used again) or traced (mlx) once, and
                           used for every run; only what outputs and collectives need. On cpu
                           run evaluates, on mlx it composes as in lazy mode */
} hocket_mode;

typedef struct hocket_executable hocket_executable;

/* Compiles the graph as it is now for a device ("cpu", "mlx"). Nodes added later are not in it.
 * HOCKET_ERR_INVALID: no outputs. HOCKET_ERR_UNAVAILABLE: no such device here, with the reason.
 * HOCKET_ERR_UNSUPPORTED: an operation has no kernel for the device. */
HOCKET_API hocket_status hocket_executable_compile(const hocket_graph *graph, const char *device,
                                                   hocket_mode mode,
                                                   hocket_executable **executable);
/* NULL is fine. In lazy mode, collectives of the last run that nobody has read are not run. */
HOCKET_API void hocket_executable_free(hocket_executable *executable);

/* Gives an input or a parameter its value: set copies from the host (bytes must be exact), bind
 * shares a tensor of the same device, dtype and shape. A parameter stays until it is given anew; an
 * input is used up by the next run. */
HOCKET_API hocket_status hocket_executable_set(hocket_executable *executable, const char *name,
                                               const void *data, size_t bytes);
HOCKET_API hocket_status hocket_executable_bind(hocket_executable *executable, const char *name,
                                                hocket_tensor *tensor);

/* Runs the graph. HOCKET_ERR_INVALID names the inputs and parameters that are missing. First the
 * collectives of the run before that lazy mode has left are completed. Any failure of a kernel is
 * returned, here or where evaluation happens; the executable can be run again. */
HOCKET_API hocket_status hocket_executable_run(hocket_executable *executable);

/* Copies an output of the last run out. bytes must be exact. May be called again. */
HOCKET_API hocket_status hocket_executable_read(hocket_executable *executable, const char *name,
                                                void *buffer, size_t bytes);
/* An output of the last run as a tensor, which the caller frees. It stays as it is while later runs
 * go on. On cpu it is evaluated, on mlx not. */
HOCKET_API hocket_status hocket_executable_output(hocket_executable *executable, const char *name,
                                                  hocket_tensor **tensor);
/* Completes the last run: evaluates all outputs and collectives that lazy mode has left. */
HOCKET_API hocket_status hocket_executable_finish(hocket_executable *executable);
/* Device memory that the executable has planned for intermediate values, in bytes: compiled mode on
 * cpu; 0 elsewhere. */
HOCKET_API size_t hocket_executable_planned_bytes(const hocket_executable *executable);

/* === Own operations and kernels ==================================================================
 *
 * A program adds operations to all its graphs: the operation says what it takes and gives, a kernel
 * computes it on one device.
 *
 *     static hocket_status infer_twice(hocket_op_call *call)
 *     {
 *         call->output_type = call->input_types[0];
 *         return HOCKET_OK;
 *     }
 *     static hocket_status twice_on_cpu(hocket_op_call *call)
 *     {
 *         const float *x = call->inputs[0];
 *         float *y = call->output;
 *         for (size_t i = 0; i < hocket_type_count(&call->output_type); i++)
 *             y[i] = 2 * x[i];
 *         return HOCKET_OK;
 *     }
 *     hocket_op_register(&(hocket_op_def){.size = sizeof(hocket_op_def), .name = "twice",
 *         .min_inputs = 1, .max_inputs = 1, .infer = infer_twice});
 *     hocket_kernel_register("twice", "cpu", twice_on_cpu, NULL);
 */

/* One use of an operation, for its inference and for its kernels. Everything is valid during the
 * call only. */
typedef struct hocket_op_call {
    size_t size;
    const char *op;
    int node; /* its number in the graph */
    hocket_attrs attributes;
    int input_count;
    const hocket_type *input_types;
    hocket_type output_type; /* inference sets it; kernels read it */
    void *context;           /* as registered */

    /* Kernels. cpu: pointers to contiguous elements; output is memory to fill, of
     * hocket_type_bytes(&output_type), aligned to an element at least, and overlaps no input (but
     * see HOCKET_OP_IN_PLACE). mlx: handles of lazy arrays; the kernel composes and sets output to
     * a new handle, which it gives away. */
    void *const *inputs;
    void *output;
    /* Ordered operations on a device that composes: the handle of the ordered operation before this
     * one in the graph, NULL for the first. The new array must depend on it, so that the two are
     * evaluated in this order. */
    void *after;
} hocket_op_call;

typedef hocket_status (*hocket_op_fn)(hocket_op_call *call);

/* How inference and kernels fail: makes "<op> (node 7): <sentence>" this thread's last error and
 * returns status. */
HOCKET_API hocket_status hocket_op_error(const hocket_op_call *call, hocket_status status,
                                         const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

typedef struct hocket_attr_def {
    const char *name;
    hocket_attr_kind kind;
    bool required;
} hocket_attr_def;

enum {
    HOCKET_OP_ORDERED = 1, /* has an effect outside the graph: runs in every run, in the order of
                              the graph */
    HOCKET_OP_IN_PLACE = 2 /* its cpu kernel works as well with output == inputs[0], which it may be
                              given when both have as many bytes and nobody needs input 0 any more;
                              so a cache that is an input and an output need not be copied */
};
enum { HOCKET_MAX_INPUTS = 256 };

typedef struct hocket_op_def {
    size_t size; /* sizeof(hocket_op_def), so that the struct can grow */
    const char *name;
    int min_inputs, max_inputs;        /* at most HOCKET_MAX_INPUTS */
    const hocket_attr_def *attributes; /* those that it takes */
    size_t attribute_count;
    unsigned flags;
    hocket_op_fn infer; /* checks inputs and attributes (names and kinds are checked already) and
                           sets output_type */
    void *context;      /* for infer */
} hocket_op_def;

/* Adds an operation for all graphs of the process, for good. The struct is copied, with its texts.
 * HOCKET_ERR_INVALID: the name is taken, or the struct is incomplete. */
HOCKET_API hocket_status hocket_op_register(const hocket_op_def *def);
/* Adds a kernel. HOCKET_ERR_INVALID: unknown operation, or it has one for this device.
 * HOCKET_ERR_UNAVAILABLE: no such device here. */
HOCKET_API hocket_status hocket_kernel_register(const char *op, const char *device,
                                                hocket_op_fn kernel, void *context);

#ifdef __cplusplus
}
#endif

#endif
