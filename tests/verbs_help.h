/* Tests over the libibverbs of tests/verbs; or, where HOCKET_TEST_DEVICES names devices of this
 * host
 * ("rxe0,rxe1,rxe2"), over these by the system's own. What settings ask of the former (losses,
 * Apple's limits) whoever names devices has to see to. */
#ifndef TESTS_VERBS_HELP_H
#define TESTS_VERBS_HELP_H

#include "harness.h"
#include "verbs/counts.h"

/* Ways of opening jaccl over that library, by their variants: rc, wires (two a pair), uc, apple
 * (their devices), ring (neighbours alone share one), sealed (with short reads), lossy (uc that
 * loses frames). NULL ends it. */
extern const struct harness_backend *const verbs_backends[];

/* The one of that variant; NULL: there is none. */
const struct harness_backend *verbs_variant(const char *name);

/* From here on this process's ranks find that library's devices, with these settings (fake.h), and
 * a folder of their own to meet in. */
void verbs_begin(const char *settings);

/* The name of device i. */
const char *verbs_device(int i);
bool verbs_are_real(void);

/* Each rank has a device of its own, which faces all others: rank 3 has device 3. */
void verbs_own_devices(int size);

/* The same with several devices a rank, each a wire: rank 3 of two has devices 6 and 7. */
void verbs_own_wires(int size, int wires);

/* verbs_begin, a device for each rank, and queue pairs that are UC. */
void verbs_begin_uc(int size, const char *settings);

/* What device i of that library has counted, by this process. */
void verbs_counts_of(int i, unsigned long counts[FAKE_COUNTS]);

/* That folder; then no longer. */
const char *verbs_folder(void);
void verbs_end(void);

#endif
