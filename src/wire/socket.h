/* TCP sockets: nonblocking, closed on exec, without Nagle's delay and without SIGPIPE. Each
 * function that waits has a deadline. */
#ifndef HK_WIRE_SOCKET_H
#define HK_WIRE_SOCKET_H

#include "core/deadline.h"
#include "wire/address.h"
#include <sys/types.h>

/* Flags for send() and sendmsg() on sockets of this file. macOS has no such flag and sets an option
 * of the socket instead. */
#ifdef MSG_NOSIGNAL
#define HK_SEND_FLAGS MSG_NOSIGNAL
#else
#define HK_SEND_FLAGS 0
#endif

/* Listens at address; port 0 lets the system pick. [::] takes IPv4 too. While the address is in use
 * it tries again until `patience`, a moment (0: only once). buffer_bytes: size of the buffers of
 * accepted sockets in each direction, 0 for the system's choice. *bound (may be NULL) is the
 * address with the port. SYSTEM. */
hocket_status hk_socket_listen(const hk_address *address, size_t buffer_bytes, hk_time patience,
                               int *fd, hk_address *bound);

/* Takes one connection that is waiting; *fd is -1 when none is. SYSTEM: the listener is broken, or
 * the process is out of descriptors. */
hocket_status hk_socket_accept(int listener, int *fd, hk_address *peer);

/* One attempt. TIMEOUT; UNAVAILABLE when refused or reset (nobody is there yet); SYSTEM. */
hocket_status hk_socket_connect_once(const hk_address *address, size_t buffer_bytes,
                                     hk_time deadline, int *fd);

/* Attempts until the deadline while nobody is there yet. TIMEOUT with the last attempt's reason. */
hocket_status hk_socket_connect(const hk_address *address, size_t buffer_bytes, hk_time deadline,
                                int *fd);

/* Asks for room for that many bytes that arrive unread, where the system can be asked. */
void hk_socket_widen(int fd, size_t bytes);

/* All bytes or a failure: TIMEOUT, PEER_LOST (closed or reset), SYSTEM. The text names the peer's
 * address. */
hocket_status hk_socket_send_all(int fd, const void *data, size_t bytes, hk_time deadline);
hocket_status hk_socket_recv_all(int fd, void *data, size_t bytes, hk_time deadline);

/* What goes without waiting: *done bytes, 0 when the socket is full or empty. PEER_LOST, SYSTEM. */
hocket_status hk_socket_send_some(int fd, const void *data, size_t bytes, size_t *done);
hocket_status hk_socket_recv_some(int fd, void *data, size_t bytes, size_t *done);

/* Whether bytes wait to be read. PEER_LOST when the connection has ended instead, SYSTEM. */
hocket_status hk_socket_peek(int fd, bool *any);

/* Waits for poll's events; false: the deadline passed. */
bool hk_socket_wait(int fd, short events, hk_time deadline);

/* The status of a call on the socket that does not wait: moved bytes, or -1 with errno. what: "send
 * to", "receive from". */
hocket_status hk_socket_settle(int fd, const char *what, ssize_t moved, size_t *done);

/* Its failure: an errno, or 0 for the end of the connection. */
hocket_status hk_socket_fail(int fd, const char *what, int error);

/* -1 is fine. */
void hk_socket_close(int fd);

#endif
