#include "run/hosts.h"

#include "words.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENVS_MAX 1024
#define NUMBER_DIGITS 6
#define LINE_WORDS 16 /* of a line of Open MPI's */

/* Where a parser says what is wrong. */
typedef struct reader {
    hk_hosts *hosts;
    char *why;
    size_t why_size;
} reader;

/* Always false. */
static bool complain(reader *reader, const char *format, ...) HK_WORDS_PRINTF(2, 3);

static bool complain(reader *reader, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->why, reader->why_size, format, arguments);
    va_end(arguments);
    return false;
}

static bool no_memory(reader *reader)
{
    return complain(reader, "there is no memory for it");
}

/* A name that began with a dash would be an option of ssh; one that ends with @ is only a user. */
static bool is_name(const char *text, size_t length)
{
    if (length < 1 || length >= HK_HOST_NAME_MAX || text[0] == '-' || text[length - 1] == '@')
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == 0x7f || strchr("'\"\\,;|&$<>()`", c))
            return false;
    }
    return true;
}

static hk_host *add_host(reader *reader, const char *name, size_t length)
{
    hk_hosts *hosts = reader->hosts;
    if (!is_name(name, length)) {
        complain(reader, "host %d has no name that ssh could be given", hosts->count);
        return NULL;
    }
    if (hosts->count >= HK_HOSTS_MAX) {
        complain(reader, "there are more than %d hosts", HK_HOSTS_MAX);
        return NULL;
    }
    hk_host *items = realloc(hosts->items, ((size_t)hosts->count + 1) * sizeof *items);
    if (items)
        hosts->items = items;
    char *copy = items ? strndup(name, length) : NULL;
    if (!copy) {
        no_memory(reader);
        return NULL;
    }
    hosts->items[hosts->count] = (hk_host){.name = copy};
    return &hosts->items[hosts->count++];
}

/* === Names ==================================================================================== */

static bool take_names(reader *reader, const char *names)
{
    for (const char *at = names;;) {
        size_t length = strcspn(at, ",");
        if (!add_host(reader, at, length))
            return false;
        if (!at[length])
            return true;
        at += length + 1;
    }
}

bool hk_hosts_from_names(const char *command, const char *names, hk_hosts *hosts)
{
    char why[256];
    *hosts = (hk_hosts){0};
    reader reader = {hosts, why, sizeof why};
    if (take_names(&reader, names))
        return true;
    hk_complain(command, "--hosts needs names with commas between, not '%s': %s.", names, why);
    hk_hosts_free(hosts);
    return false;
}

/* === MLX's launch hostfile ==================================================================== */

static bool take_ips(reader *reader, const cJSON *list, hk_host *host)
{
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (!list || cJSON_IsNull(list))
        return true;
    if (!cJSON_IsArray(list) || count > HK_HOST_IPS_MAX)
        return complain(reader, "\"ips\" of %s is no list of at most %d addresses", host->name,
                        HK_HOST_IPS_MAX);
    host->ips = calloc((size_t)count + 1, sizeof *host->ips);
    if (!host->ips)
        return no_memory(reader);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, list)
    {
        const char *text = cJSON_GetStringValue(entry);
        if (!text || !is_name(text, strlen(text)))
            return complain(reader, "address %d of %s is none", host->ip_count, host->name);
        host->ips[host->ip_count] = strdup(text);
        if (!host->ips[host->ip_count])
            return no_memory(reader);
        host->ip_count++;
    }
    return true;
}

static bool is_device(const cJSON *entry)
{
    const char *text = cJSON_GetStringValue(entry);
    return text && is_name(text, strlen(text));
}

/* A row is kept as it is written: null, a device or a list of devices for each host. */
static bool take_rdma(reader *reader, const cJSON *row, hk_host *host)
{
    if (!row || cJSON_IsNull(row))
        return true;
    bool good = cJSON_IsArray(row) && cJSON_GetArraySize(row) <= HK_HOSTS_MAX;
    const cJSON *entry, *device;
    cJSON_ArrayForEach(entry, row)
    {
        good = good && (cJSON_IsNull(entry) || is_device(entry) || cJSON_IsArray(entry));
        cJSON_ArrayForEach(device, entry)
        {
            good = good && is_device(device);
        }
    }
    if (!good)
        return complain(reader, "\"rdma\" of %s is no list of devices", host->name);
    host->rdma = cJSON_PrintUnformatted(row);
    return host->rdma || no_memory(reader);
}

