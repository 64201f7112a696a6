/* Noticing that the other machine is gone when nobody sends anything. */
#ifndef HK_WIRE_KEEPALIVE_H
#define HK_WIRE_KEEPALIVE_H

/* A peer whose machine, or whose way here, is silent for this long is lost. A process that is only
 * frozen or busy is not: its kernel answers. */
#define HK_SILENCE_SECONDS 30
#define HK_KEEPALIVE_PROBES 3
#define HK_KEEPALIVE_INTERVAL_SECONDS (HK_SILENCE_SECONDS / (2 * HK_KEEPALIVE_PROBES))

/* Best effort: a system that refuses leaves it to the deadlines. keepalive_linux.c,
 * keepalive_macos.c. */
void hk_socket_keep_alive(int fd);

#endif
