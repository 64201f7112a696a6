/* Which name means which transport, in the order in which they are tried.
 *
 * A row names what a user may write and the candidates behind it, best first. `any` walks its
 * candidates and takes the first that is available; the other names that MLX's users know work the
 * same way: hocket's own transport where it is built, else MLX's. */
#include "transport/table.h"

#include "core/log.h"
#include "core/plugin.h"
#include "core/status.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES_MAX 4 /* one of them NULL */
#define NAME_MAX_BYTES HK_BACKEND_MAX

typedef struct name_row {
    const char *name;
    const char *candidates[CANDIDATES_MAX]; /* rows of `backends`, with their choice */
} name_row;

static const name_row names[] = {
    {"any", {"shm", "tcp"}},
    {"local", {"local"}},
    {"shm", {"shm"}},
    {"tcp", {"tcp"}},
    {"ring", {"tcp"}},
    {"jaccl", {"verbs", "mlx:jaccl"}},
    {"mpi", {"mpi", "mlx:mpi"}},
    {"nccl", {"nccl", "mlx:nccl"}},
    {"mlx", {"mlx"}},
    {"mlx:any", {"mlx:any"}},
    {"mlx:ring", {"mlx:ring"}},
    {"mlx:mpi", {"mlx:mpi"}},
    {"mlx:jaccl", {"mlx:jaccl"}},
    {"mlx:nccl", {"mlx:nccl"}},
};

/* === Backends that are elsewhere, or not yet ================================================= */

static hocket_status mlx_backend(const hk_backend **backend)
{
    const hk_plugin *plugin;
    hocket_status status = hk_plugin_mlx(&plugin);
    if (status == HOCKET_OK)
        *backend = plugin->transport;
    return status;
}

static hocket_status mlx_available(const char *choice)
{
    const hk_backend *backend;
    hocket_status status = mlx_backend(&backend);
    return status == HOCKET_OK ? backend->available(choice) : status;
}

static hocket_status mlx_open(const hk_opening *opening, const hocket_transport **transport,
                              void **self)
{
    const hk_backend *backend;
    hocket_status status = mlx_backend(&backend);
    return status == HOCKET_OK ? backend->open(opening, transport, self) : status;
}

static hocket_status not_built(const char *choice)
{
    (void)choice;
    return hk_fail(HOCKET_ERR_UNAVAILABLE,
                   "this version of hocket has no such transport of its own");
}

static hocket_status cannot_open(const hk_opening *opening, const hocket_transport **transport,
                                 void **self)
{
    (void)transport;
    (void)self;
    return not_built(opening->choice);
}

static const hk_backend hk_backend_mlx = {.name = "mlx",
                                          .available = mlx_available,
                                          .open = mlx_open};
static const hk_backend absent[] = {
    {.name = "nccl", .meets = true, .available = not_built, .open = cannot_open},
};

static const hk_backend *const backends[] = {
    &hk_backend_local, &hk_backend_tcp, &hk_backend_shm, &hk_backend_verbs,
    &hk_backend_mlx,   &hk_backend_mpi, &absent[0],
};

/* === Looking up ============================================================================== */

static const name_row *find_name(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, name) == 0)
            return &names[i];
    char known[256] = "";
    for (size_t i = 0, used = 0; i < sizeof names / sizeof *names && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, " %s", names[i].name);
    hk_fail(HOCKET_ERR_INVALID, "there is no backend \"%s\"; there are:%s", name, known);
    return NULL;
}

/* "mlx:ring" is the row mlx with the choice ring. */
static const hk_backend *find_backend(const char *candidate, const char **choice)
{
    size_t length = strcspn(candidate, ":");
    *choice = candidate[length] == ':' ? candidate + length + 1 : "";
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strncmp(backends[i]->name, candidate, length) == 0 && backends[i]->name[length] == '\0')
            return backends[i];
    return NULL;
}

