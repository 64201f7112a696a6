/* Ranks joined pairwise by TCP connections, one a pair: links (links.c) over the mesh, and nothing
 * else. link.c knows what travels on them. */
#include "transport/tcp.h"

#include "core/status.h"
#include "transport/links.h"
#include <stdlib.h>

static void tcp_close(void *self, bool orderly)
{
    if (orderly)
        hk_links_part(self, hk_links_progress);
    hk_links_fini(self);
    free(self);
}

const hocket_transport hk_tcp_transport = {
    .size = sizeof(hocket_transport),
    .name = "tcp",
    .rank = hk_links_rank,
    .world_size = hk_links_world_size,
    .post = hk_links_post,
    .cancel = hk_links_cancel,
    .progress = hk_links_progress,
    .wake = hk_links_wake,
    .probe = hk_links_probe,
    .forget = hk_links_forget,
    .close = tcp_close,
    .host_of = hk_links_host_of,
};

static hocket_status join_mesh(hk_links *links, hk_meeting *meeting, const hk_settings *settings)
{
    hk_pipe *pipes = calloc((size_t)links->size, sizeof *pipes);
    if (pipes == NULL)
        return hk_fail_memory((size_t)links->size * sizeof *pipes, "connections");
    hocket_status status = hk_links_meet(links, meeting, settings, pipes);
    if (status == HOCKET_OK)
        status = hk_links_adopt(links, pipes, settings->fault);
    free(pipes);
    return status;
}

static hocket_status available(const char *choice)
{
    (void)choice;
    return HOCKET_OK;
}

hocket_status hk_tcp_open(const hk_opening *opening, void **self)
{
    hk_links *links = calloc(1, sizeof *links);
    if (links == NULL)
        return hk_fail_memory(sizeof *links, "connections");
    hocket_status status = hk_links_init(links, opening->meeting, 0);
    if (status == HOCKET_OK)
        status = join_mesh(links, opening->meeting, opening->settings);
    if (status != HOCKET_OK) {
        hk_links_fini(links);
        free(links);
        return status;
    }
    *self = links;
    return HOCKET_OK;
}

static hocket_status open_tcp(const hk_opening *opening, const hocket_transport **transport,
                              void **self)
{
    *transport = &hk_tcp_transport;
    return hk_tcp_open(opening, self);
}

const hk_backend hk_backend_tcp = {.name = "tcp",
                                   .meets = true,
                                   .available = available,
                                   .open = open_tcp};
