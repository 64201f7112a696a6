/* The RDMA devices of this host in words, for `hocket doctor`. The command is linked with libhocket
 * and sees none of its hk_ names, hence the name of this one; it is no part of the public API. */
#ifndef HK_TRANSPORT_VERBS_REPORT_H
#define HK_TRANSPORT_VERBS_REPORT_H

#include <hocket/hocket.h>
#include <stddef.h>

/* Writes a line of how many there are and by which library, and lines of each: limits, ports, GIDs,
 * what is missing. Returns their number; 0: one line says why there is none. What does not fit is
 * left out. */
HOCKET_API int hocket_verbs_report(char *text, size_t size);

#endif
