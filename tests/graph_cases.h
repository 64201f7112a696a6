/* Cases for every operation, against an oracle in double, for any device: in each mode, run twice.
 * A failed case fails the cmocka test that is running and names the operation. */
#ifndef GRAPH_CASES_H
#define GRAPH_CASES_H

#include <hocket/graph.h>

void graph_cases_elementwise(const char *device);
void graph_cases_compare_and_cast(const char *device);
void graph_cases_matmul(const char *device);
void graph_cases_norms(const char *device);
void graph_cases_reductions(const char *device);
void graph_cases_shapes(const char *device);

/* A value of an operation's first input, spread over a few units on both sides of 0. */
double graph_case_value(size_t i, int salt);

/* double to elements of any dtype but complex64, and back. */
void graph_case_store(hocket_dtype dtype, const double *from, size_t count, void *to);
void graph_case_load(hocket_dtype dtype, const void *from, size_t count, double *to);

#endif
