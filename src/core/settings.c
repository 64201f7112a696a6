#include "core/settings.h"

#include "core/hostfile.h"
#include "core/launcher.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_S 300.0
#define DEFAULT_INIT_TIMEOUT_S 60.0
#define TIMEOUT_DIGITS_MAX 15 /* more than a double tells apart */

static hocket_status copy_text(const char *what, const char *value, char *text, size_t size)
{
    size_t length = strlen(value);
    if (length >= size)
        return hk_fail(HOCKET_ERR_INVALID, "%s is too long: %zu characters, at most %zu", what,
                       length, size - 1);
    memcpy(text, value, length + 1);
    return HOCKET_OK;
}

static hocket_status read_number(const char *name, int low, int high, int *number)
{
    const char *value = hk_variable(name);
    long sum = 0;
    for (const char *at = value; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || (sum = sum * 10 + (*at - '0')) > high) {
            sum = -1;
            break;
        }
    }
    if (sum < low)
        return hk_fail(HOCKET_ERR_INVALID, "%s is \"%.64s\": it must be a number from %d to %d",
                       name, value, low, high);
    *number = (int)sum;
    return HOCKET_OK;
}

/* strtod would ask the program's locale what a decimal point is. */
static bool parse_seconds(const char *text, double *seconds)
{
    if (strcmp(text, "inf") == 0) {
        *seconds = INFINITY;
        return true;
    }
    double sum = 0, scale = 1;
    bool fraction = false;
    int digits = 0;
    for (; *text != '\0'; text++) {
        if (*text == '.' && !fraction) {
            fraction = true;
        } else if (*text >= '0' && *text <= '9' && ++digits <= TIMEOUT_DIGITS_MAX) {
            sum = sum * 10 + (*text - '0');
            scale = fraction ? scale * 10 : scale;
        } else {
            return false;
        }
    }
    *seconds = sum / scale;
    return sum > 0;
}

static hocket_status read_timeouts(const hocket_config *config, hk_settings *settings)
{
    if (!(config->timeout_s >= 0))
        return hk_fail(HOCKET_ERR_INVALID,
                       "config.timeout_s is %g: it must be above 0 (0: default)",
                       config->timeout_s);
    if (!(config->init_timeout_s >= 0))
        return hk_fail(HOCKET_ERR_INVALID,
                       "config.init_timeout_s is %g: it must be above 0 (0: default)",
                       config->init_timeout_s);
    const char *text = hk_variable("HOCKET_TIMEOUT");
    settings->timeout_s = DEFAULT_TIMEOUT_S;
    if (config->timeout_s > 0)
        settings->timeout_s = config->timeout_s;
    else if (text != NULL && !parse_seconds(text, &settings->timeout_s))
        return hk_fail(HOCKET_ERR_INVALID,
                       "HOCKET_TIMEOUT is \"%.64s\": it must be seconds above 0, or inf", text);
    settings->init_timeout_s =
        config->init_timeout_s > 0 ? config->init_timeout_s : DEFAULT_INIT_TIMEOUT_S;
    return HOCKET_OK;
}

/* === Secret =================================================================================== */

/* The file may be one that was inherited and unlinked, shared with other ranks and read before:
 * from its start, whatever its position. A pipe has neither and is read once. */
static hocket_status read_secret_bytes(int fd, const char *name, hk_settings *settings)
{
    unsigned char
        buffer[HK_SECRET_MAX + 2]; /* a newline, and one more to see that it is too much */
    size_t length = 0;
    bool seekable = true;
    int error = 0;
    while (length < sizeof buffer) {
        ssize_t more = seekable ? pread(fd, buffer + length, sizeof buffer - length, (off_t)length)
                                : read(fd, buffer + length, sizeof buffer - length);
        if (more < 0 && errno == ESPIPE && seekable)
            seekable = false;
        else if (more < 0 && errno != EINTR)
            error = errno;
        else if (more > 0)
            length += (size_t)more;
        if (more == 0 || error != 0)
            break;
    }
    if (length > 0 && buffer[length - 1] == '\n')
        length--;
    hocket_status status = HOCKET_OK;
    if (error != 0) {
        status = hk_fail_errno(error, "HOCKET_SECRET_FILE \"%.256s\" cannot be read", name);
    } else if (length > HK_SECRET_MAX) {
        status = hk_fail(HOCKET_ERR_INVALID,
                         "HOCKET_SECRET_FILE \"%.256s\" is too long: a secret has at most %d bytes",
                         name, HK_SECRET_MAX);
    } else {
        memcpy(settings->secret, buffer, length);
        settings->secret_length = length;
    }
    sodium_memzero(buffer, sizeof buffer);
    return status;
}

