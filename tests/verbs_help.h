/* Tests over the libibverbs of tests/verbs. */
#ifndef TESTS_VERBS_HELP_H
#define TESTS_VERBS_HELP_H

/* From here on this process's ranks find that library's devices, with these settings (fake.h), and
 * a folder of their own to meet in. */
void verbs_begin(const char *settings);

/* That folder; then no longer. */
const char *verbs_folder(void);
void verbs_end(void);

#endif
