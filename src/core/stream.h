/* Copies past the caches, for results that are larger than they are. */
#ifndef HK_CORE_STREAM_H
#define HK_CORE_STREAM_H

#include <stddef.h>

/* As memcpy. What it writes is not brought into the caches first, which saves reading it; who needs
 * it soon finds it in memory. Visible to others, in order, when it returns. */
void hk_copy_stream(void *to, const void *from, size_t bytes);

#endif
