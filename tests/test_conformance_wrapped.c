/* Transports with random delays, or a trace, around them, or on sockets that move only some bytes,
 * plain and sealed, through the conformance suite: what holds over a transport holds over a slow
 * one. `test_conformance_wrapped "fault(tcp)" short` tries one alone. */
#include "conformance.h"

#include <unistd.h>

#define DELAYS "seed=5,hold=0.2,delay_us=300,skip=0.2"
#define SHORT "seed=6,short=0.6"

static char trace[64];

static void *begin_fault(int size)
{
    (void)size;
    setenv("HOCKET_FAULT", DELAYS, 1);
    return NULL;
}

static void *begin_short(int size)
{
    (void)size;
    setenv("HOCKET_FAULT", SHORT, 1);
    return NULL;
}

static void *begin_sealed(int size)
{
    setenv("HOCKET_ENCRYPT", "1", 1);
    return begin_short(size);
}

static void *begin_trace(int size)
{
    (void)size;
    setenv("HOCKET_TRACE", trace, 1);
    return NULL;
}

static void end(void *arena)
{
    (void)arena;
    unsetenv("HOCKET_FAULT");
    unsetenv("HOCKET_TRACE");
    unsetenv("HOCKET_ENCRYPT");
    for (int rank = 0; rank < HARNESS_RANKS_MAX; rank++) {
        char name[96];
        snprintf(name, sizeof name, "%s.%d.json", trace, rank);
        unlink(name);
    }
}

static hocket_status open_over(const char *inner, struct member *me, hocket_group **world)
{
    hocket_config config = member_config(me);
    config.backend = inner;
    return hocket_init(&config, world);
}

static hocket_status over_local(struct member *me, hocket_group **world)
{
    return open_over("local", me, world);
}

static hocket_status over_tcp(struct member *me, hocket_group **world)
{
    return open_over("tcp", me, world);
}

static const struct harness_backend backends[] = {
    {.name = "fault(local)", .begin = begin_fault, .end = end, .open = over_local},
    {.name = "fault(tcp)", .begin = begin_fault, .end = end, .open = over_tcp},
    {.name = "fault(tcp)", .variant = "short", .begin = begin_short, .end = end, .open = over_tcp},
    {.name = "fault(tcp)",
     .variant = "sealed",
     .begin = begin_sealed,
     .end = end,
     .open = over_tcp},
    {.name = "trace(tcp)", .begin = begin_trace, .end = end, .open = over_tcp},
};

static const char *variant_of(const struct harness_backend *backend)
{
    return backend->variant != NULL ? backend->variant : "";
}

int main(int argc, char **argv)
{
    int failed = 0;
    snprintf(trace, sizeof trace, "/tmp/hocket-trace-%d", (int)getpid());
    for (size_t i = 0; i < LENGTH(backends); i++)
        if ((argc < 2 || strcmp(argv[1], backends[i].name) == 0) &&
            (argc < 3 || strcmp(argv[2], variant_of(&backends[i])) == 0))
            failed += conformance_run(&backends[i]);
    return failed > 0;
}
