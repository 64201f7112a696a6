#include "transport/shm_lessons.h"

#define TRIES 8  /* half of them each way */
#define AGAIN 64 /* calls, of which one tries the way that was slower */
#define SMOOTH 4 /* a new time moves what is known by a quarter of the difference ... */
#define BOUND                                                                                      \
    2.0 /* ... and counts as no more than twice that: a rank may have been interrupted             \
         */

hk_lesson *hk_lesson_about(hk_lesson lessons[HK_LESSON_LENGTHS], size_t bytes)
{
    int length = 0;
    while (bytes >>= 1)
        length++;
    return &lessons[length];
}

bool hk_lesson_reads(hk_lesson *lesson)
{
    unsigned call = lesson->calls++;
    const double *rate = lesson->rate;
    if (call < TRIES)
        return call % 2 == 1;
    bool read = rate[1] > 0 && rate[1] < rate[0];
    return call % AGAIN == 0 ? !read : read;
}

void hk_lesson_learn(hk_lesson *lesson, bool read, size_t bytes, hk_time took)
{
    double *known = &lesson->rate[read], rate = (double)took / (double)bytes;
    if (*known == 0 || (lesson->calls <= TRIES && rate < *known))
        *known = rate; /* the first of all touches memory that is not mapped yet */
    else
        *known += ((rate < BOUND * *known ? rate : BOUND * *known) - *known) / SMOOTH;
}
