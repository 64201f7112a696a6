/* The notice: what rank 0 leaves in the launcher's store for ranks that are told no coordinator,
 * or no secret. It says where rank 0 listens, by each address that its host has, and, where nobody
 * was given a secret, one that rank 0 has made for this job. */
#ifndef HK_WIRE_NOTICE_H
#define HK_WIRE_NOTICE_H

#include "core/deadline.h"
#include "core/settings.h"

/* Whether ranks of these settings are to look there. */
bool hk_notice_wanted(const hk_settings *settings);

/* Completes settings by the notice, which rank 0 writes, whose listener (else -1) is the caller's.
 * Where the store is of no use and the settings name a coordinator all the same, they stay as they
 * are. Errors: INVALID, saying why the store is of no use and what to set; AUTH: some ranks were
 * given a secret and others not, or it cannot be told by the store; TIMEOUT, PROTOCOL, SYSTEM. */
hocket_status hk_notice_settle(hk_settings *settings, hk_time deadline, int *listener);

/* A notice's text, for ranks other than 0: its coordinator and its secret into the settings.
 * PROTOCOL: it is none; AUTH as above; SYSTEM: rank 0 could not write one. */
hocket_status hk_notice_read(const char *text, hk_settings *settings);

#endif
