#include "core/launcher.h"

#include "core/nodelist.h"
#include "core/parent.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_MAX 256
#define DIGEST_BYTES 32
#define JOB_BYTES 8

#define SHARE_MPI "`mpirun -x HOCKET_SECRET` hands on the one in your environment"
#define SHARE_FILE "export HOCKET_SECRET_FILE=/a/shared/file"

/* In the order in which they are asked. What is started inside comes before what it is started in:
 * torchrun runs under mpirun, and mpirun under srun. */
static const hk_launcher launchers[] = {
    {.name = "mlx.launch", .rank = "MLX_RANK", .hostfile = "MLX_HOSTFILE"},
    {.name = "mlx.launch",
     .rank = "MLX_RANK",
     .devices = "MLX_IBV_DEVICES",
     .where = "MLX_JACCL_COORDINATOR",
     .share = "`mlx.launch --env HOCKET_SECRET_FILE=/a/file` names one that is on each host"},
    {.name = "jaccl",
     .rank = "JACCL_RANK",
     .devices = "JACCL_IBV_DEVICES",
     .where = "JACCL_COORDINATOR",
     .share = SHARE_FILE " on each host"},
    {.name = "mlx.launch",
     .rank = "MLX_RANK",
     .size = "MLX_WORLD_SIZE",
     .host = "NCCL_HOST_IP",
     .port = "NCCL_PORT",
     .share = "`mlx.launch --env HOCKET_SECRET_FILE=/a/file` names one that is on each host"},
    {.name = "torchrun",
     .rank = "RANK",
     .size = "WORLD_SIZE",
     .needs = "MASTER_ADDR",
     .host = "MASTER_ADDR",
     .port = "MASTER_PORT",
     .derives = true,
     .local_size = "LOCAL_WORLD_SIZE",
     .jobs = {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"},
     .share = SHARE_FILE " before each torchrun"},
    {.name = "Open MPI",
     .rank = "OMPI_COMM_WORLD_RANK",
     .size = "OMPI_COMM_WORLD_SIZE",
     .derives = true,
     .local_size = "OMPI_COMM_WORLD_LOCAL_SIZE",
     .jobs = {"PMIX_NAMESPACE", "OMPI_MCA_orte_precondition_transports", "OMPI_MCA_ess_base_jobid"},
     .store = HK_STORE_PMIX,
     .pass = "mpirun -x HOCKET_COORDINATOR=host:port",
     .share = SHARE_MPI},
    {.name = "MPICH",
     .rank = "PMI_RANK",
     .size = "PMI_SIZE",
     .derives = true,
     .local_size = "MPI_LOCALNRANKS",
     .jobs = {"PMI_JOBID", "PMI_PORT"},
     .socket = "PMI_FD",
     .nodes = true,
     .store = HK_STORE_PMI,
     .pass = "mpirun -genv HOCKET_COORDINATOR host:port",
     .share = "`mpirun -genvlist HOCKET_SECRET` hands on the one in your environment"},
    {.name = "torchrun", .rank = "RANK", .size = "WORLD_SIZE"},
    {.name = "srun",
     .rank = "SLURM_PROCID",
     .size = "SLURM_NTASKS",
     .derives = true,
     .jobs = {"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_JOBID", "SLURM_STEPID"},
     .nodes = true,
     .store = HK_STORE_PMIX,
     .share = SHARE_FILE " before srun"},
    /* By itself PMIx keeps the size to those who speak its protocol. */
    {.name = "PMIx", .rank = "PMIX_RANK", .needs = "PMIX_NAMESPACE", .store = HK_STORE_PMIX},
};

const char *hk_variable(const char *name)
{
    const char *value = name == NULL ? NULL : getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Open MPI's MPI_Init makes a server of PMIx for a program that nobody has started as a rank. */
static bool is_singleton(void)
{
    const char *how = hk_variable("OMPI_MCA_ess"), *job = hk_variable("PMIX_NAMESPACE");
    return (how != NULL && strcmp(how, "singleton") == 0) ||
           (job != NULL && strncmp(job, "singleton", 9) == 0);
}

const hk_launcher *hk_launcher_find(void)
{
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        const hk_launcher *one = &launchers[i];
        bool sized = one->size == NULL && one->hostfile == NULL && one->devices == NULL
                         ? !is_singleton()
                         : hk_variable(one->size) != NULL || hk_variable(one->hostfile) != NULL ||
                               hk_variable(one->devices) != NULL;
        if (hk_variable(one->rank) != NULL && sized &&
            (one->needs == NULL || hk_variable(one->needs) != NULL))
            return one;
    }
    return NULL;
}

/* === Where ranks meet ========================================================================= */

static bool is_number(const char *text, int number)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%d", number);
    return text != NULL && strcmp(text, digits) == 0;
}

static hocket_status set_host(const char *from, const char *value, char host[HOST_MAX])
{
    if (strlen(value) >= HOST_MAX)
        return hk_fail(HOCKET_ERR_INVALID, "%s is too long: %zu characters, at most %d", from,
                       strlen(value), HOST_MAX - 1);
    if (strchr(value, ',') != NULL) /* what follows the first comma would be taken for ports */
        return hk_fail(HOCKET_ERR_INVALID, "%s is \"%.128s\": it must be one host", from, value);
    memcpy(host, value, strlen(value) + 1);
    return HOCKET_OK;
}