static hocket_status read_secret_file(const char *name, hk_settings *settings)
{
    static const char inherited[] = "/dev/fd/";
    const char *number = NULL;
    if (strncmp(name, "fd:", 3) == 0)
        number = name + 3;
    else if (strncmp(name, inherited, sizeof inherited - 1) == 0)
        number = name + sizeof inherited - 1;
    if (number != NULL) {
        char *end;
        errno = 0;
        long fd = strtol(number, &end, 10);
        if (number[0] < '0' || number[0] > '9' || *end != '\0' || errno != 0 || fd > INT_MAX)
            return hk_fail(HOCKET_ERR_INVALID,
                           "HOCKET_SECRET_FILE is \"%.64s\": no number of a descriptor", name);
        return read_secret_bytes((int)fd, name, settings);
    }
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hk_fail_errno(errno, "HOCKET_SECRET_FILE \"%.256s\" cannot be opened", name);
    hocket_status status = read_secret_bytes(fd, name, settings);
    close(fd);
    return status;
}

/* Not from hk_variable(): who sets an empty secret wants one. */
static hocket_status read_secret(const hocket_config *config, hk_settings *settings)
{
    const char *from = "config.secret", *text = config->secret;
    const char *file = hk_variable("HOCKET_SECRET_FILE");
    if (text == NULL && file != NULL) {
        from = "HOCKET_SECRET_FILE";
        hocket_status status = read_secret_file(file, settings);
        if (status != HOCKET_OK)
            return status;
    } else {
        if (text == NULL) {
            from = "HOCKET_SECRET";
            text = getenv(from);
        }
        if (text == NULL)
            return HOCKET_OK;
        size_t length = strlen(text);
        if (length > HK_SECRET_MAX)
            return hk_fail(HOCKET_ERR_INVALID, "%s is too long: %zu bytes, at most %d", from,
                           length, HK_SECRET_MAX);
        memcpy(settings->secret, text, length);
        settings->secret_length = length;
    }
    if (settings->secret_length < HK_SECRET_MIN)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the secret in %s is too short: %zu characters, at least %d", from,
                       settings->secret_length, HK_SECRET_MIN);
    return HOCKET_OK;
}

/* === World ==================================================================================== */

/* Where each part of the world came from, for the texts. */
typedef struct origins {
    const char *rank, *size, *coordinator;
} origins;

static hocket_status read_rank_and_size(const hocket_config *config, const hk_launcher *starter,
                                        hk_settings *settings, origins *from)
{
    if (config->world_size < 0 || config->world_size > HK_WORLD_MAX)
        return hk_fail(HOCKET_ERR_INVALID, "config.world_size is %d: it must be from 0 to %d",
                       config->world_size, HK_WORLD_MAX);
    if (config->world_size > 0) {
        *from = (origins){.rank = "config.rank", .size = "config.world_size"};
        settings->rank = config->rank;
        settings->world_size = config->world_size;
        return HOCKET_OK;
    }
    if (hk_variable("HOCKET_RANK") != NULL) {
        from->rank = "HOCKET_RANK";
    } else if (starter != NULL) {
        from->rank = starter->rank;
        settings->launcher = starter->name;
    }
    if (hk_variable("HOCKET_WORLD_SIZE") != NULL)
        from->size = "HOCKET_WORLD_SIZE";
    else if (settings->hostfile[0] == '\0' && starter != NULL)
        from->size = starter->size != NULL ? starter->size : starter->devices;
    hocket_status status = HOCKET_OK;
    if (from->rank != NULL)
        status = read_number(from->rank, 0, HK_WORLD_MAX - 1, &settings->rank);
    if (status != HOCKET_OK || from->size == NULL)
        return status;
    if (starter != NULL && from->size == starter->devices) {
        status = hk_devices_count(hk_variable(from->size), &settings->world_size);
        if (status != HOCKET_OK)
            hk_fail_prefix("%s: ", from->size);
        return status;
    }
    return read_number(from->size, 1, HK_WORLD_MAX, &settings->world_size);
}

