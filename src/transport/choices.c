#include "transport/choices.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define ANY INT_MAX
#define MORE SIZE_MAX

/* What fits no row is HK_DIRECT by messages, HK_STAGED in memory, HK_LANES between hosts.
 *
 * Few ranks and few bytes: the number of steps counts. Many ranks: the number of messages counts,
 * hence trees. Many bytes: every rank should move each byte as seldom as possible, and with many
 * ranks it should not listen to all of them at once, hence rings. In memory everyone reads the
 * vectors of all others at once as long as that costs less than a second step. */
static const hk_choice built_in[] = {
    {HK_ALL_REDUCE, HK_BY_MESSAGES, 2, 2, 0, 256 * KIB, HK_FLAT},
    {HK_ALL_REDUCE, HK_BY_MESSAGES, 3, 4, 0, 32 * KIB, HK_FLAT},
    {HK_ALL_REDUCE, HK_BY_MESSAGES, 5, 8, 0, 8 * KIB, HK_FLAT},
    {HK_ALL_REDUCE, HK_BY_MESSAGES, 9, ANY, 0, 4 * KIB, HK_TREE},
    {HK_ALL_REDUCE, HK_BY_MESSAGES, 9, ANY, 4 * MIB, MORE, HK_RING},
    {HK_ALL_GATHER, HK_BY_MESSAGES, 9, ANY, 0, 64 * KIB, HK_TREE},
    {HK_ALL_GATHER, HK_BY_MESSAGES, 9, ANY, 4 * MIB, MORE, HK_RING},
    {HK_REDUCE_SCATTER, HK_BY_MESSAGES, 9, ANY, 4 * MIB, MORE, HK_RING},
    {HK_BROADCAST, HK_BY_MESSAGES, 2, 2, 0, MORE, HK_TREE},
    {HK_BROADCAST, HK_BY_MESSAGES, 3, 8, 0, 128 * KIB, HK_TREE},
    {HK_BROADCAST, HK_BY_MESSAGES, 9, ANY, 0, 512 * KIB, HK_TREE},
    {HK_REDUCE_TO, HK_BY_MESSAGES, 2, 8, 0, 32 * KIB, HK_FLAT},
    {HK_REDUCE_TO, HK_BY_MESSAGES, 9, ANY, 0, 4 * KIB, HK_TREE},
    {HK_GATHER, HK_BY_MESSAGES, 9, ANY, 0, 64 * KIB, HK_TREE},
    {HK_SCATTER, HK_BY_MESSAGES, 9, ANY, 0, 64 * KIB, HK_TREE},

    {HK_ALL_REDUCE, HK_BY_MEMORY, 2, 2, 0, 16 * KIB, HK_FLAT},
    {HK_ALL_REDUCE, HK_BY_MEMORY, 3, 4, 0, 4 * KIB, HK_FLAT},
    {HK_ALL_REDUCE, HK_BY_MEMORY, 5, 16, 0, KIB, HK_FLAT},
    {HK_ALL_REDUCE, HK_BY_MEMORY, 17, ANY, 0, 256, HK_FLAT},
    {HK_ALL_REDUCE, HK_BY_MEMORY, 2, 2, 512 * KIB, 4 * MIB, HK_LEARNED},
    {HK_ALL_GATHER, HK_BY_MEMORY, 2, 2, 0, 16 * KIB, HK_FLAT},
    {HK_ALL_GATHER, HK_BY_MEMORY, 3, ANY, 0, 8 * KIB, HK_FLAT},
    {HK_ALL_GATHER, HK_BY_MEMORY, 2, 2, 16 * KIB, 32 * MIB, HK_LEARNED},
    {HK_REDUCE_SCATTER, HK_BY_MEMORY, 2, 2, 0, 16 * KIB, HK_FLAT},
    {HK_REDUCE_SCATTER, HK_BY_MEMORY, 3, ANY, 0, 8 * KIB, HK_FLAT},
    {HK_REDUCE_SCATTER, HK_BY_MEMORY, 2, 2, 16 * KIB, 4 * MIB, HK_LEARNED},
    {HK_BROADCAST, HK_BY_MEMORY, 2, 2, 0, 16 * KIB, HK_FLAT},
    {HK_BROADCAST, HK_BY_MEMORY, 3, ANY, 0, 8 * KIB, HK_FLAT},
};

