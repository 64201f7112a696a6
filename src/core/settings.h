/* What hocket_init goes by: the caller's config over HOCKET_* variables over those of another
 * launcher, variable by variable. */
#ifndef HK_CORE_SETTINGS_H
#define HK_CORE_SETTINGS_H

#include "core/launcher.h"
#include "core/status.h"

#define HK_WORLD_MAX 4096 /* ranks */
#define HK_SECRET_MIN 16  /* bytes */
#define HK_SECRET_MAX 4096
#define HK_BACKEND_MAX 32      /* with its NUL */
#define HK_COORDINATOR_MAX 300 /* with its NUL */
#define HK_PATH_MAX 4096
#define HK_FAULT_MAX 256 /* with its NUL */
#define HK_HOST_MAX 256  /* with its NUL */
#define HK_TIMEOUT_DEFAULT_S 300.0
#define HK_INIT_TIMEOUT_DEFAULT_S 60.0

typedef struct hk_settings {
    char backend[HK_BACKEND_MAX]; /* "any" when nothing names one */
    bool strict;
    bool configured;                      /* something says that there is a world */
    int rank, world_size;                 /* 0 of 1 when not configured */
    char coordinator[HK_COORDINATOR_MAX]; /* "host:port", "host:port,port,port" where rank 0 takes
                                             the first that is free, or "" when nothing names one */
    uint64_t job;        /* from the launcher's variables, as the ports are then; 0: nothing of
                            both was derived */
    hk_store_kind store; /* the launcher's, where ranks on several hosts can tell each other the
                            rest: no coordinator was given by name */
    double timeout_s, init_timeout_s; /* above 0; INFINITY waits for ever */
    unsigned char secret[HK_SECRET_MAX];
    size_t secret_length;       /* 0: there is none */
    bool insecure;              /* HOCKET_INSECURE=1: without a secret, beyond loopback too */
    bool encrypt;               /* HOCKET_ENCRYPT=1: seal what travels; needs a secret */
    char hostfile[HK_PATH_MAX]; /* HOCKET_HOSTFILE, else MLX_HOSTFILE; "" for none */
    char fault[HK_FAULT_MAX];   /* HOCKET_FAULT, transport/wrap.h has the grammar; "" for none */
    char host[HK_HOST_MAX];     /* HOCKET_HOST: the host's name; "" for the system's own */
    char trace[HK_PATH_MAX];    /* HOCKET_TRACE: where the ranks' traces go; "" for none */
    char tune[HK_PATH_MAX];     /* HOCKET_TUNE: rank 0's table of choices; "" for none */
    const char *advice;         /* how its ranks are given a secret; or NULL */
    const char *pass;           /* how they are given a coordinator; or NULL */
    const char *launcher; /* whose variables gave the rank, "Open MPI"; NULL: config or HOCKET_* */
} hk_settings;

/* config may be NULL. INVALID, with the name and value of the field or variable, where one is
 * wrong or half of a world is missing; SYSTEM where the file of the secret or the hostfile cannot
 * be read. A missing coordinator is not an error yet, since not every backend needs one. On failure
 * nothing of the secret is left in *settings. */
hocket_status hk_settings_read(const hocket_config *config, hk_settings *settings);

/* For backends that meet: INVALID, saying what to set, where there are several ranks and nothing
 * names a coordinator, nor is there a store where rank 0 could. */
hocket_status hk_settings_need_coordinator(const hk_settings *settings);

/* Overwrites the secret. Must be called once the settings are of no more use. */
void hk_settings_wipe(hk_settings *settings);

#endif
