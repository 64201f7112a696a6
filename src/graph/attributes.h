/* Attributes of operations: copies and checks. */
#ifndef HK_GRAPH_ATTRIBUTES_H
#define HK_GRAPH_ATTRIBUTES_H

#include <hocket/graph.h>

/* A deep copy, in one allocation, of checked attributes; give it back by free((void *)copy->items).
 */
hocket_status hk_attrs_copy(const hocket_attr *items, size_t count, hocket_attrs *copy);

/* Names and kinds against what an operation takes; each name once, the required ones present. */
hocket_status hk_attrs_check(const hocket_op_call *call, const hocket_op_def *def);

#endif
