/* Ranks that share hosts: tcp's mesh for messages, news and deaths, and collectives in shared
 * memory for the groups that are on one host; collective/hosts.c joins these where there are
 * several. */
#include "transport/shm_team.h"
#include "transport/tcp.h"

#include <pthread.h>
#include <string.h>

static hocket_transport shm_transport;
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make(void)
{
    shm_transport = hk_tcp_transport;
    shm_transport.name = "shm";
    shm_transport.collectives = &hk_shm_collectives;
}

static hocket_status available(const char *choice)
{
    (void)choice;
    return HOCKET_OK;
}

/* Any two ranks share a host. */
static bool suits(const hk_meeting *meeting)
{
    const unsigned char *hosts = hk_meeting_hosts(meeting);
    for (int i = 1; i < hk_meeting_world_size(meeting); i++)
        for (int j = 0; j < i; j++)
            if (memcmp(hosts + (size_t)j * HK_HOST_ID_BYTES, hosts + (size_t)i * HK_HOST_ID_BYTES,
                       HK_HOST_ID_BYTES) == 0)
                return true;
    return false;
}

static hocket_status open_shm(const hk_opening *opening, const hocket_transport **transport,
                              void **self)
{
    if (!suits(opening->meeting))
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "backend shm: no two ranks share a host; ask for tcp, or for any");
    pthread_once(&made, make);
    *transport = &shm_transport;
    return hk_tcp_open(opening, self);
}

const hk_backend hk_backend_shm = {
    .name = "shm", .meets = true, .available = available, .suits = suits, .open = open_shm};
