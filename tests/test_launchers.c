#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "core/launcher.h"
#include "core/nodelist.h"
#include "core/settings.h"
#include "wire/address.h"
#include "wire_help.h"

#include <sys/socket.h>

/* What other launchers set, and what may be left over from the one that runs this test. */
static const char *const variables[] = {
    "HOCKET_RANK",
    "HOCKET_WORLD_SIZE",
    "HOCKET_COORDINATOR",
    "HOCKET_HOSTFILE",
    "HOCKET_SECRET",
    "HOCKET_SECRET_FILE",
    "MLX_RANK",
    "JACCL_RANK",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "OMPI_MCA_ess",
    "OMPI_MCA_ess_base_jobid",
    "OMPI_MCA_orte_precondition_transports",
    "PMIX_NAMESPACE",
    "PMIX_RANK",
    "PMI_RANK",
    "PMI_SIZE",
    "PMI_FD",
    "PMI_JOBID",
    "PMI_PORT",
    "MPI_LOCALNRANKS",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_JOBID",
    "SLURM_STEPID",
    "SLURM_STEP_NODELIST",
    "SLURM_NODELIST",
    "SLURM_JOB_NODELIST",
};

static hk_settings settings;

static int clear(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    return 0;
}

/* "NAME=value NAME=value" */
static void set(const char *text)
{
    char copy[512], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *one = strtok_r(copy, " ", &rest); one != NULL; one = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(one, '=');
        assert_non_null(equals);
        *equals = '\0';
        assert_int_equal(setenv(one, equals + 1, 1), 0);
    }
}

static const char *coordinator(const char *environment)
{
    set(environment);
    if (hk_settings_read(NULL, &settings) != HOCKET_OK)
        fail_msg("%s: %s", environment, hocket_last_error());
    return settings.coordinator;
}

/* All ports are of the range for derived ones. */
static void expect_derived(const char *host)
{
    char one[HK_COORDINATOR_MAX];
    hk_host_port name;
    assert_true(settings.job != 0);
    for (int i = 0; i < HK_PORT_CHOICES; i++) {
        assert_true(hk_address_choice(settings.coordinator, i, one, sizeof one));
        assert_int_equal(hk_address_parse(one, &name), HOCKET_OK);
        assert_string_equal(name.host, host);
        assert_in_range(name.port, HK_PORT_FIRST, HK_PORT_FIRST + HK_PORT_COUNT - 1);
    }
    assert_false(hk_address_choice(settings.coordinator, HK_PORT_CHOICES, one, sizeof one));
}

/* The environment of a second rank gives the same, one with `other` added another job. */
static void expect_job(const char *host, const char *environment, const char *rank,
                       const char *other)
{
    char first[HK_COORDINATOR_MAX];
    clear(NULL);
    snprintf(first, sizeof first, "%s", coordinator(environment));
    expect_derived(host);
    uint64_t job = settings.job;
    assert_string_equal(coordinator(rank), first);
    assert_true(settings.job == job && settings.rank == 1);
    assert_string_not_equal(coordinator(other), first);
    assert_true(settings.job != job);
    expect_derived(host);
    assert_string_equal(coordinator("HOCKET_COORDINATOR=a:1"), "a:1");
    assert_true(settings.job == 0);
}

static void ports_come_from_the_job(void **state)
{
    (void)state;
    expect_job("127.0.0.1",
               "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_SIZE=2 "
               "PMIX_NAMESPACE=4711",
               "OMPI_COMM_WORLD_RANK=1", "PMIX_NAMESPACE=4712");
    expect_job("127.0.0.1", "PMI_RANK=0 PMI_SIZE=2 MPI_LOCALNRANKS=2 PMI_JOBID=4.0", "PMI_RANK=1",
               "PMI_JOBID=4.1");
    expect_job("127.0.0.1",
               "RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=far MASTER_PORT=29500", "RANK=1",
               "MASTER_PORT=29501");
    expect_job("node1",
               "RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=1 MASTER_ADDR=node1 MASTER_PORT=29500",
               "RANK=1", "TORCHELASTIC_RESTART_COUNT=1");
    expect_job("fe80::1", "RANK=0 WORLD_SIZE=2 MASTER_ADDR=fe80::1 MASTER_PORT=29500", "RANK=1",
               "TORCHELASTIC_RUN_ID=b");
    expect_job("n001", "SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_ID=7 SLURM_NODELIST=n[001-002]",
               "SLURM_PROCID=1", "SLURM_STEP_ID=3");
    expect_job("127.0.0.1", "SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_ID=7 SLURM_NODELIST=n1",
               "SLURM_PROCID=1", "SLURM_JOB_ID=8");
}

