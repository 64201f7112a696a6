/* How much of what was written to a socket its peer has not acknowledged. */
#ifndef HK_WIRE_UNSENT_H
#define HK_WIRE_UNSENT_H

/* Bytes; 0 also where the system does not say. unsent_linux.c, unsent_macos.c. */
int hk_socket_unsent(int fd);

#endif