static bool take_entry(reader *reader, const cJSON *entry)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "ssh"));
    if (!name)
        return complain(reader, "host %d has no \"ssh\"", reader->hosts->count);
    hk_host *host = add_host(reader, name, strlen(name));
    return host && take_ips(reader, cJSON_GetObjectItemCaseSensitive(entry, "ips"), host) &&
           take_rdma(reader, cJSON_GetObjectItemCaseSensitive(entry, "rdma"), host);
}

static bool take_envs(reader *reader, const cJSON *list)
{
    hk_hosts *hosts = reader->hosts;
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (!list || cJSON_IsNull(list))
        return true;
    if (!cJSON_IsArray(list) || count > ENVS_MAX)
        return complain(reader, "\"envs\" is no list of at most %d texts", ENVS_MAX);
    hosts->envs = calloc((size_t)count + 1, sizeof *hosts->envs);
    if (!hosts->envs)
        return no_memory(reader);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, list)
    {
        const char *text = cJSON_GetStringValue(entry), *equals = text ? strchr(text, '=') : NULL;
        if (!equals || equals == text)
            return complain(reader, "entry %d of \"envs\" is no \"NAME=VALUE\"", hosts->env_count);
        hosts->envs[hosts->env_count] = strdup(text);
        if (!hosts->envs[hosts->env_count])
            return no_memory(reader);
        hosts->env_count++;
    }
    return true;
}

static bool take_backend(reader *reader, const cJSON *backend)
{
    if (!backend || cJSON_IsNull(backend))
        return true;
    const char *text = cJSON_GetStringValue(backend);
    if (!text || !is_name(text, strlen(text)))
        return complain(reader, "\"backend\" is no name");
    reader->hosts->backend = strdup(text);
    return reader->hosts->backend || no_memory(reader);
}

static bool take_json(reader *reader, const cJSON *root)
{
    const cJSON *list = root;
    if (cJSON_IsObject(root)) {
        list = cJSON_GetObjectItemCaseSensitive(root, "hosts");
        if (!take_envs(reader, cJSON_GetObjectItemCaseSensitive(root, "envs")) ||
            !take_backend(reader, cJSON_GetObjectItemCaseSensitive(root, "backend")))
            return false;
    }
    if (!cJSON_IsArray(list))
        return complain(reader, "it is no JSON list of hosts, as in [{\"ssh\": \"a\", \"ips\": "
                                "[\"10.0.0.1\"]}], and no object with such \"hosts\"");
    const cJSON *entry;
    cJSON_ArrayForEach(entry, list)
    {
        if (!take_entry(reader, entry))
            return false;
    }
    return true;
}

/* === Open MPI's lines ========================================================================= */

static bool take_slots(reader *reader, const char *word, size_t length, hk_host *host)
{
    static const char *const names[] = {"slots=", "max_slots=", "max-slots="};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t name = strlen(names[i]);
        if (length <= name || memcmp(word, names[i], name) != 0)
            continue;
        int number = 0;
        for (size_t at = name; at < length; at++) {
            if (word[at] < '0' || word[at] > '9' || length - name > NUMBER_DIGITS)
                return complain(reader, "'%.*s' after %s is no number of ranks", (int)length, word,
                                host->name);
            number = 10 * number + (word[at] - '0');
        }
        if (number < 1)
            return complain(reader, "%s has no slots", host->name);
        if (i == 0)
            host->slots = number;
        return true;
    }
    return complain(reader, "'%.*s' after %s is not understood", length < 40 ? (int)length : 40,
                    word, host->name);
}

/* "host slots=4", blanks between, and a comment from # on. */
static bool take_line(reader *reader, const char *line, size_t length)
{
    static const char blanks[] = " \t\r";
    const char *comment = memchr(line, '#', length);
    const char *end = comment ? comment : line + length;
    hk_host *host = NULL;
    for (int words = 0; words < LINE_WORDS; words++) {
        while (line < end && strchr(blanks, *line))
            line++;
        const char *word = line;
        while (line < end && !strchr(blanks, *line))
            line++;
        size_t size = (size_t)(line - word);
        if (size == 0)
            return true;
        if (host && !take_slots(reader, word, size, host))
            return false;
        if (!host)
            host = add_host(reader, word, size);
        if (!host)
            return false;
    }
    return complain(reader, "a line has more than %d words", LINE_WORDS);
}

static bool take_lines(reader *reader, const char *text, size_t length)
{
    const char *end = text + length;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((newline ? newline : end) - text);
        if (memchr(text, '\0', line))
            return complain(reader, "it is no text");
        if (!take_line(reader, text, line))
            return false;
        text += line + 1;
    }
    return true;
}

/* === Both ===================================================================================== */