/* Hydra names no job, but the socket to its proxy was made by the proxy. */
static void hydras_job_is_its_proxy(void **state)
{
    (void)state;
    int ends[2];
    char number[32], first[HK_COORDINATOR_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    snprintf(number, sizeof number, "PMI_FD=%d", ends[1]);
    set(number);
    snprintf(first, sizeof first, "%s", coordinator("PMI_RANK=0 PMI_SIZE=2 MPI_LOCALNRANKS=2"));
    expect_derived("127.0.0.1");
    assert_string_not_equal(coordinator("PMI_FD=-1"), first); /* the parent's id, then */
    expect_derived("127.0.0.1");
    assert_string_equal(coordinator("MPI_LOCALNRANKS=1"), ""); /* two hosts, two proxies */
    close(ends[0]);
    close(ends[1]);
}

static void what_cannot_be_worked_out_is_asked_for(void **state)
{
    (void)state;
    assert_string_equal(coordinator("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=4 "
                                    "OMPI_COMM_WORLD_LOCAL_SIZE=2 PMIX_NAMESPACE=1"),
                        "");
    assert_int_equal(hk_settings_need_coordinator(&settings), HOCKET_ERR_INVALID);
    assert_non_null(strstr(hocket_last_error(), "mpirun -x HOCKET_COORDINATOR=host:port"));
    clear(state);
    set("PMIX_RANK=1 PMIX_NAMESPACE=1"); /* a world, but how large? */
    assert_int_equal(hk_settings_read(NULL, &settings), HOCKET_ERR_INVALID);
    assert_non_null(strstr(hocket_last_error(), "PMIX_RANK"));
    assert_non_null(strstr(hocket_last_error(), "HOCKET_WORLD_SIZE"));
    set("PMIX_RANK=0 OMPI_MCA_ess=singleton"); /* MPI_Init in a program that nobody launched */
    assert_int_equal(hk_settings_read(NULL, &settings), HOCKET_OK);
    assert_false(settings.configured);
    clear(state);
    set("SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_ID=7 SLURM_NODELIST=n[1-");
    assert_int_equal(hk_settings_read(NULL, &settings), HOCKET_ERR_INVALID);
    assert_non_null(strstr(hocket_last_error(), "SLURM_NODELIST is \"n[1-\""));
}

static hk_store_kind store(const char *environment)
{
    coordinator(environment);
    return settings.store;
}

/* Where a coordinator is given, or all are on one host, or there is none. */
static void a_store_is_asked_where_nothing_else_tells(void **state)
{
    assert_int_equal(store("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=4 PMIX_RANK=0 "
                           "OMPI_COMM_WORLD_LOCAL_SIZE=2 PMIX_NAMESPACE=1"),
                     HK_STORE_PMIX);
    assert_int_equal(hk_settings_need_coordinator(&settings), HOCKET_OK);
    assert_int_equal(store("HOCKET_COORDINATOR=a:1"), HK_STORE_NONE);
    assert_int_equal(store("HOCKET_COORDINATOR= OMPI_COMM_WORLD_LOCAL_SIZE=4"), HK_STORE_NONE);
    assert_int_equal(store("OMPI_COMM_WORLD_LOCAL_SIZE=2 HOCKET_RANK=1"), HK_STORE_NONE);
    assert_int_equal(store("HOCKET_RANK= HOCKET_WORLD_SIZE=2"), HK_STORE_NONE);
    clear(state);
    assert_int_equal(store("PMI_RANK=0 PMI_SIZE=2 MPI_LOCALNRANKS=1 PMI_FD=7"), HK_STORE_PMI);
    assert_int_equal(store("PMI_FD="), HK_STORE_NONE);
    clear(state);
    assert_int_equal(store("SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_ID=7 SLURM_NODELIST=n[1-2] "
                           "PMIX_NAMESPACE=1 PMIX_RANK=0"),
                     HK_STORE_PMIX);
    assert_true(settings.job !=
                0); /* a coordinator was derived, which goes where the store fails */
    assert_int_equal(store("SLURM_NODELIST=n1"), HK_STORE_NONE);
}

static void lists_of_nodes_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *list, *first;
        bool several;
    } good[] = {
        {"node1", "node1", false},
        {"node[1-3,7],other", "node1", true},
        {"node[007]", "node007", false},
        {"node[5-5]", "node5", false},
        {"n[001-010]", "n001", true},
        {"a,b", "a", true},
        {"rack[1-2]node[3,9].lan", "rack1node3.lan", true},
        {"rack[4]node[3,9]", "rack4node3", true},
        {"tux,", "tux", false},
    };
    static const char *const bad[] = {"",      ",a",   "n[",       "n[]",    "n[1",
                                      "n[1-]", "n[a]", "n[1,,2]",  "n[1-2",  "n]1[",
                                      "a b",   "n:1",  "n[1-2]x[", "n[1;2]", "n[12345678901]"};
    char host[32];
    bool several;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!hk_nodelist_first(good[i].list, host, sizeof host, &several))
            fail_msg("%s is refused", good[i].list);
        assert_string_equal(host, good[i].first);
        assert_int_equal(several, good[i].several);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (hk_nodelist_first(bad[i], host, sizeof host, &several))
            fail_msg("%s is taken, as %s", bad[i], host);
    assert_true(hk_nodelist_first("abc[12]", host, 6, &several));
    assert_false(hk_nodelist_first("abc[12]", host, 5, &several));
}

