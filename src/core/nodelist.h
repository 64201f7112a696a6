/* Slurm's lists of hosts: "node[1-3,7],other" is node1, node2, node3, node7 and other. */
#ifndef HK_CORE_NODELIST_H
#define HK_CORE_NODELIST_H

#include <stdbool.h>
#include <stddef.h>

/* The first host, and whether there are others. false: this is no such list, or the name does not
 * fit into size bytes with its NUL. */
bool hk_nodelist_first(const char *list, char *host, size_t size, bool *several);

#endif