/* One candidate's reason is the name's; of several each is named. */
static void add_reason(const name_row *row, const char *candidate, char *reasons, size_t size)
{
    size_t used = strlen(reasons);
    if (row->candidates[1] == NULL)
        snprintf(reasons, size, "%s", hocket_last_error());
    else
        snprintf(reasons + used, size - used, "%s%s: %s", used > 0 ? "; " : "", candidate,
                 hocket_last_error());
}

/* The first candidate that is available and suits who has met; else all their reasons. */
static hocket_status choose(const name_row *row, const hk_meeting *meeting, const char **chosen)
{
    hocket_status status = HOCKET_ERR_UNAVAILABLE;
    char reasons[HK_ERROR_TEXT_MAX - 64] = "";
    for (int i = 0; i < CANDIDATES_MAX && row->candidates[i] != NULL; i++) {
        const char *choice;
        const hk_backend *backend = find_backend(row->candidates[i], &choice);
        if (meeting != NULL && backend->suits != NULL && !backend->suits(meeting) &&
            row->candidates[i + 1] != NULL)
            continue;
        if ((status = backend->available(choice)) == HOCKET_OK) {
            *chosen = row->candidates[i];
            return HOCKET_OK;
        }
        hk_log(HK_LOG_DEBUG, -1, "backend %s: %s", row->candidates[i], hocket_last_error());
        add_reason(row, row->candidates[i], reasons, sizeof reasons);
    }
    return hk_fail(status, "backend %s is not available: %s", row->name, reasons);
}

hocket_status hk_backend_known(const char *name)
{
    return find_name(name) != NULL ? HOCKET_OK : HOCKET_ERR_INVALID;
}

hocket_status hk_backend_available(const char *name)
{
    const name_row *row = find_name(name);
    const char *chosen;
    return row != NULL ? choose(row, NULL, &chosen) : HOCKET_ERR_INVALID;
}

/* === Opening ================================================================================= */

static bool may_meet(const name_row *row)
{
    const char *choice;
    for (int i = 0; i < CANDIDATES_MAX && row->candidates[i] != NULL; i++)
        if (find_backend(row->candidates[i], &choice)->meets)
            return true;
    return false;
}

/* What rank 0 has decided for all. */
typedef struct decision {
    char name[NAME_MAX_BYTES]; /* of a candidate; "": none */
    uint64_t table_bytes;      /* of its own rows of the table of choices */
} decision;

#define NO_TABLE UINT64_MAX /* it could not read them */

/* *table: the text of the rows, to free(), or NULL. */
static hocket_status decide(const name_row *row, const hk_opening *opening, decision *made,
                            char **table)
{
    const char *chosen = "", *path = opening->settings->tune;
    hk_choices rows;
    size_t length = 0;
    hocket_status status = HOCKET_OK;
    if (path[0] != '\0')
        status = hk_choices_load(path, table, &length);
    if (status == HOCKET_OK)
        status = hk_choices_parse(*table, length, &rows);
    made->table_bytes = status == HOCKET_OK ? length : NO_TABLE;
    if (status == HOCKET_OK)
        status = choose(row, opening->meeting, &chosen);
    else
        hk_fail_prefix("HOCKET_TUNE=%s: ", path);
    memcpy(made->name, chosen, strlen(chosen));
    return status;
}

/* A rank that asked for another backend by name must hear of it. */
static hocket_status take_choice(const name_row *row, const decision *made)
{
    for (int i = 0; i < CANDIDATES_MAX && row->candidates[i] != NULL; i++)
        if (strcmp(row->candidates[i], made->name) == 0)
            return HOCKET_OK;
    if (made->table_bytes == NO_TABLE)
        return hk_fail_rank(HOCKET_ERR_UNAVAILABLE, 0,
                            "rank 0 cannot read its table of choices, HOCKET_TUNE");
    if (made->name[0] == '\0')
        return hk_fail_rank(HOCKET_ERR_UNAVAILABLE, 0, "rank 0 has no backend %s", row->name);
    return hk_fail_rank(HOCKET_ERR_MISMATCH, 0,
                        "this rank asks for backend %s, rank 0 has chosen %s", row->name,
                        made->name);
}

