/* What a device is to the graph layer: memory, evaluation, and a table of kernels.
 *
 * There are two kinds. On a device that computes (cpu) a handle is memory and a kernel fills it at
 * once; the executable itself decides when. On a device that composes (mlx) a handle is a lazy
 * array of the device, a kernel makes a new one, and `evaluate` computes.
 *
 * Handles are owned by who got them from a device and given back with `release`. All slots may be
 * called from any thread, several at a time; all report through hk_fail (from another library:
 * hocket_op_error, hocket_transport_error). Slots marked (composes) are NULL on a device that
 * computes.
 */
#ifndef HK_GRAPH_DEVICE_H
#define HK_GRAPH_DEVICE_H

#include <hocket/graph.h>

typedef struct hk_kernel {
    const char *op;
    hocket_op_fn run;
    void *context;
} hk_kernel;

/* Finds the cpu device's kernel for an operation, and whether it may write over input 0. */
typedef bool (*hk_host_fn)(const char *op, hk_kernel *kernel, bool *in_place);

/* Composes a whole run: given a handle for each parameter and input (the caller's), makes one for
 * each result (the receiver's to release). On failure, which is the composing kernel's, all results
 * are NULL. */
typedef hocket_status (*hk_compose_fn)(void *context, void *const *inputs, void **results);

typedef struct hk_device {
    size_t size; /* sizeof(hk_device) */
    const char *name;
    bool composes;
    const hk_kernel *kernels; /* the device's own; programs add theirs by hocket_kernel_register */
    size_t kernel_count;

    /* A new handle with a copy of hocket_type_bytes(type) bytes of the host. data NULL: contents
     * are undefined, the caller will fill them (only called where composes is false). */
    hocket_status (*upload)(const hocket_type *type, const void *data, void **handle);
    /* Evaluates if need be, and copies out, contiguous. */
    hocket_status (*read)(void *handle, const hocket_type *type, void *buffer);
    void (*release)(void *handle);

    /* (composes) Evaluates these together and waits. An error in a kernel or collective inside is
     * returned with its own status and text. */
    hocket_status (*evaluate)(void *const *handles, int count);

    /* (composes, optional) Compiled mode. trace makes a program of a composing function, which the
     * device calls at its convenience (on the first run, and again if it must) with the same
     * context; context outlives the program. run_program gives new handles for all results. Its
     * inputs stay the caller's. Where trace is NULL, compiled mode composes in every run. */
    hocket_status (*trace)(hk_compose_fn compose, void *context, int input_count, int result_count,
                           void **program);
    hocket_status (*run_program)(void *program, void *const *inputs, void **results);
    void (*free_program)(void *program);

    /* (composes, optional) Called before anything else: what a device may use for operations on
     * arrays that lie in the host's memory. */
    void (*adopt)(hk_host_fn find);
} hk_device;

/* "cpu", or "mlx", which loads libhocket-mlx on first use. HOCKET_ERR_UNAVAILABLE says why not. */
hocket_status hk_device_get(const char *name, const hk_device **device);

extern const hk_device hk_device_cpu;

#endif
