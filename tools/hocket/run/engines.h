/* What MLX's engines need on each host, as `mlx.launch` sets it: ring hostfile, device matrix,
 * coordinator and variables. */
#ifndef HK_TOOL_ENGINES_H
#define HK_TOOL_ENGINES_H

#include "run/launch.h"
#include "run/remote.h"

typedef struct hk_engine {
    char *texts[3]; /* the items of the lists below, and their end */
    const char *files[2], *variables[2], *env[2];
    int file_count, variable_count, env_count;
} hk_engine;

/* Whether the hosts have what the backend's engine needs; false after a complaint. */
bool hk_engine_check(const hk_launch *launch);

/* How many ports a host reserves: the coordinator's, and one for each rank where ranks listen. */
int hk_engine_ports(const hk_launch *launch, const hk_host *host);

/* From the ports that the agents have reserved. False when there is no memory. */
bool hk_engine_make(const hk_launch *launch, const hk_link *links, hk_engine *engine);
void hk_engine_free(hk_engine *engine);

#endif
