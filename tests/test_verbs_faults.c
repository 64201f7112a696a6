/* What goes wrong with RDMA, as ranks see it: over the devices of tests/verbs, which break when
 * they are told to. The ranks are processes, each on a device of its own. */
#include "harness.h"
#include "verbs_help.h"

#include <signal.h>

#define VICTIM 2
#define RANKS_OF_ALL 3
#define NOTICE_SECONDS 10.0 /* a device that is silent is given up after its retries */

static const char *settings, *kind;

static void *begin(int size)
{
    verbs_begin(settings);
    verbs_own_devices(size);
    if (strstr(settings, "apple") != NULL)
        setenv("HOCKET_VERBS_PROFILE", "apple", 1);
    if (kind != NULL)
        setenv("HOCKET_VERBS_KIND", kind, 1);
    return NULL;
}

static void end(void *arena)
{
    (void)arena;
    unsetenv("HOCKET_VERBS_PROFILE");
    verbs_end();
}

static void *begin_without_library(int size)
{
    begin(size);
    setenv("HOCKET_VERBS_LIBRARY", "/nowhere/libibverbs.so.1", 1);
    return NULL;
}

static hocket_status open_world(struct member *me, hocket_group **world)
{
    hocket_config config = member_config(me);
    return hocket_init(&config, world);
}

static const struct harness_backend over_verbs = {.name = "jaccl",
                                                  .begin = begin,
                                                  .end = end,
                                                  .open = open_world};
static const struct harness_backend without_library = {.name = "jaccl",
                                                       .begin = begin_without_library,
                                                       .end = end,
                                                       .open = open_world};

static void run(const struct harness_backend *backend, int size, const char *with, const char *of,
                member_body body, void *context)
{
    settings = with;
    kind = of;
    harness_run(&(struct harness_run){.backend = backend,
                                      .size = size,
                                      .body = body,
                                      .context = context,
                                      .processes = true,
                                      .without_world = context != NULL});
}

/* === hocket_init ============================================================================== */

struct refusal {
    hocket_status status;
    const char *parts[6]; /* of the sentence */
};

static void is_refused(struct member *me)
{
    const struct refusal *refusal = me->context;
    CHECK_STATUS(refusal->status, open_world(me, &me->world));
    if (me->rank > 0 && strstr(hocket_last_error(), "rank 0 has no backend") != NULL)
        return; /* who is told of another's before it looks itself */
    for (size_t i = 0; i < LENGTH(refusal->parts) && refusal->parts[i] != NULL; i++)
        CHECK_HAS(hocket_last_error(), refusal->parts[i]);
}

static void init_says_what_is_missing(void **state)
{
    (void)state;
    struct refusal no_library = {HOCKET_ERR_UNAVAILABLE,
                                 {"/nowhere/libibverbs.so.1 does not load"}};
    struct refusal no_device = {HOCKET_ERR_UNAVAILABLE, {"has no RDMA device"}};
    struct refusal full = {HOCKET_ERR_SYSTEM, {"device fake", "memory", "errno 16", "no region"}};
    run(&without_library, 2, "", NULL, is_refused, &no_library);
    run(&over_verbs, 2, "only=none", NULL, is_refused, &no_device);
    run(&over_verbs, 2, "apple,full=100", NULL, is_refused, &full);
}

/* === What happens later ======================================================================= */

static hocket_status add_up(struct member *me, int times)
{
    enum { COUNT = 3000 };
    float data[COUNT];
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < times && status == HOCKET_OK; i++) {
        for (int k = 0; k < COUNT; k++)
            data[k] = (float)(me->rank + k % 7);
        status = hocket_all_sum(me->world, data, COUNT);
        for (int k = 0; k < COUNT && status == HOCKET_OK; k++)
            CHECK_INT(me->size * (me->size - 1) / 2 + me->size * (k % 7), data[k]);
    }
    return status;
}

enum fate { DIES, SAYS_SO, SAYS_NOTHING };

