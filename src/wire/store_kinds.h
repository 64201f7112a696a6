/* The stores that there are. Each is one client in a process, used under the lock of store.c. */
#ifndef HK_WIRE_STORE_KINDS_H
#define HK_WIRE_STORE_KINDS_H

#include "wire/store.h"

typedef hocket_status hk_store_fn(int rank, const char *mine, hk_time deadline,
                                  char word[HK_WORD_MAX]);

/* See hk_store_exchange. */
hk_store_fn hk_pmi_exchange, hk_pmix_exchange;

/* The farewell, when the process ends and MPI does not say it. */
void hk_pmi_leave(void);
void hk_pmix_leave(void);

/* Whether it is the process that began with the store: not a child that it has forked. */
bool hk_store_is_ours(void);

/* Registers the farewell, once. */
void hk_store_joined(void);

/* Copies a word that the store gave; PROTOCOL when it can be none. */
hocket_status hk_store_take(const char *found, char word[HK_WORD_MAX]);

/* The name of the number-th word, from 1. */
#define HK_STORE_KEY_MAX 32
void hk_store_key(int number, char key[HK_STORE_KEY_MAX]);

#endif
