/* A file without a name, for libraries that read from paths only. */
#ifndef HK_CORE_UNNAMED_H
#define HK_CORE_UNNAMED_H

#include "core/status.h"

typedef struct hk_unnamed {
    int fd;        /* for reading and writing; whoever closes it gives the file's memory back */
    char path[32]; /* by which this process can open it once more, as long as fd is open */
} hk_unnamed;

/* HOCKET_ERR_SYSTEM: the system gives none; fd is -1 then. */
hocket_status hk_unnamed_make(hk_unnamed *file);
/* Does nothing when fd is -1. */
void hk_unnamed_close(hk_unnamed *file);

#endif