static bool fits(const hk_choice *row, hk_medium medium, hk_operation operation, int ranks,
                 size_t bytes, bool ordered)
{
    return row->operation == operation && row->medium == medium && row->ranks_from <= ranks &&
           ranks <= row->ranks_to && row->bytes_from <= bytes && bytes <= row->bytes_to &&
           !(ordered && row->algorithm == HK_RING);
}

hk_algorithm hk_choose(const hk_choices *own, hk_medium medium, hk_operation operation, int ranks,
                       size_t bytes, bool ordered)
{
    for (size_t i = 0; own != NULL && i < own->count; i++)
        if (fits(&own->rows[i], medium, operation, ranks, bytes, ordered))
            return own->rows[i].algorithm;
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (fits(&built_in[i], medium, operation, ranks, bytes, ordered))
            return built_in[i].algorithm;
    return medium == HK_BY_MEMORY ? HK_STAGED : medium == HK_BY_HOSTS ? HK_LANES : HK_DIRECT;
}

/* === Text ==================================================================================== */

#define LINE_MAX_BYTES 256

static const char *const algorithms[HK_ALGORITHMS] = {
    [HK_FLAT] = "flat",       [HK_TREE] = "tree",       [HK_DIRECT] = "direct",
    [HK_RING] = "ring",       [HK_STAGED] = "staged",   [HK_READ] = "read",
    [HK_LEARNED] = "learned", [HK_LEADERS] = "leaders", [HK_LANES] = "lanes",
};
static const char *const media[HK_MEDIA] = {
    [HK_BY_MESSAGES] = "messages",
    [HK_BY_MEMORY] = "memory",
    [HK_BY_HOSTS] = "hosts",
};

const char *hk_algorithm_name(hk_algorithm algorithm)
{
    return algorithms[algorithm];
}

static int find(const char *word, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return -1;
}

static int find_operation(const char *word)
{
    for (int i = 0; i < HK_OPERATIONS; i++)
        if (strcmp(word, hk_operation_name((hk_operation)i)) == 0)
            return i;
    return -1;
}

/* "16K" */
static bool read_size(const char **at, size_t *size)
{
    char *end;
    if (!isdigit((unsigned char)**at))
        return false;
    errno = 0;
    unsigned long long number = strtoull(*at, &end, 10);
    const char *unit = strchr("KMG", *end);
    int shift = *end == '\0' || unit == NULL ? 0 : 10 * (int)(strchr("KMG", *end) - "KMG" + 1);
    if (errno != 0 || number > SIZE_MAX >> shift)
        return false;
    *size = (size_t)number << shift;
    *at = end + (shift > 0);
    return true;
}

/* "2", "2-4", "9-" */
static bool read_range(const char *word, size_t limit, size_t *from, size_t *to)
{
    if (!read_size(&word, from))
        return false;
    *to = *from;
    if (*word == '-')
        *to = *++word == '\0' ? limit : 0;
    if (*word != '\0' && !read_size(&word, to))
        return false;
    return *word == '\0' && *from <= *to && *to <= limit;
}

/* Which ways there are by messages, in memory, and between hosts. */
static bool suits(hk_medium medium, hk_algorithm algorithm)
{
    switch (algorithm) {
    case HK_FLAT: return true;
    case HK_STAGED:
    case HK_READ:
    case HK_LEARNED: return medium == HK_BY_MEMORY;
    case HK_LEADERS:
    case HK_LANES: return medium == HK_BY_HOSTS;
    default: return medium == HK_BY_MESSAGES;
    }
}

