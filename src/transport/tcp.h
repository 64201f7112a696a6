/* What other transports that rest on tcp's mesh take from it. */
#ifndef HK_TRANSPORT_TCP_H
#define HK_TRANSPORT_TCP_H

#include "transport/table.h"

extern const hocket_transport hk_tcp_transport;

/* Meets and connects all ranks; self is for the slots of hk_tcp_transport. */
hocket_status hk_tcp_open(const hk_opening *opening, void **self);

#endif
