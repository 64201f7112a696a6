/* What every transport must do, as cases that are run over it at world sizes 1, 2, 3, 4, 5 and 8. A
 * transport's own test file is its `struct harness_backend` and
 *
 *     int main(void) { return conformance_run(&my_backend); }
 */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include "harness.h"

struct conformance_case {
    const char *name; /* what holds when it passes */
    member_body body;
    int size_min, size_max; /* worlds that it makes sense in; 0 0 is all */
    bool bounded;           /* only where a send may have to wait for its receive */
    bool duplicates;        /* only where a second init makes a duplicate */
};

/* Each ends with a case without a name. */
extern const struct conformance_case conformance_messages[];
extern const struct conformance_case conformance_requests[];
extern const struct conformance_case conformance_groups[];

/* All cases over one transport; returns the number of those that failed. */
int conformance_run(const struct harness_backend *backend);

#endif