/* A coordinator that was derived from the job is there when all ranks share a host. */
static bool on_loopback(const hk_settings *settings)
{
    static const char host[] = "127.0.0.1:";
    return strncmp(settings->coordinator, host, sizeof host - 1) == 0;
}

static hocket_status read_coordinator(const hocket_config *config, const hk_launcher *starter,
                                      hk_settings *settings, origins *from)
{
    const char *text = hk_variable("HOCKET_COORDINATOR");
    from->coordinator = "HOCKET_COORDINATOR";
    if (config->coordinator != NULL && config->coordinator[0] != '\0') {
        from->coordinator = "config.coordinator";
        text = config->coordinator;
    }
    if (text != NULL)
        return copy_text(from->coordinator, text, settings->coordinator,
                         sizeof settings->coordinator);
    from->coordinator = NULL;
    if (settings->hostfile[0] != '\0' || starter == NULL)
        return HOCKET_OK;
    hocket_status status =
        hk_launcher_coordinator(starter, settings->world_size, settings->coordinator,
                                sizeof settings->coordinator, &settings->job);
    if (settings->coordinator[0] != '\0')
        from->coordinator = "the launcher";
    bool open = settings->coordinator[0] == '\0' || (settings->job != 0 && !on_loopback(settings));
    if (status == HOCKET_OK && open && settings->launcher != NULL)
        settings->store = hk_launcher_store(starter, settings->world_size);
    return status;
}

/* HOCKET_HOSTFILE, or the launcher's. */
static hocket_status find_hostfile(const hk_launcher *starter, hk_settings *settings)
{
    const char *name = "HOCKET_HOSTFILE";
    if (hk_variable(name) == NULL)
        name = starter == NULL ? NULL : starter->hostfile;
    const char *path = hk_variable(name);
    if (path == NULL)
        return HOCKET_OK;
    return copy_text(name, path, settings->hostfile, sizeof settings->hostfile);
}

/* What is still open after the variables: the number of ranks, and where the first one listens. */
static hocket_status fill_from_hostfile(hk_settings *settings, origins *from)
{
    if (settings->hostfile[0] == '\0' || (from->size != NULL && from->coordinator != NULL))
        return HOCKET_OK;
    hk_hostfile hostfile;
    hocket_status status = hk_hostfile_read(settings->hostfile, &hostfile);
    if (status != HOCKET_OK)
        return status;
    if (from->size == NULL) {
        from->size = "the number of ranks in the hostfile";
        settings->world_size = hostfile.rank_count;
    }
    if (from->coordinator == NULL) {
        from->coordinator = "the hostfile";
        status = copy_text("the first address in the hostfile", hostfile.ranks[0].addresses[0],
                           settings->coordinator, sizeof settings->coordinator);
    }
    hk_hostfile_close(&hostfile);
    return status;
}

/* Half a world is an error; none at all is a group of one, for the caller to judge. */
static hocket_status check_world(hk_settings *settings, const origins *from)
{
    settings->configured = from->rank != NULL || from->size != NULL || from->coordinator != NULL;
    if (!settings->configured) {
        settings->world_size = 1;
        return HOCKET_OK;
    }
    if (from->rank == NULL)
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s says that there is a world, but not which rank this is: set HOCKET_RANK",
                       from->size != NULL ? from->size : from->coordinator);
    if (from->size == NULL)
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s says that there is a world, but not how large: set HOCKET_WORLD_SIZE",
                       from->rank);
    if (settings->rank < 0 || settings->rank >= settings->world_size)
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s is %d and %s is %d: the rank must be from 0 to the size less 1",
                       from->rank, settings->rank, from->size, settings->world_size);
    return HOCKET_OK;
}

