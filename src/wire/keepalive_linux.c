#include "wire/keepalive.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static void set(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

/* Keepalive asks when nothing is under way; the user timeout bounds what is sent and not
 * acknowledged. */
void hk_socket_keep_alive(int fd)
{
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, HK_SILENCE_SECONDS / 2);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, HK_KEEPALIVE_INTERVAL_SECONDS);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, HK_KEEPALIVE_PROBES);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, HK_SILENCE_SECONDS * 1000);
}