/* === Jobs beside each other =================================================================== */

static hocket_status meet(wire_rank *rank)
{
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    if (status != HOCKET_OK)
        return status;
    ((uint64_t *)rank->context)[rank->index] = hk_meeting_job(meeting);
    status = hk_meeting_barrier(meeting);
    hk_meeting_close(meeting);
    return status;
}

/* Two jobs have come upon the same ports. Whoever is late takes the next. */
static void expect_apart(const char *secret)
{
    char first[HK_COORDINATOR_MAX], second[HK_COORDINATOR_MAX], where[2 * HK_COORDINATOR_MAX];
    wire_rank ranks[6];
    uint64_t met[6] = {0};
    wire_free_port("127.0.0.1", first);
    wire_free_port("127.0.0.1", second);
    snprintf(where, sizeof where, "%s,%s", first, strrchr(second, ':') + 1);
    wire_make_ranks(ranks, 6, where, secret, WIRE_SECONDS, met);
    for (int i = 0; i < 6; i++) {
        ranks[i].settings.rank = i / 2;
        ranks[i].settings.world_size = 3;
        ranks[i].settings.job = 7 + (uint64_t)i % 2;
    }
    wire_run(ranks, 6, meet);
    for (int i = 0; i < 6; i++) {
        if (ranks[i].status != HOCKET_OK)
            fail_msg("rank %d of job %d: %s", i / 2, i % 2, ranks[i].error.text);
        assert_true(met[i] == met[i % 2]);
    }
    assert_true(met[0] != met[1]);
}

static void jobs_with_the_same_ports_do_not_meet(void **state)
{
    (void)state;
    expect_apart(NULL);
    expect_apart(WIRE_SECRET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ports_come_from_the_job, clear),
        cmocka_unit_test_setup(hydras_job_is_its_proxy, clear),
        cmocka_unit_test_setup(what_cannot_be_worked_out_is_asked_for, clear),
        cmocka_unit_test_setup(a_store_is_asked_where_nothing_else_tells, clear),
        cmocka_unit_test_setup(lists_of_nodes_are_read, clear),
        cmocka_unit_test(jobs_with_the_same_ports_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