static hocket_status agree(const name_row *row, hk_opening *opening, decision *made, char **table)
{
    hocket_status mine = HOCKET_OK;
    *made = (decision){.table_bytes = 0};
    if (hk_meeting_rank(opening->meeting) == 0)
        mine = decide(row, opening, made, table);
    hk_error why = *hk_error_last();
    hocket_status status = hk_meeting_broadcast(opening->meeting, made, sizeof *made);
    if (mine != HOCKET_OK)
        return hk_fail_with(&why);
    if (status != HOCKET_OK)
        return status;
    made->name[NAME_MAX_BYTES - 1] = '\0';
    return take_choice(row, made);
}

static hocket_status hand_out(hk_opening *opening, size_t bytes, char **table)
{
    if (bytes == 0)
        return HOCKET_OK;
    if (bytes > HK_CHOICES_TEXT_MAX)
        return hk_fail_rank(HOCKET_ERR_PROTOCOL, 0, "rank 0's table of choices has %zu bytes",
                            bytes);
    if (*table == NULL && (*table = malloc(bytes)) == NULL)
        return hk_fail_memory(bytes, "a table of choices");
    hocket_status status = hk_meeting_broadcast(opening->meeting, *table, bytes);
    return status == HOCKET_OK ? hk_choices_parse(*table, bytes, opening->choices) : status;
}

/* All ranks learn whether all agree, so that none waits for one that does not. */
static hocket_status all_agree(hk_meeting *meeting, hocket_status mine)
{
    int size = hk_meeting_world_size(meeting);
    int32_t code = (int32_t)mine, codes[size];
    hk_error why = *hk_error_last();
    hocket_status status = hk_meeting_all_gather(meeting, &code, sizeof code, codes);
    if (mine != HOCKET_OK)
        return hk_fail_with(&why);
    if (status != HOCKET_OK)
        return status;
    for (int i = 0; i < size; i++)
        if (hk_status_is_failure(codes[i]))
            return hk_fail_rank((hocket_status)codes[i], i,
                                "rank %d does not have rank 0's choice of backend", i);
        else if (codes[i] != HOCKET_OK)
            return hk_fail_rank(HOCKET_ERR_PROTOCOL, i,
                                "rank %d says status %d of rank 0's choice of backend", i,
                                (int)codes[i]);
    return HOCKET_OK;
}

static hocket_status open_chosen(hk_opening *opening, const char *chosen,
                                 const hocket_transport **transport, void **self)
{
    const hk_backend *backend = find_backend(chosen, &opening->choice);
    return backend->open(opening, transport, self);
}

static hocket_status open_met(const name_row *row, hk_opening *opening,
                              const hocket_transport **transport, void **self)
{
    hocket_status status = hk_settings_need_coordinator(opening->settings);
    if (status == HOCKET_OK)
        status = hk_meeting_open(opening->settings, opening->deadline, &opening->meeting);
    if (status != HOCKET_OK)
        return status;
    decision made;
    char *table = NULL;
    status = agree(row, opening, &made, &table);
    status = all_agree(opening->meeting, status);
    if (status == HOCKET_OK)
        status = hand_out(opening, (size_t)made.table_bytes, &table);
    if (status == HOCKET_OK)
        status = open_chosen(opening, made.name, transport, self);
    hk_meeting_close(opening->meeting);
    free(table);
    return status;
}

hocket_status hk_backend_open(const hk_settings *settings, hk_time deadline,
                              const hocket_transport **transport, void **self, hk_choices *choices)
{
    const name_row *row = find_name(settings->backend);
    if (row == NULL)
        return HOCKET_ERR_INVALID;
    hk_opening opening = {.settings = settings, .deadline = deadline, .choices = choices};
    if (may_meet(row))
        return open_met(row, &opening, transport, self);
    const char *chosen;
    hocket_status status = choose(row, NULL, &chosen);
    return status == HOCKET_OK ? open_chosen(&opening, chosen, transport, self) : status;
}
