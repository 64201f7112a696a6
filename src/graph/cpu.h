/* The kernels of the cpu device; cpu.c is their table. */
#ifndef HK_GRAPH_CPU_H
#define HK_GRAPH_CPU_H

#include <hocket/graph.h>

/* cpu_elementwise_kernels.c; kernel contexts choose the operation. */
hocket_status hk_cpu_elementwise(hocket_op_call *call); /* context: const hk_elementwise * */
hocket_status hk_cpu_gelu(hocket_op_call *call);
hocket_status hk_cpu_where(hocket_op_call *call);
hocket_status hk_cpu_cast(hocket_op_call *call);

/* What computes one block, by lane. Comparisons write bool. */
typedef void (*hk_block_fn)(const void *const *inputs, void *output, size_t count);
typedef struct hk_elementwise {
    hk_block_fn by_lane[4]; /* hk_lane; NULL: inference keeps it away */
} hk_elementwise;
extern const hk_elementwise hk_cpu_add, hk_cpu_subtract, hk_cpu_multiply, hk_cpu_divide,
    hk_cpu_maximum, hk_cpu_minimum, hk_cpu_power, hk_cpu_equal, hk_cpu_not_equal, hk_cpu_less,
    hk_cpu_less_equal, hk_cpu_greater, hk_cpu_greater_equal, hk_cpu_negative, hk_cpu_abs,
    hk_cpu_exp, hk_cpu_log, hk_cpu_sqrt, hk_cpu_rsqrt, hk_cpu_sin, hk_cpu_cos, hk_cpu_tanh,
    hk_cpu_sigmoid, hk_cpu_silu, hk_cpu_gelu_erf, hk_cpu_gelu_tanh;

/* cpu_shape.c */
hocket_status hk_cpu_reshape(hocket_op_call *call);
hocket_status hk_cpu_transpose(hocket_op_call *call);
hocket_status hk_cpu_broadcast_to(hocket_op_call *call);
hocket_status hk_cpu_slice(hocket_op_call *call);
hocket_status hk_cpu_concatenate(hocket_op_call *call);
hocket_status hk_cpu_take(hocket_op_call *call);

/* cpu_reduce_kernels.c */
hocket_status hk_cpu_sum(hocket_op_call *call);
hocket_status hk_cpu_mean(hocket_op_call *call);
hocket_status hk_cpu_max(hocket_op_call *call);
hocket_status hk_cpu_min(hocket_op_call *call);
hocket_status hk_cpu_argmax(hocket_op_call *call);

/* cpu_norm_kernels.c */
hocket_status hk_cpu_softmax(hocket_op_call *call);
hocket_status hk_cpu_rms_norm(hocket_op_call *call);
hocket_status hk_cpu_layer_norm(hocket_op_call *call);

/* cpu_matmul.c */
hocket_status hk_cpu_matmul(hocket_op_call *call);

/* cpu_quantized_kernels.c */
hocket_status hk_cpu_quantized_linear(hocket_op_call *call);
hocket_status hk_cpu_dequantize(hocket_op_call *call);

/* cpu_attention_kernels.c */
hocket_status hk_cpu_rope(hocket_op_call *call);
hocket_status hk_cpu_cache_update(hocket_op_call *call);
hocket_status hk_cpu_attention(hocket_op_call *call);

/* collective_ops.c */
hocket_status hk_cpu_all_reduce(hocket_op_call *call);
hocket_status hk_cpu_all_gather(hocket_op_call *call);
hocket_status hk_cpu_reduce_scatter(hocket_op_call *call);
hocket_status hk_cpu_broadcast(hocket_op_call *call);
hocket_status hk_cpu_permute(hocket_op_call *call);
hocket_status hk_cpu_send(hocket_op_call *call);
hocket_status hk_cpu_recv(hocket_op_call *call);

#endif
