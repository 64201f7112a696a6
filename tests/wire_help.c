#include "wire_help.h"

#include "wire/socket.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void wire_free_port(const char *host, char where[HK_COORDINATOR_MAX])
{
    hk_address addresses[HK_ADDRESSES_MAX], bound;
    int count, fd = -1;
    snprintf(where, HK_COORDINATOR_MAX, "%s:0", host);
    if (hk_address_resolve(where, addresses, &count) != HOCKET_OK ||
        hk_socket_listen(&addresses[0], 0, 0, &fd, &bound) != HOCKET_OK) {
        fprintf(stderr, "no free port on %s: %s\n", host, hocket_last_error());
        exit(1);
    }
    hk_socket_close(fd);
    snprintf(where, HK_COORDINATOR_MAX, "%s:%d", host, hk_address_port(&bound));
}

void wire_settings(hk_settings *settings, int rank, int world_size, const char *where,
                   const char *secret)
{
    memset(settings, 0, sizeof *settings);
    settings->configured = true;
    settings->rank = rank;
    settings->world_size = world_size;
    snprintf(settings->coordinator, sizeof settings->coordinator, "%s", where);
    if (secret == NULL)
        return;
    settings->secret_length = strlen(secret);
    memcpy(settings->secret, secret, settings->secret_length);
}

void wire_make_ranks(wire_rank *ranks, int count, const char *where, const char *secret,
                     double seconds, void *context)
{
    memset(ranks, 0, (size_t)count * sizeof *ranks);
    for (int i = 0; i < count; i++) {
        ranks[i].index = i;
        ranks[i].context = context;
        ranks[i].deadline = hk_deadline_after(seconds);
        wire_settings(&ranks[i].settings, i, count, where, secret);
    }
}

typedef struct task {
    wire_rank *rank;
    wire_body body;
} task;

static void *run_one(void *argument)
{
    task *one = argument;
    hk_time start = hk_now();
    one->rank->status = one->body(one->rank);
    one->rank->error = *hk_error_last();
    one->rank->seconds = hk_to_seconds(hk_now() - start);
    return NULL;
}

void wire_run(wire_rank *ranks, int count, wire_body body)
{
    pthread_t threads[WIRE_RANKS_MAX];
    task tasks[WIRE_RANKS_MAX];
    for (int i = 0; i < count; i++) {
        tasks[i] = (task){.rank = &ranks[i], .body = body};
        if (pthread_create(&threads[i], NULL, run_one, &tasks[i]) != 0)
            abort();
    }
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

int wire_stranger(const char *where)
{
    hk_address addresses[HK_ADDRESSES_MAX];
    int count, fd = -1;
    if (hk_address_resolve(where, addresses, &count) == HOCKET_OK)
        hk_socket_connect(&addresses[0], 0, hk_deadline_after(1), &fd);
    return fd;
}
