#include "core/hostfile.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hocket_status add_address(const cJSON *entry, int rank, const char *name,
                                 hk_hostfile_rank *one)
{
    const char *text = cJSON_GetStringValue(entry);
    if (text == NULL || strchr(text, ':') == NULL || strlen(text) >= HK_HOSTFILE_TEXT_MAX)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the hostfile %.256s: address %d of rank %d is no text like \"ip:port\" "
                       "of at most %d characters",
                       name, one->address_count, rank, HK_HOSTFILE_TEXT_MAX - 1);
    char *copy = strdup(text);
    if (copy == NULL)
        return hk_fail_memory(strlen(text) + 1, "an address of the hostfile");
    one->addresses[one->address_count++] = copy;
    return HOCKET_OK;
}

static hocket_status add_rank(const cJSON *list, const char *name, hk_hostfile *hostfile)
{
    int rank = hostfile->rank_count;
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (count < 1 || count > HK_HOSTFILE_ADDRESSES_MAX)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the hostfile %.256s: rank %d is no list of 1 to %d addresses", name, rank,
                       HK_HOSTFILE_ADDRESSES_MAX);
    hk_hostfile_rank *one = &hostfile->ranks[hostfile->rank_count++];
    one->addresses = calloc((size_t)count, sizeof *one->addresses);
    if (one->addresses == NULL)
        return hk_fail_memory((size_t)count * sizeof *one->addresses, "a rank of the hostfile");
    const cJSON *entry;
    cJSON_ArrayForEach(entry, list)
    {
        hocket_status status = add_address(entry, rank, name, one);
        if (status != HOCKET_OK)
            return status;
    }
    return HOCKET_OK;
}

static hocket_status take_ranks(const cJSON *root, const char *name, hk_hostfile *hostfile)
{
    int count = cJSON_IsArray(root) ? cJSON_GetArraySize(root) : 0;
    if (count < 1 || count > HK_HOSTFILE_RANKS_MAX)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the hostfile %.256s is no JSON list of 1 to %d ranks, as in "
                       "[[\"10.0.0.1:5000\"], [\"10.0.0.2:5000\"]]",
                       name, HK_HOSTFILE_RANKS_MAX);
    hostfile->ranks = calloc((size_t)count, sizeof *hostfile->ranks);
    if (hostfile->ranks == NULL)
        return hk_fail_memory((size_t)count * sizeof *hostfile->ranks, "the hostfile");
    const cJSON *list;
    cJSON_ArrayForEach(list, root)
    {
        hocket_status status = add_rank(list, name, hostfile);
        if (status != HOCKET_OK)
            return status;
    }
    return HOCKET_OK;
}

hocket_status hk_hostfile_parse(const char *json, size_t length, const char *name,
                                hk_hostfile *hostfile)
{
    *hostfile = (hk_hostfile){NULL, 0};
    if (length > HK_HOSTFILE_BYTES_MAX)
        return hk_fail(HOCKET_ERR_INVALID, "the hostfile %.256s is larger than %d bytes", name,
                       HK_HOSTFILE_BYTES_MAX);
    const char *end = json;
    cJSON *root = cJSON_ParseWithLengthOpts(json, length, &end, 0);
    while (root != NULL && end < json + length && strchr(" \t\r\n", *end) != NULL && *end != '\0')
        end++;
    hocket_status status = take_ranks(root, name, hostfile);
    if (status == HOCKET_OK && end != json + length)
        status = hk_fail(HOCKET_ERR_INVALID, "the hostfile %.256s goes on after its list", name);
    cJSON_Delete(root);
    if (status != HOCKET_OK)
        hk_hostfile_close(hostfile);
    return status;
}

static hocket_status read_up_to(int fd, char *buffer, size_t size, const char *path, size_t *length)
{
    *length = 0;
    while (*length < size) {
        ssize_t more = read(fd, buffer + *length, size - *length);
        if (more == 0)
            break;
        if (more > 0)
            *length += (size_t)more;
        else if (errno != EINTR)
            return hk_fail_errno(errno, "the hostfile %.256s cannot be read", path);
    }
    return HOCKET_OK;
}

/* What is made of the bytes of a file. */
typedef hocket_status (*take_fn)(const char *json, size_t length, const char *path, void *result);

static hocket_status read_file(const char *path, take_fn take, void *result)
{
    size_t size = HK_HOSTFILE_BYTES_MAX + 1; /* one more to see that it is too large */
    char *buffer = malloc(size);
    if (buffer == NULL)
        return hk_fail_memory(size, "the hostfile");
    hocket_status status;
    size_t length;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        status = hk_fail_errno(errno, "the hostfile %.256s cannot be opened", path);
    } else {
        status = read_up_to(fd, buffer, size, path, &length);
        close(fd);
        if (status == HOCKET_OK)
            status = take(buffer, length, path, result);
    }
    free(buffer);
    return status;
}

static hocket_status take_hostfile(const char *json, size_t length, const char *path, void *result)
{
    return hk_hostfile_parse(json, length, path, result);
}

hocket_status hk_hostfile_read(const char *path, hk_hostfile *hostfile)
{
    *hostfile = (hk_hostfile){NULL, 0};
    return read_file(path, take_hostfile, hostfile);
}