static void loses_one(struct member *me)
{
    const enum fate *fate = me->context;
    if (*fate == DIES && me->rank == VICTIM)
        me->ends_by = SIGKILL;
    CHECK_OK(open_world(me, &me->world));
    double began = seconds_now();
    hocket_status status = add_up(me, 1000000);
    CHECK(seconds_now() - began < NOTICE_SECONDS * harness_slowness());
    if (me->rank != VICTIM) {
        CHECK_STATUS(HOCKET_ERR_PEER_LOST, status);
        CHECK_INT(VICTIM, hocket_last_error_rank());
    } else if (*fate == SAYS_SO) {
        CHECK_STATUS(HOCKET_ERR_SYSTEM, status);
        CHECK_HAS(hocket_last_error(), "device fake2");
    } else {
        CHECK(status == HOCKET_ERR_PEER_LOST || status == HOCKET_ERR_SYSTEM);
    }
}

static void a_fate(const char *with, enum fate fate)
{
    run(&over_verbs, RANKS_OF_ALL, with, "rc", loses_one, &fate);
    run(&over_verbs, RANKS_OF_ALL, with, "uc", loses_one, &fate);
}

static void a_rank_that_dies_is_lost(void **state)
{
    (void)state;
    a_fate("kill=fake2:101", DIES);
    a_fate("kill=fake2:502,delay_us=200", DIES);
}

static void a_cable_that_is_pulled_ends_its_rank(void **state)
{
    (void)state;
    a_fate("unplug=fake2:101", SAYS_SO);
    a_fate("unplug=fake2:502,delay_us=200", SAYS_SO);
}

/* The victim only waits, so no completion tells it. */
static void waits_with_its_cable_pulled(struct member *me)
{
    char byte, path[96];
    CHECK_OK(open_world(me, &me->world));
    CHECK_OK(hocket_barrier(me->world));
    member_wait_for_all(me);
    if (me->rank != VICTIM) {
        CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_recv_into(me->world, VICTIM, 1, &byte, 1, NULL));
        CHECK_INT(VICTIM, hocket_last_error_rank());
        return;
    }
    sleep_seconds(0.2); /* all wait */
    snprintf(path, sizeof path, "%s/fake%d.unplug", verbs_folder(), VICTIM);
    fclose(fopen(path, "w"));
    double began = seconds_now();
    CHECK_STATUS(HOCKET_ERR_SYSTEM, hocket_recv_into(me->world, 0, 1, &byte, 1, NULL));
    CHECK_HAS(hocket_last_error(), "device fake2, port 1");
    CHECK(seconds_now() - began < NOTICE_SECONDS * harness_slowness());
}

static void a_cable_that_is_pulled_ends_a_wait(void **state)
{
    (void)state;
    run(&over_verbs, RANKS_OF_ALL, "", "rc", waits_with_its_cable_pulled, &(int){0});
    run(&over_verbs, RANKS_OF_ALL, "", "uc", waits_with_its_cable_pulled, &(int){0});
}

static void a_device_that_falls_silent_is_given_up(void **state)
{
    (void)state;
    a_fate("silent=fake2:101", SAYS_NOTHING);
    a_fate("silent=fake2:502", SAYS_NOTHING);
}

/* === Losses =================================================================================== */

static void adds_up(struct member *me)
{
    CHECK_OK(add_up(me, 100));
}

static void apples_devices_mend_what_is_lost(void **state)
{
    (void)state;
    run(&over_verbs, 3, "apple,loss=10,seed=4", NULL, adds_up, NULL);
    run(&over_verbs, 4, "apple,loss=3,seed=5,delay_us=300", NULL, adds_up, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_says_what_is_missing),
        cmocka_unit_test(a_rank_that_dies_is_lost),
        cmocka_unit_test(a_cable_that_is_pulled_ends_its_rank),
        cmocka_unit_test(a_cable_that_is_pulled_ends_a_wait),
        cmocka_unit_test(a_device_that_falls_silent_is_given_up),
        cmocka_unit_test(apples_devices_mend_what_is_lost),
    };
    harness_clear_environment();
    return cmocka_run_group_tests_name("verbs_faults", tests, NULL, NULL);
}
