/* Which of two ways is the faster one here and now, learned from the calls themselves: staging, or
 * reading by the kernel.
 *
 * That depends on what the processors of the ranks share, and those of a virtual machine move: an
 * all_reduce of 1 MiB took 39 us staged and 90 read on one machine, 199 and 150 on another. Both
 * give the same bits, so it may change from call to call; member 0 chooses, and says so in its
 * note.
 *
 * A lesson is about one operation and lengths of one power of 2. Its first calls try both ways in
 * turns. Then the faster one goes on, and one call of 64 tries the other again. */
#ifndef HK_TRANSPORT_SHM_LESSONS_H
#define HK_TRANSPORT_SHM_LESSONS_H

#include "core/deadline.h"

#include <stddef.h>

#define HK_LESSON_LENGTHS 64 /* powers of 2 */

/* Zeroed: nothing is known. */
typedef struct hk_lesson {
    double rate[2]; /* ns a byte, smoothed: staged, read; 0: not tried yet */
    unsigned calls;
} hk_lesson;

hk_lesson *hk_lesson_about(hk_lesson lessons[HK_LESSON_LENGTHS], size_t bytes);

/* Whether the next call should read. */
bool hk_lesson_reads(hk_lesson *lesson);

/* What a call took, once all ranks had come to it. */
void hk_lesson_learn(hk_lesson *lesson, bool read, size_t bytes, hk_time took);

#endif