static hocket_status read_world(const hocket_config *config, hk_settings *settings)
{
    const hk_launcher *starter = hk_launcher_find();
    origins from = {NULL, NULL, NULL};
    settings->advice = starter != NULL ? starter->share : NULL;
    settings->pass = starter != NULL ? starter->pass : NULL;
    hocket_status status = find_hostfile(starter, settings);
    if (status == HOCKET_OK)
        status = read_rank_and_size(config, starter, settings, &from);
    if (status == HOCKET_OK)
        status = read_coordinator(config, starter, settings, &from);
    if (status == HOCKET_OK)
        status = fill_from_hostfile(settings, &from);
    return status == HOCKET_OK ? check_world(settings, &from) : status;
}

static hocket_status read_switch(const char *name, bool *on)
{
    const char *text = hk_variable(name);
    if (text != NULL && strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
        return hk_fail(HOCKET_ERR_INVALID, "%s is \"%.64s\": it must be 0 or 1", name, text);
    *on = text != NULL && text[0] == '1';
    return HOCKET_OK;
}

static hocket_status read_text(const char *name, char *text, size_t size)
{
    const char *value = hk_variable(name);
    return value != NULL ? copy_text(name, value, text, size) : HOCKET_OK;
}

static hocket_status read_rest(const hocket_config *config, hk_settings *settings)
{
    const char *backend = config->backend;
    const char *from = "config.backend";
    if (backend == NULL || backend[0] == '\0') {
        from = "HOCKET_BACKEND";
        backend = hk_variable(from);
    }
    hocket_status status = read_switch("HOCKET_INSECURE", &settings->insecure);
    if (status == HOCKET_OK)
        status = read_switch("HOCKET_ENCRYPT", &settings->encrypt);
    if (status == HOCKET_OK)
        status = read_text("HOCKET_FAULT", settings->fault, sizeof settings->fault);
    if (status == HOCKET_OK)
        status = read_text("HOCKET_TRACE", settings->trace, sizeof settings->trace);
    if (status == HOCKET_OK)
        status = read_text("HOCKET_HOST", settings->host, sizeof settings->host);
    if (status == HOCKET_OK)
        status = read_text("HOCKET_TUNE", settings->tune, sizeof settings->tune);
    if (status != HOCKET_OK)
        return status;
    settings->strict = config->strict;
    return copy_text(from, backend == NULL ? "any" : backend, settings->backend,
                     sizeof settings->backend);
}

hocket_status hk_settings_read(const hocket_config *config, hk_settings *settings)
{
    memset(settings, 0, sizeof *settings);
    /* A program that was built against an older header has a shorter struct: the rest is 0. */
    hocket_config known = {.size = sizeof known};
    if (config != NULL) {
        if (config->size < sizeof config->size || config->size > sizeof known ||
            config->size % _Alignof(hocket_config) != 0) /* no header's: half a field */
            return hk_fail(HOCKET_ERR_INVALID,
                           "config.size is %zu: it must be sizeof(hocket_config), here %zu",
                           config->size, sizeof known);
        memcpy(&known, config, config->size);
    }
    hocket_status status = read_rest(&known, settings);
    if (status == HOCKET_OK)
        status = read_timeouts(&known, settings);
    if (status == HOCKET_OK)
        status = read_world(&known, settings);
    if (status == HOCKET_OK)
        status = read_secret(&known, settings);
    if (status != HOCKET_OK)
        hk_settings_wipe(settings);
    return status;
}

hocket_status hk_settings_need_coordinator(const hk_settings *settings)
{
    if (settings->world_size == 1 || settings->coordinator[0] != '\0' ||
        settings->store != HK_STORE_NONE)
        return HOCKET_OK;
    if (settings->launcher != NULL)
        return hk_fail(HOCKET_ERR_INVALID,
                       "rank %d of %d: %s does not say where rank 0 listens: set "
                       "HOCKET_COORDINATOR=host:port to the same on all ranks%s%s%s",
                       settings->rank, settings->world_size, settings->launcher,
                       settings->pass != NULL ? " (" : "",
                       settings->pass != NULL ? settings->pass : "",
                       settings->pass != NULL ? ")" : "");
    return hk_fail(HOCKET_ERR_INVALID,
                   "rank %d of %d does not know where rank 0 listens: set HOCKET_COORDINATOR (or "
                   "config.coordinator) to host:port, the same on all ranks",
                   settings->rank, settings->world_size);
}

void hk_settings_wipe(hk_settings *settings)
{
    sodium_memzero(settings->secret, sizeof settings->secret);
    settings->secret_length = 0;
}
