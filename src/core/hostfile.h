/* MLX's ring hostfile: a JSON list with one entry a rank, in rank order, each a list of "ip:port"
 * strings on which that rank listens.
 *
 *     [["192.168.1.17:5000", "192.168.2.17:5000"], ["192.168.1.18:5000"]]
 */
#ifndef HK_CORE_HOSTFILE_H
#define HK_CORE_HOSTFILE_H

#include "core/status.h"

#define HK_HOSTFILE_BYTES_MAX (1 << 20)
#define HK_HOSTFILE_RANKS_MAX 4096
#define HK_HOSTFILE_ADDRESSES_MAX 64 /* of one rank */
#define HK_HOSTFILE_TEXT_MAX 300     /* of one address, with its NUL */

typedef struct hk_hostfile_rank {
    char **addresses; /* "host:port", not resolved */
    int address_count;
} hk_hostfile_rank;

typedef struct hk_hostfile {
    hk_hostfile_rank *ranks;
    int rank_count; /* at least 1, each with at least one address */
} hk_hostfile;

/* From length bytes of JSON; name is the file's, for the error text. On failure *hostfile is empty
 * and needs no close. INVALID: not such a list, or beyond a limit above. */
hocket_status hk_hostfile_parse(const char *json, size_t length, const char *name,
                                hk_hostfile *hostfile);

/* From a file. SYSTEM: it cannot be read. */
hocket_status hk_hostfile_read(const char *path, hk_hostfile *hostfile);

/* jaccl's file of devices: a JSON list with one entry a rank, each a list with the name of the
 * device, or null, for each rank. Gives the number of ranks. INVALID: it is no such square; SYSTEM:
 * it cannot be read. */
hocket_status hk_devices_count(const char *path, int *ranks);

#define HK_DEVICE_NAME_MAX 64 /* with its NUL */
#define HK_WIRES_MAX 4        /* between two ranks */

/* The devices on one rank that face another: null is none, a name is one, a list is several wires.
 */
typedef struct hk_wires {
    int count;
    char names[HK_WIRES_MAX][HK_DEVICE_NAME_MAX];
} hk_wires;

/* The row of that rank, of a file of devices for so many ranks: row[r] faces rank r. INVALID: no
 * such file, no such number of ranks, a rank that faces itself, or two that do not face each other
 * by as many wires; SYSTEM: it cannot be read. */
hocket_status hk_devices_row(const char *path, int ranks, int rank, hk_wires *row);

/* A zeroed or closed hostfile is fine. */
void hk_hostfile_close(hk_hostfile *hostfile);

#endif