/* Only the shape: the names are for who opens the devices. */
static hocket_status take_devices(const char *json, size_t length, const char *path, void *result)
{
    cJSON *root = length <= HK_HOSTFILE_BYTES_MAX ? cJSON_ParseWithLength(json, length) : NULL;
    int count = cJSON_IsArray(root) ? cJSON_GetArraySize(root) : 0;
    bool square = count >= 1 && count <= HK_HOSTFILE_RANKS_MAX;
    const cJSON *row;
    cJSON_ArrayForEach(row, root)
    {
        square = square && cJSON_IsArray(row) && cJSON_GetArraySize(row) == count;
    }
    cJSON_Delete(root);
    if (!square)
        return hk_fail(
            HOCKET_ERR_INVALID,
            "the file of devices %.256s is no JSON list of 1 to %d ranks, each with a "
            "device or null for each, as in [[null, \"rdma_en2\"], [\"rdma_en2\", null]]",
            path, HK_HOSTFILE_RANKS_MAX);
    *(int *)result = count;
    return HOCKET_OK;
}

hocket_status hk_devices_count(const char *path, int *ranks)
{
    return read_file(path, take_devices, ranks);
}

/* === A row of it ============================================================================== */

typedef struct wanted_row {
    int ranks, rank;
    hk_wires *row;
} wanted_row;

static int wires_in(const cJSON *cell)
{
    return cJSON_IsArray(cell) ? cJSON_GetArraySize(cell) : cJSON_IsString(cell) ? 1 : 0;
}

static hocket_status add_wire(const cJSON *entry, const char *path, int from, int to,
                              hk_wires *wires)
{
    const char *name = cJSON_GetStringValue(entry);
    if (name == NULL || name[0] == '\0' || strlen(name) >= HK_DEVICE_NAME_MAX)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the file of devices %.256s: what faces rank %d on rank %d is neither null "
                       "nor the name of a device nor a list of them",
                       path, to, from);
    memcpy(wires->names[wires->count++], name, strlen(name) + 1);
    return HOCKET_OK;
}

static hocket_status take_cell(const cJSON *cell, const char *path, int from, int to,
                               hk_wires *wires)
{
    wires->count = 0;
    if (cJSON_IsNull(cell))
        return HOCKET_OK;
    if (!cJSON_IsArray(cell))
        return add_wire(cell, path, from, to, wires);
    if (cJSON_GetArraySize(cell) > HK_WIRES_MAX)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the file of devices %.256s: rank %d has more than %d wires to rank %d",
                       path, from, HK_WIRES_MAX, to);
    const cJSON *entry;
    hocket_status status = HOCKET_OK;
    cJSON_ArrayForEach(entry, cell)
    {
        if (status == HOCKET_OK)
            status = add_wire(entry, path, from, to, wires);
    }
    return status;
}

static hocket_status take_cells(const cJSON *root, const char *path, const wanted_row *wanted)
{
    const cJSON *row = cJSON_GetArrayItem(root, wanted->rank);
    for (int to = 0; to < wanted->ranks; to++) {
        const cJSON *cell = cJSON_GetArrayItem(row, to);
        const cJSON *back = cJSON_GetArrayItem(cJSON_GetArrayItem(root, to), wanted->rank);
        hocket_status status = take_cell(cell, path, wanted->rank, to, &wanted->row[to]);
        if (status != HOCKET_OK)
            return status;
        if (to == wanted->rank && wanted->row[to].count > 0)
            return hk_fail(HOCKET_ERR_INVALID, "the file of devices %.256s: rank %d faces itself",
                           path, to);
        if (wires_in(back) != wanted->row[to].count)
            return hk_fail(HOCKET_ERR_INVALID,
                           "the file of devices %.256s: rank %d has %d wires to rank %d, which has "
                           "%d back",
                           path, wanted->rank, wanted->row[to].count, to, wires_in(back));
    }
    return HOCKET_OK;
}

static hocket_status take_row(const char *json, size_t length, const char *path, void *result)
{
    const wanted_row *wanted = result;
    int ranks;
    hocket_status status = take_devices(json, length, path, &ranks);
    if (status != HOCKET_OK)
        return status;
    if (ranks != wanted->ranks)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the file of devices %.256s is for %d ranks, and there are %d", path, ranks,
                       wanted->ranks);
    cJSON *root = cJSON_ParseWithLength(json, length);
    if (root == NULL)
        return hk_fail_memory(length, "the file of devices");
    status = take_cells(root, path, wanted);
    cJSON_Delete(root);
    return status;
}

hocket_status hk_devices_row(const char *path, int ranks, int rank, hk_wires *row)
{
    wanted_row wanted = {.ranks = ranks, .rank = rank, .row = row};
    return read_file(path, take_row, &wanted);
}

void hk_hostfile_close(hk_hostfile *hostfile)
{
    for (int r = 0; r < hostfile->rank_count; r++) {
        for (int i = 0; i < hostfile->ranks[r].address_count; i++)
            free(hostfile->ranks[r].addresses[i]);
        free(hostfile->ranks[r].addresses);
    }
    free(hostfile->ranks);
    *hostfile = (hk_hostfile){NULL, 0};
}
