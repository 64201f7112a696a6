/* PMI-1, apart from which socket it is: for its test. */
#ifndef HK_WIRE_STORE_PMI_H
#define HK_WIRE_STORE_PMI_H

#include "wire/store_kinds.h"

#define HK_PMI_SPACE_MAX 257 /* of its name, with its NUL */

typedef struct hk_pmi {
    int fd; /* a stream socket, blocking or not */
    bool greeted;
    char space[HK_PMI_SPACE_MAX]; /* the name of the job's store */
} hk_pmi;

/* hk_store_exchange over that socket. */
hocket_status hk_pmi_talk(hk_pmi *pmi, const char *mine, hk_time deadline, char word[HK_WORD_MAX]);

#endif
