/* What a survey has found: a line for each host, a table of the pairs, a sentence for each fault.
 */
#include "doctor/survey.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_FACTOR 4    /* less than a quarter of what the others have */
#define SLOW_BELOW 5e8   /* bytes/s; above it, chance decides over a short transfer */
#define LATE_FACTOR 10   /* more than ten times the others' round trip */
#define LATE_ABOVE 0.002 /* seconds; below it, who was scheduled when decides */
#define CLOCK_MOST 1.0   /* seconds between clocks; the journals of the hosts tell no order then */
#define NAME_WIDTH 20

static const char *name_of(const hk_survey *survey, int index)
{
    return survey->launch->hosts.items[index].name;
}

static const hk_pair *pair_of(const hk_survey *survey, int from, int to)
{
    return &survey->pairs[from * survey->count + to];
}

/* === Compared with the others ================================================================= */

static double rate(const hk_dialed *dialed)
{
    return dialed->bytes_per_s;
}

static double round_trip(const hk_dialed *dialed)
{
    return dialed->round_trip_s;
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* The median of all pairs but this one; negative when there is no other. */
static double median_of_others(const hk_survey *survey, int from, int to,
                               double (*value)(const hk_dialed *dialed))
{
    double values[HK_SURVEY_HOSTS_MAX * HK_SURVEY_HOSTS_MAX];
    const hk_pair *own = pair_of(survey, from, to);
    int count = 0;
    for (int i = 0; i < survey->count * survey->count; i++) {
        const hk_pair *pair = &survey->pairs[i];
        if (pair != own && pair->tried && pair->dialed.open)
            values[count++] = value(&pair->dialed);
    }
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count > 0 ? values[count / 2] : -1;
}

bool hk_survey_is_slow(const hk_survey *survey, int from, int to, double *others)
{
    const hk_pair *pair = pair_of(survey, from, to);
    if (!pair->tried || !pair->dialed.open)
        return false;
    *others = median_of_others(survey, from, to, rate);
    return pair->dialed.bytes_per_s < SLOW_BELOW &&
           pair->dialed.bytes_per_s * SLOW_FACTOR < *others;
}

bool hk_survey_is_late(const hk_survey *survey, int from, int to, double *others)
{
    const hk_pair *pair = pair_of(survey, from, to);
    if (!pair->tried || !pair->dialed.open)
        return false;
    *others = median_of_others(survey, from, to, round_trip);
    return *others >= 0 && pair->dialed.round_trip_s > LATE_ABOVE &&
           pair->dialed.round_trip_s > *others * LATE_FACTOR;
}

/* === The tables =============================================================================== */

static int name_width(const hk_survey *survey)
{
    size_t width = 4;
    for (int i = 0; i < survey->count; i++) {
        size_t length = strlen(name_of(survey, i));
        width = length > width ? length : width;
    }
    return width > NAME_WIDTH ? NAME_WIDTH : (int)width;
}

/* Three digits, or all that are before the point. */
static void number(double value, char text[24])
{
    snprintf(text, 24, "%.*f", value < 0.995 ? 3 : value < 9.95 ? 2 : value < 99.5 ? 1 : 0, value);
}

static void print_hosts(const hk_survey *survey, int width)
{
    printf("%-*s  %-8s %5s  %10s  %-22s %s\n", width, "host", "hocket", "cores", "memory", "clock",
           "address");
    for (int i = 0; i < survey->count; i++) {
        const hk_survey_host *host = &survey->hosts[i];
        char memory[32] = "unknown", clock[64];
        if (host->looks == 0) {
            printf("%-*.*s  of no use, see below\n", width, width, name_of(survey, i));
            continue;
        }
        if (host->seen.memory_bytes > 0)
            snprintf(memory, sizeof memory, "%.1f GiB",
                     (double)host->seen.memory_bytes / (1 << 30));
        snprintf(clock, sizeof clock, "%+.4f s +- %.4f", host->ahead_s, host->unsure_s);
        printf("%-*.*s  %-8s %5d  %10s  %-22s %s\n", width, width, name_of(survey, i),
               host->version, host->seen.cores, memory, clock, host->address);
    }
}

static void print_pairs(const hk_survey *survey, int width)
{
    int cell = width < 13 ? 13 : width;
    printf("\nround trip in ms / MB/s, from the host of the row to that of the column\n%-*s", width,
           "");
    for (int to = 0; to < survey->count; to++)
        printf("  %*.*s", cell, width, name_of(survey, to));
    for (int from = 0; from < survey->count; from++) {
        printf("\n%-*.*s", width, width, name_of(survey, from));
        for (int to = 0; to < survey->count; to++) {
            const hk_pair *pair = pair_of(survey, from, to);
            char trip[24], speed[24], text[64];
            number(pair->dialed.round_trip_s * 1e3, trip);
            number(pair->dialed.bytes_per_s / 1e6, speed);
            snprintf(text, sizeof text, "%s / %s", trip, speed);
            printf("  %*s", cell,
                   from == to           ? "-"
                   : !pair->tried       ? "not tried"
                   : !pair->dialed.open ? "blocked"
                                        : text);
        }
    }
    printf("\n");
}

/* === Sentences ================================================================================ */

static int print_host_faults(const hk_survey *survey)
{
    int faults = 0;
    for (int i = 0; i < survey->count; i++) {
        const hk_survey_host *host = &survey->hosts[i];
        if (*host->why && ++faults)
            printf("%s: %s.\n", name_of(survey, i), host->why);
        if (host->looks > 0 && fabs(host->ahead_s) - host->unsure_s > CLOCK_MOST && ++faults)
            printf("The clock of %s is %.1f s %s ours, give or take %.3f s.\n", name_of(survey, i),
                   fabs(host->ahead_s), host->ahead_s > 0 ? "ahead of" : "behind", host->unsure_s);
    }
    return faults;
}

static int print_pair_faults(const hk_survey *survey, int from, int to)
{
    const hk_pair *pair = pair_of(survey, from, to);
    const char *near = name_of(survey, from), *far = name_of(survey, to);
    char own[24], usual[24];
    double others;
    int faults = 0;
    if (pair->tried && !pair->dialed.open) {
        faults++;
        printf("%s cannot reach %s at %s: %s.\n", near, far, pair->address, pair->dialed.text);
    }
    if (hk_survey_is_slow(survey, from, to, &others)) {
        faults++;
        number(pair->dialed.bytes_per_s / 1e6, own);
        number(others / 1e6, usual);
        printf("%s to %s is slow: %s MB/s where the others have %s.\n", near, far, own, usual);
    }
    if (hk_survey_is_late(survey, from, to, &others)) {
        faults++;
        number(pair->dialed.round_trip_s * 1e3, own);
        number(others * 1e3, usual);
        printf("%s to %s answers late: after %s ms where the others take %s.\n", near, far, own,
               usual);
    }
    return faults;
}

int hk_survey_print(const hk_survey *survey)
{
    int faults, width = name_width(survey);
    print_hosts(survey, width);
    if (survey->count > 1)
        print_pairs(survey, width);
    printf("\n");
    faults = print_host_faults(survey);
    for (int from = 0; from < survey->count; from++) {
        for (int to = 0; to < survey->count; to++)
            faults += print_pair_faults(survey, from, to);
    }
    if (faults == 0)
        printf("All is well.\n");
    return faults;
}