bool hk_hosts_parse(const char *text, size_t length, hk_hosts *hosts, char *why, size_t why_size)
{
    *hosts = (hk_hosts){0};
    reader reader = {hosts, why, why_size};
    size_t blanks = 0;
    bool parsed;
    while (blanks < length && text[blanks] && strchr(" \t\r\n", text[blanks]))
        blanks++;
    if (length > HK_HOSTS_BYTES_MAX) {
        parsed = complain(&reader, "it is larger than %u bytes", HK_HOSTS_BYTES_MAX);
    } else if (blanks < length && (text[blanks] == '[' || text[blanks] == '{')) {
        cJSON *root = cJSON_ParseWithLength(text, length);
        parsed = root ? take_json(&reader, root) : complain(&reader, "it is no JSON");
        cJSON_Delete(root);
    } else {
        parsed = take_lines(&reader, text, length);
    }
    if (parsed && hosts->count == 0)
        parsed = complain(&reader, "it names no host");
    if (!parsed)
        hk_hosts_free(hosts);
    return parsed;
}

static bool read_file(const char *path, char *text, size_t size, size_t *length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = -1;
    *length = 0;
    while (fd >= 0 && *length < size && (got = read(fd, text + *length, size - *length)) > 0)
        *length += (size_t)got;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return fd >= 0 && got >= 0;
}

bool hk_hosts_from_file(const char *command, const char *path, hk_hosts *hosts)
{
    char why[512] = "there is no memory for it";
    size_t length, size = HK_HOSTS_BYTES_MAX + 1; /* one more to see that it is too large */
    char *text = malloc(size);
    bool read = text && read_file(path, text, size, &length);
    if (text && !read)
        snprintf(why, sizeof why, "%s", strerror(errno));
    bool parsed = read && hk_hosts_parse(text, length, hosts, why, sizeof why);
    free(text);
    if (!parsed)
        hk_complain(command, "The hostfile '%s' is of no use: %s.", path, why);
    return parsed;
}

bool hk_hosts_choose(const char *command, const hk_hosts_options *options, hk_hosts *hosts)
{
    if (options->names && options->file) {
        hk_complain(command, "Either --hosts or --hostfile says which hosts, not both.");
        return false;
    }
    if (options->file)
        return hk_hosts_from_file(command, options->file, hosts);
    return hk_hosts_from_names(command, options->names ? options->names : "localhost", hosts);
}

long hk_hosts_fill(hk_hosts *hosts, int n)
{
    long total = 0;
    for (int i = 0; i < hosts->count; i++) {
        hk_host *host = &hosts->items[i];
        host->ranks = n > 0 ? n : host->slots > 0 ? host->slots : 1;
        total += host->ranks;
    }
    return total;
}

void hk_hosts_free(hk_hosts *hosts)
{
    for (int i = 0; i < hosts->count; i++) {
        hk_host *host = &hosts->items[i];
        for (int j = 0; j < host->ip_count; j++)
            free(host->ips[j]);
        free(host->ips);
        free(host->rdma);
        free(host->name);
    }
    for (int i = 0; i < hosts->env_count; i++)
        free(hosts->envs[i]);
    free(hosts->envs);
    free(hosts->backend);
    free(hosts->items);
    *hosts = (hk_hosts){0};
}

bool hk_host_is_here(const hk_host *host)
{
    char name[HK_HOST_NAME_MAX];
    if (strcmp(host->name, "localhost") == 0 || strcmp(host->name, "127.0.0.1") == 0 ||
        strcmp(host->name, "::1") == 0)
        return true;
    if (gethostname(name, sizeof name) < 0)
        return false;
    name[sizeof name - 1] = '\0';
    return strcmp(host->name, name) == 0;
}

static bool are_one(const hk_hosts *hosts)
{
    bool here = true, same = true;
    for (int i = 0; i < hosts->count; i++) {
        here = here && hk_host_is_here(&hosts->items[i]);
        same = same && strcmp(hosts->items[i].name, hosts->items[0].name) == 0;
    }
    return here || same;
}

void hk_host_address(const hk_hosts *hosts, int index, char *address, size_t size)
{
    const hk_host *host = &hosts->items[index];
    const char *at = strrchr(host->name, '@'), *name = at ? at + 1 : host->name;
    if (are_one(hosts))
        snprintf(address, size, "127.0.0.1");
    else if (host->ip_count > 0)
        snprintf(address, size, strchr(host->ips[0], ':') ? "[%s]" : "%s", host->ips[0]);
    else if (!hk_host_is_here(host))
        snprintf(address, size, strchr(name, ':') ? "[%s]" : "%s", name);
    else if (gethostname(address, size) < 0) /* the others cannot ask for localhost */
        snprintf(address, size, "127.0.0.1");
    address[size - 1] = '\0';
}
