/* Who started this process. */
#ifndef HK_CORE_PARENT_H
#define HK_CORE_PARENT_H

#include <stdint.h>

/* All of it, padding too, is compared. */
typedef struct hk_parent {
    int64_t process;  /* its id */
    uint64_t numbers; /* where ids are counted by themselves: whose numbers these are; else 0 */
} hk_parent;

/* The process that made the socket whose descriptor is written in text, also where a shell lies
 * between it and this one; this process's parent where text is NULL or no such socket. */
void hk_parent_find(const char *text, hk_parent *parent);

#endif
