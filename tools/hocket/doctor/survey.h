/* hocket doctor --hosts: what each host says of itself, and how each pair of them gets on. survey.c
 * asks, survey_print.c judges and shows. */
#ifndef HK_TOOL_SURVEY_H
#define HK_TOOL_SURVEY_H

#include "run/launch.h"
#include "run/protocol.h"
#include "run/remote.h"

#define HK_SURVEY_HOSTS_MAX 16 /* pairs are tried one after another, each for a second */
#define HK_SURVEY_WHY 512

typedef struct hk_survey_host {
    hk_link link;
    hk_buffer words;         /* of its ssh */
    char why[HK_SURVEY_WHY]; /* why it is of no use; "" while it is */
    char version[64];
    hk_seen seen;
    int looks;      /* answers; seen, ahead_s and unsure_s are of the quickest */
    double asked_s; /* when it was, by our clock */
    double ahead_s, unsure_s;
    char address[HK_HOST_NAME_MAX + 8]; /* where ranks of the others reach it */
    bool dials;
    hk_dialed dialed; /* the last one, once it dials no more */
} hk_survey_host;

typedef struct hk_pair {
    bool tried;
    hk_dialed dialed;
    char address[HK_HOST_NAME_MAX + 8]; /* that was dialed */
} hk_pair;

typedef struct hk_survey {
    const hk_launch *launch;
    hk_survey_host *hosts;
    int count;
    hk_pair *pairs; /* from * count + to */
    char token[HK_SECRET_TEXT];
    bool terminal; /* somebody may be watching */
    int64_t next_ping_ms;
} hk_survey;

/* The exit status. */
int hk_survey_run(const hk_launch *launch);

/* How a pair compares with the others: whether much less goes through, or much later. *others: what
 * is usual. */
bool hk_survey_is_slow(const hk_survey *survey, int from, int to, double *others);
bool hk_survey_is_late(const hk_survey *survey, int from, int to, double *others);

/* Prints all of it; returns how many sentences say that something is wrong. */
int hk_survey_print(const hk_survey *survey);

#endif
