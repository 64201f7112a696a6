/* What the library counts, of each device, by this process. */
#ifndef TESTS_VERBS_COUNTS_H
#define TESTS_VERBS_COUNTS_H

typedef enum fake_count {
    FAKE_SENDS,   /* posted, */
    FAKE_INLINED, /* of these inline, */
    FAKE_SEND_BYTES,
    FAKE_WRITES, /* posted */
    FAKE_WRITE_BYTES,
    FAKE_READS, /* posted */
    FAKE_READ_BYTES,
    FAKE_RECEIVES, /* posted */
    FAKE_POLLS,    /* that found something, */
    FAKE_COMPLETIONS,
    FAKE_ARMS,
    FAKE_COUNTS
} fake_count;

/* For tests, which find it in the library by its name. */
typedef void fake_counts_fn(int device, unsigned long counts[FAKE_COUNTS]);
fake_counts_fn fake_counts;

#endif
