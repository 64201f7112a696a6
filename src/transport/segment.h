/* Memory that several processes of one host map, and that is gone with them. */
#ifndef HK_TRANSPORT_SEGMENT_H
#define HK_TRANSPORT_SEGMENT_H

#include "core/status.h"

typedef struct hk_segment {
    void *memory; /* NULL: none */
    size_t bytes;
    int fd;        /* of its maker, until it is settled; else -1 */
    char name[32]; /* of its maker, on systems where it has one until it is settled */
} hk_segment;

/* What another process needs to map it. Sent as it is. */
typedef struct hk_segment_ticket {
    uint64_t bytes;
    uint64_t mark; /* random, also at the start of the memory: it is the right one */
    int64_t pid;
    int32_t fd;
    char name[32];
} hk_segment_ticket;

#define HK_SEGMENT_HEAD 64 /* bytes at the start that are the segment's own */

/* Makes a segment, zeroed but for its head. UNAVAILABLE, NO_MEMORY. */
hocket_status hk_segment_create(size_t bytes, hk_segment *segment, hk_segment_ticket *ticket);

/* Maps one that another process of this host has made. UNAVAILABLE: it cannot be reached. */
hocket_status hk_segment_attach(const hk_segment_ticket *ticket, hk_segment *segment);

/* The maker: everyone who should has mapped it. Nobody can any more. A zeroed segment is fine. */
void hk_segment_settle(hk_segment *segment);

/* Unmaps. A zeroed segment is fine. */
void hk_segment_detach(hk_segment *segment);

/* segment_linux.c, segment_macos.c: an object of that size by any name or none; and the same from a
 * ticket. Return a descriptor or -1 with errno. */
int hk_segment_object(size_t bytes, hk_segment *segment);
/* Whether what is made here is gone with its maker even before it is settled. */
bool hk_segment_is_nameless(void);
int hk_segment_find(const hk_segment_ticket *ticket);
void hk_segment_forget(hk_segment *segment);

#endif
