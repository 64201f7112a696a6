/* The operations and kernels of this process: the library's own, from static tables, and those that
 * a program has registered. */
#ifndef HK_GRAPH_REGISTRY_H
#define HK_GRAPH_REGISTRY_H

#include "graph/device.h"

typedef struct hk_op_table {
    const hocket_op_def *defs;
    size_t count;
} hk_op_table;

/* The library's own operations. */
extern const hk_op_table hk_ops_elementwise; /* ops_elementwise.c */
extern const hk_op_table hk_ops_shape;       /* ops_shape.c */
extern const hk_op_table hk_ops_reduce;      /* ops_reduce.c */
extern const hk_op_table hk_ops_attention;   /* ops_attention.c */
extern const hk_op_table hk_ops_collective;  /* collective_ops.c */

/* Stays valid for ever; NULL when there is none. */
const hocket_op_def *hk_op_find(const char *name);

/* The kernel of an operation on a device; false when there is none. */
bool hk_kernel_find(const char *op, const hk_device *device, hk_kernel *kernel);

/* Makes a device known to hk_device_get. device and its tables stay valid for ever. A device by
 * this name is replaced; executables and tensors keep the one they have. */
hocket_status hk_device_add(const hk_device *device);

#endif