static bool read_row(char *line, hk_choice *row)
{
    char *words[5], *rest = line;
    for (int i = 0; i < 5; i++)
        if ((words[i] = strtok_r(rest, " \t\r", &rest)) == NULL)
            return false;
    size_t ranks_from, ranks_to;
    int operation = find_operation(words[0]), medium = find(words[1], media, HK_MEDIA);
    int algorithm = find(words[4], algorithms, HK_ALGORITHMS);
    if (strtok_r(rest, " \t\r", &rest) != NULL || operation < 0 || medium < 0 || algorithm < 0 ||
        !suits((hk_medium)medium, (hk_algorithm)algorithm) ||
        !read_range(words[2], ANY, &ranks_from, &ranks_to) ||
        !read_range(words[3], MORE, &row->bytes_from, &row->bytes_to))
        return false;
    row->operation = (hk_operation)operation;
    row->medium = (hk_medium)medium;
    row->ranks_from = (int)ranks_from;
    row->ranks_to = (int)ranks_to;
    row->algorithm = (hk_algorithm)algorithm;
    return true;
}

static hocket_status read_line(const char *text, size_t length, int number, hk_choices *own)
{
    char line[LINE_MAX_BYTES];
    if (length >= sizeof line || memchr(text, '\0', length) != NULL)
        return hk_fail(HOCKET_ERR_INVALID,
                       "table of choices, line %d: longer than %d bytes, or no text", number,
                       LINE_MAX_BYTES - 1);
    memcpy(line, text, length);
    line[length] = '\0';
    line[strcspn(line, "#")] = '\0';
    if (line[strspn(line, " \t\r")] == '\0')
        return HOCKET_OK;
    if (own->count == HK_CHOICES_MAX)
        return hk_fail(HOCKET_ERR_INVALID, "table of choices, line %d: over %d rows", number,
                       HK_CHOICES_MAX);
    if (!read_row(line, &own->rows[own->count]))
        return hk_fail(HOCKET_ERR_INVALID,
                       "table of choices, line %d is not like \"all_reduce memory 2-4 0-16K "
                       "flat\" (memory has the ways flat, staged and read; messages flat, tree, "
                       "direct and ring; hosts flat, leaders and lanes)",
                       number);
    own->count++;
    return HOCKET_OK;
}

hocket_status hk_choices_parse(const char *text, size_t length, hk_choices *own)
{
    own->count = 0;
    hocket_status status = HOCKET_OK;
    for (int number = 1; length > 0 && status == HOCKET_OK; number++) {
        const char *end = memchr(text, '\n', length);
        size_t part = end != NULL ? (size_t)(end - text) : length;
        status = read_line(text, part, number, own);
        part += end != NULL;
        text += part;
        length -= part;
    }
    return status;
}

hocket_status hk_choices_load(const char *path, char **text, size_t *length)
{
    *text = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return hk_fail(HOCKET_ERR_SYSTEM, "the table of choices %s cannot be opened: %s", path,
                       strerror(errno));
    char *all = malloc(HK_CHOICES_TEXT_MAX + 1);
    size_t got = all != NULL ? fread(all, 1, HK_CHOICES_TEXT_MAX + 1, file) : 0;
    bool failed = ferror(file);
    fclose(file);
    if (all != NULL && !failed && got <= HK_CHOICES_TEXT_MAX) {
        *text = all;
        *length = got;
        return HOCKET_OK;
    }
    free(all);
    if (all == NULL)
        return hk_fail_memory(HK_CHOICES_TEXT_MAX, "a table of choices");
    return failed ? hk_fail(HOCKET_ERR_SYSTEM, "the table of choices %s cannot be read", path)
                  : hk_fail(HOCKET_ERR_INVALID, "the table of choices %s is over %u bytes", path,
                            HK_CHOICES_TEXT_MAX);
}