/* The host of rank 0, which Slurm puts on the first of the step's nodes. */
static hocket_status host_of_nodes(char host[HOST_MAX])
{
    static const char *const lists[] = {"SLURM_STEP_NODELIST", "SLURM_NODELIST",
                                        "SLURM_JOB_NODELIST"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const char *list = hk_variable(lists[i]);
        bool several = false;
        if (list == NULL)
            continue;
        if (!hk_nodelist_first(list, host, HOST_MAX, &several))
            return hk_fail(HOCKET_ERR_INVALID,
                           "%s is \"%.128s\": it must be a list of hosts, as in node[1-3,7],other",
                           lists[i], list);
        return several ? HOCKET_OK : set_host(lists[i], "127.0.0.1", host);
    }
    return HOCKET_OK;
}

static hocket_status find_host(const hk_launcher *launcher, bool one_host, char host[HOST_MAX])
{
    host[0] = '\0';
    const char *named = hk_variable(launcher->host);
    if (one_host)
        return set_host(launcher->local_size, "127.0.0.1", host);
    if (named != NULL)
        return set_host(launcher->host, named, host);
    return launcher->nodes ? host_of_nodes(host) : HOCKET_OK;
}

/* A hash of what tells the job from others. false: nothing does. */
static bool hash_job(const hk_launcher *launcher, bool one_host, unsigned char digest[DIGEST_BYTES])
{
    crypto_generichash_state hash;
    bool known = false;
    crypto_generichash_init(&hash, NULL, 0, DIGEST_BYTES);
    for (size_t i = 0; i < sizeof launcher->jobs / sizeof *launcher->jobs; i++) {
        const char *value = hk_variable(launcher->jobs[i]);
        if (value != NULL) {
            known = true;
            crypto_generichash_update(&hash, (const unsigned char *)launcher->jobs[i],
                                      strlen(launcher->jobs[i]) + 1);
            crypto_generichash_update(&hash, (const unsigned char *)value, strlen(value) + 1);
        }
    }
    if (!known && one_host && launcher->socket != NULL) {
        hk_parent parent;
        hk_parent_find(hk_variable(launcher->socket), &parent);
        crypto_generichash_update(&hash, (const unsigned char *)&parent, sizeof parent);
        known = true;
    }
    crypto_generichash_final(&hash, digest, DIGEST_BYTES);
    return known;
}

static hocket_status join(const char *host, const char *ports, char *coordinator, size_t size)
{
    bool bare_v6 = strchr(host, ':') != NULL && host[0] != '[';
    int length = snprintf(coordinator, size, bare_v6 ? "[%s]:%s" : "%s:%s", host, ports);
    if ((size_t)length < size)
        return HOCKET_OK;
    return hk_fail(HOCKET_ERR_INVALID,
                   "the coordinator %.64s... is too long: at most %zu characters", host, size - 1);
}

/* Each rank works out the same ports; rank 0 listens on the first that is free. */
static hocket_status derive(const char *host, const unsigned char digest[DIGEST_BYTES],
                            char *coordinator, size_t size, uint64_t *job)
{
    char ports[HK_PORT_CHOICES * 8] = "";
    size_t used = 0;
    for (int i = 0; i < HK_PORT_CHOICES; i++) {
        const unsigned char *pair = digest + JOB_BYTES + 2 * i;
        int port = HK_PORT_FIRST + (pair[0] << 8 | pair[1]) % HK_PORT_COUNT;
        used += (size_t)snprintf(ports + used, sizeof ports - used, i == 0 ? "%d" : ",%d", port);
    }
    for (int i = 0; i < JOB_BYTES; i++)
        *job = *job << 8 | digest[i];
    if (*job == 0)
        *job = 1;
    return join(host, ports, coordinator, size);
}

hocket_status hk_launcher_coordinator(const hk_launcher *launcher, int world_size,
                                      char *coordinator, size_t size, uint64_t *job)
{
    *job = 0;
    coordinator[0] = '\0';
    const char *where = hk_variable(launcher->where), *port = hk_variable(launcher->port);
    bool one_host = is_number(hk_variable(launcher->local_size), world_size);
    if (where != NULL) {
        if (strlen(where) >= size)
            return hk_fail(HOCKET_ERR_INVALID, "%s is too long: %zu characters, at most %zu",
                           launcher->where, strlen(where), size - 1);
        memcpy(coordinator, where, strlen(where) + 1);
        return HOCKET_OK;
    }
    if ((launcher->port != NULL && port == NULL) ||
        !is_number(hk_variable(launcher->size), world_size))
        return HOCKET_OK; /* half of it, or of another world than this */
    char host[HOST_MAX];
    hocket_status status = find_host(launcher, one_host, host);
    if (status != HOCKET_OK || host[0] == '\0')
        return status;
    if (!launcher->derives)
        return port != NULL ? join(host, port, coordinator, size) : HOCKET_OK;
    unsigned char digest[DIGEST_BYTES];
    return hash_job(launcher, one_host, digest) ? derive(host, digest, coordinator, size, job)
                                                : HOCKET_OK;
}

hk_store_kind hk_launcher_store(const hk_launcher *launcher, int world_size)
{
    bool there = false;
    switch (launcher->store) {
    case HK_STORE_NONE: break;
    case HK_STORE_PMI: there = hk_variable("PMI_FD") != NULL; break;
    case HK_STORE_PMIX:
        there = hk_variable("PMIX_NAMESPACE") != NULL && hk_variable("PMIX_RANK") != NULL;
        break;
    }
    if (launcher->size != NULL && !is_number(hk_variable(launcher->size), world_size))
        there = false;
    return there ? launcher->store : HK_STORE_NONE;
}
