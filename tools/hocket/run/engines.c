#include "run/engines.h"

#include "words.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_MAX (HK_HOST_NAME_MAX + 16) /* with brackets and a port */

static const char *address_of(const hk_launch *launch, int host, int ip, char *text, size_t size)
{
    const hk_host *one = &launch->hosts.items[host];
    if (ip < one->ip_count)
        snprintf(text, size, strchr(one->ips[ip], ':') ? "[%s]" : "%s", one->ips[ip]);
    else
        hk_host_address(&launch->hosts, host, text, size);
    return text;
}

/* MLX's ring takes numbers alone. */
static const hk_host *host_without_number(const hk_launch *launch)
{
    for (int i = 0; i < launch->hosts.count; i++) {
        char text[HK_HOST_NAME_MAX];
        struct in_addr number;
        address_of(launch, i, 0, text, sizeof text);
        if (inet_pton(AF_INET, text, &number) != 1)
            return &launch->hosts.items[i];
    }
    return NULL;
}

/* A device matrix has a row for each rank, so each host has one rank and all of them rows. */
static bool has_matrix(const hk_launch *launch)
{
    for (int i = 0; i < launch->hosts.count; i++) {
        if (!launch->hosts.items[i].rdma || launch->hosts.items[i].ranks != 1)
            return false;
    }
    return true;
}

/* A program on MLX that is to run over hocket would take MLX's ring, where that is set up. */
static bool has_ring(const hk_launch *launch)
{
    return launch->backend->mlx_ring && !launch->mlx;
}

bool hk_engine_check(const hk_launch *launch)
{
    const hk_backend *backend = launch->backend;
    if (backend->cannot && !(backend->jaccl && has_matrix(launch))) {
        hk_complain("run", "The backend '%s' cannot be started here: %s.", backend->name,
                    backend->cannot);
        return false;
    }
    if (launch->mlx && strncmp(backend->name, "mlx", 3) == 0) {
        hk_complain("run",
                    "--mlx carries MLX over hocket, and the backend '%s' hocket over MLX: leave "
                    "one of them out.",
                    backend->name);
        return false;
    }
    const hk_host *nameless = host_without_number(launch);
    if (backend->mlx_ring && strncmp(backend->name, "mlx", 3) == 0 && nameless) {
        hk_complain("run", "The backend '%s' needs the address of host %s: \"ips\" in --hostfile.",
                    backend->name, nameless->name);
        return false;
    }
    return true;
}

int hk_engine_ports(const hk_launch *launch, const hk_host *host)
{
    return has_ring(launch) || launch->backend->jaccl ? 1 + host->ranks : 1;
}

static bool add(hk_buffer *text, const char *bytes)
{
    return hk_buffer_add(text, bytes, strlen(bytes));
}

/* MLX_HOSTFILE=[["10.0.0.1:40001", "10.0.1.1:40001"], ["10.0.0.2:40002"]] */
static char *ring_hostfile(const hk_launch *launch, const hk_link *links)
{
    hk_buffer text = {0};
    bool added = add(&text, "MLX_HOSTFILE=[");
    for (int i = 0; added && i < launch->hosts.count; i++) {
        const hk_host *host = &launch->hosts.items[i];
        for (int rank = 0; added && rank < host->ranks; rank++) {
            added = add(&text, i + rank ? ", [" : "[");
            for (int ip = 0; added && (ip == 0 || ip < host->ip_count); ip++) {
                char address[ADDRESS_MAX], entry[ADDRESS_MAX + 16];
                address_of(launch, i, ip, address, sizeof address);
                snprintf(entry, sizeof entry, "%s\"%s:%d\"", ip ? ", " : "", address,
                         links[i].ports[1 + rank]);
                added = add(&text, entry);
            }
            added = added && add(&text, "]");
        }
    }
    added = added && add(&text, "]\n") && hk_buffer_add(&text, "", 1);
    char *item = added ? strdup(text.data + text.start) : NULL;
    hk_buffer_free(&text);
    return item;
}

/* MLX_IBV_DEVICES=[[null,"rdma_en2"],["rdma_en2",null]] */
static char *device_matrix(const hk_launch *launch)
{
    hk_buffer text = {0};
    bool added = add(&text, "MLX_IBV_DEVICES=[");
    for (int i = 0; added && i < launch->hosts.count; i++)
        added = (i == 0 || add(&text, ", ")) && add(&text, launch->hosts.items[i].rdma);
    added = added && add(&text, "]\n") && hk_buffer_add(&text, "", 1);
    char *item = added ? strdup(text.data + text.start) : NULL;
    hk_buffer_free(&text);
    return item;
}

static char *jaccl_coordinator(const hk_launch *launch, const hk_link *links)
{
    char address[ADDRESS_MAX], item[ADDRESS_MAX + 64];
    address_of(launch, 0, 0, address, sizeof address);
    snprintf(item, sizeof item, "MLX_JACCL_COORDINATOR=%s:%d", address, links[0].ports[1]);
    return strdup(item);
}

bool hk_engine_make(const hk_launch *launch, const hk_link *links, hk_engine *engine)
{
    *engine = (hk_engine){0};
    bool ring = has_ring(launch) && !host_without_number(launch);
    bool jaccl = launch->backend->jaccl && has_matrix(launch);
    if (ring || jaccl)
        engine->variables[engine->variable_count++] = "MLX_RANK";
    if (ring)
        engine->texts[0] = ring_hostfile(launch, links);
    else if (jaccl)
        engine->texts[0] = device_matrix(launch);
    if (jaccl)
        engine->texts[1] = jaccl_coordinator(launch, links);
    if (ring || jaccl)
        engine->files[engine->file_count++] = engine->texts[0];
    if (jaccl)
        engine->env[engine->env_count++] = engine->texts[1];
    if (jaccl && launch->jaccl_ring)
        engine->env[engine->env_count++] = "MLX_JACCL_RING=1";
    return (!(ring || jaccl) || engine->texts[0]) && (!jaccl || engine->texts[1]);
}

void hk_engine_free(hk_engine *engine)
{
    free(engine->texts[0]);
    free(engine->texts[1]);
    *engine = (hk_engine){0};
}
