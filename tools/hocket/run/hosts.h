/* Which hosts a job is on, and how many ranks each has: --hosts, --hostfile. */
#ifndef HK_TOOL_HOSTS_H
#define HK_TOOL_HOSTS_H

#include "command.h"

#include <stdbool.h>
#include <stddef.h>

#define HK_HOSTS_MAX 1024
#define HK_HOST_NAME_MAX 256          /* with its NUL */
#define HK_HOSTS_BYTES_MAX (1u << 20) /* of a hostfile */
#define HK_HOST_IPS_MAX 64            /* of one host */

typedef struct hk_host {
    char *name; /* what ssh is given: host, or user@host */
    int slots;  /* what the hostfile says; 0: nothing */
    int ranks;  /* how many it gets */
    char **ips;
    int ip_count;
    char *rdma; /* its row of the device matrix as JSON, or NULL */
} hk_host;

typedef struct hk_hosts {
    hk_host *items;
    int count;
    char *backend; /* what the hostfile says, or NULL */
    char **envs;   /* K=V, of the hostfile */
    int env_count;
} hk_hosts;

/* The options that say which hosts and how to reach them; a command that has them embeds this in
 * its struct of options. */
typedef struct hk_hosts_options {
    const char *names, *file, *ssh, *hocket;
} hk_hosts_options;

/* Their lines in its table; type.field_ is the struct above, default_ the end of
 * what help says of --hosts. */
#define HK_HOSTS_OPTIONS(type, field_, default_)                                                   \
    {.name = "hosts",                                                                              \
     .kind = HK_OPTION_TEXT,                                                                       \
     .field = offsetof(type, field_.names),                                                        \
     .value = "A,B,...",                                                                           \
     .help = "the hosts, as ssh knows them; localhost is this one" default_},                      \
        {.name = "hostfile",                                                                       \
         .kind = HK_OPTION_TEXT,                                                                   \
         .field = offsetof(type, field_.file),                                                     \
         .value = "FILE",                                                                          \
         .help = "the hosts from a file: MLX's JSON, or lines such as `host slots=4`"},            \
        {.name = "ssh",                                                                            \
         .kind = HK_OPTION_TEXT,                                                                   \
         .field = offsetof(type, field_.ssh),                                                      \
         .value = "COMMAND",                                                                       \
         .help = "how to reach a host, with options (ssh)"},                                       \
    {                                                                                              \
        .name = "hocket", .kind = HK_OPTION_TEXT, .field = offsetof(type, field_.hocket),          \
        .value = "PATH", .help = "where this command lies on the other hosts (where it lies here)" \
    }

/* As the options say; this host alone where they say nothing. False after a complaint. */
bool hk_hosts_choose(const char *command, const hk_hosts_options *options, hk_hosts *hosts);

/* "a,b,c". False after a complaint in the name of the command; hosts need no free then, here and
 * below. */
bool hk_hosts_from_names(const char *command, const char *names, hk_hosts *hosts);

/* From a file: MLX's launch hostfile, which begins with [ or {, or Open MPI's lines. */
bool hk_hosts_from_file(const char *command, const char *path, hk_hosts *hosts);

/* The same from length bytes. False with a sentence in why. */
bool hk_hosts_parse(const char *text, size_t length, hk_hosts *hosts, char *why, size_t why_size);

/* Gives each host its ranks: n, else its slots, else one. Returns how many there are in all. */
long hk_hosts_fill(hk_hosts *hosts, int n);

void hk_hosts_free(hk_hosts *hosts);

/* Whether ranks there are started without ssh. */
bool hk_host_is_here(const hk_host *host);

/* Where ranks of other hosts reach this one, without a port: its first address, else its name
 * without the user. 127.0.0.1 where all of the hosts are one. Writes at most size bytes. */
void hk_host_address(const hk_hosts *hosts, int index, char *address, size_t size);

#endif
