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
#include <fcntl.h>
#include <math.h>
#include "core/settings.h"

#define SECRET "sixteen letters!"
#define PATH_SIZE 64

/* Whatever hk_settings_read looks at. */
static const char *const variables[] = {
    "HOCKET_RANK",     "HOCKET_WORLD_SIZE", "HOCKET_COORDINATOR",    "HOCKET_BACKEND",
    "HOCKET_HOSTFILE", "HOCKET_SECRET",     "HOCKET_SECRET_FILE",    "HOCKET_TIMEOUT",
    "HOCKET_INSECURE", "MLX_RANK",          "MLX_HOSTFILE",          "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",        "PMI_SIZE",          "OMPI_COMM_WORLD_SIZE",  "RANK",
    "WORLD_SIZE",      "MASTER_ADDR",       "MASTER_PORT",           "SLURM_PROCID",
    "SLURM_NTASKS",    "HOCKET_FAULT",      "HOCKET_TRACE",          "HOCKET_HOST",
    "MLX_WORLD_SIZE",  "MLX_IBV_DEVICES",   "JACCL_IBV_DEVICES",     "JACCL_RANK",
    "NCCL_HOST_IP",    "NCCL_PORT",         "MLX_JACCL_COORDINATOR",
};

static int clear(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
    return 0;
}

static hk_settings settings;

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static void expect_ok(const hocket_config *config)
{
    if (hk_settings_read(config, &settings) != HOCKET_OK)
        fail_msg("%s", hocket_last_error());
}

static void expect_invalid(const hocket_config *config, const char *words)
{
    hocket_status status = hk_settings_read(config, &settings);
    if (status != HOCKET_ERR_INVALID || strstr(hocket_last_error(), words) == NULL)
        fail_msg("got %s, \"%s\"; expected \"%s\"", hocket_status_name(status),
                 status == HOCKET_OK ? "" : hocket_last_error(), words);
}

static void expect_world(int rank, int world_size, const char *coordinator)
{
    assert_true(settings.configured);
    assert_int_equal(settings.rank, rank);
    assert_int_equal(settings.world_size, world_size);
    assert_string_equal(settings.coordinator, coordinator);
}

/* A file with this text; path gets its name. */
static void make_file(char path[PATH_SIZE], const char *text)
{
    static int number;
    snprintf(path, PATH_SIZE, "/tmp/hocket-settings-%d-%d", (int)getpid(), number++);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void nothing_gives_a_group_of_one(void **state)
{
    (void)state;
    expect_ok(NULL);
    assert_false(settings.configured);
    assert_int_equal(settings.rank, 0);
    assert_int_equal(settings.world_size, 1);
    assert_string_equal(settings.backend, "any");
    assert_true(settings.timeout_s == 300 && settings.init_timeout_s == 60);
    assert_int_equal(settings.secret_length, 0);
    assert_false(settings.strict || settings.insecure);
    set("HOCKET_RANK", ""); /* empty is as good as unset */
    set("RANK", "1");       /* anybody's */
    expect_ok(NULL);
    assert_false(settings.configured);
}

static void hocket_variables_make_a_world(void **state)
{
    (void)state;
    set("HOCKET_RANK", "2");
    set("HOCKET_WORLD_SIZE", "4");
    set("HOCKET_COORDINATOR", "[::1]:4711");
    set("HOCKET_BACKEND", "tcp");
    set("HOCKET_TIMEOUT", "2.5");
    set("HOCKET_INSECURE", "1");
    expect_ok(NULL);
    expect_world(2, 4, "[::1]:4711");
    assert_string_equal(settings.backend, "tcp");
    assert_true(settings.timeout_s == 2.5);
    assert_true(settings.insecure);
    assert_null(settings.launcher);
    set("HOCKET_TIMEOUT", "inf");
    expect_ok(NULL);
    assert_true(isinf(settings.timeout_s));
}

static void config_wins_over_variables(void **state)
{
    (void)state;
    set("HOCKET_RANK", "2");
    set("HOCKET_WORLD_SIZE", "4");
    set("HOCKET_COORDINATOR", "a:1");
    set("HOCKET_BACKEND", "tcp");
    set("HOCKET_TIMEOUT", "7");
    set("HOCKET_SECRET", "the environment's");
    hocket_config config = {.size = sizeof config,
                            .backend = "local",
                            .strict = true,
                            .rank = 1,
                            .world_size = 3,
                            .coordinator = "b:2",
                            .timeout_s = 5,
                            .init_timeout_s = INFINITY,
                            .secret = SECRET};
    expect_ok(&config);
    expect_world(1, 3, "b:2");
    assert_string_equal(settings.backend, "local");
    assert_true(settings.strict);
    assert_true(settings.timeout_s == 5 && isinf(settings.init_timeout_s));
    assert_memory_equal(settings.secret, SECRET, sizeof SECRET - 1);
    config.world_size = 0; /* variable by variable */
    config.coordinator = NULL;
    config.timeout_s = 0;
    expect_ok(&config);
    expect_world(2, 4, "a:1");
    assert_true(settings.timeout_s == 7);
}

static void other_launchers_are_known(void **state)
{
    static const struct {
        const char *name, *rank, *size;
    } others[] = {
        {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
        {"MPICH", "PMI_RANK", "PMI_SIZE"},
        {"torchrun", "RANK", "WORLD_SIZE"},
        {"srun", "SLURM_PROCID", "SLURM_NTASKS"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        clear(state);
        set(others[i].rank, "3");
        set(others[i].size, "5");
        expect_ok(NULL);
        expect_world(3, 5, "");
        assert_string_equal(settings.launcher, others[i].name);
        assert_int_equal(hk_settings_need_coordinator(&settings), HOCKET_ERR_INVALID);
        assert_non_null(strstr(hocket_last_error(), others[i].name));
        assert_non_null(strstr(hocket_last_error(), "HOCKET_COORDINATOR"));
        set("HOCKET_RANK", "4"); /* wins alone */
        set("HOCKET_COORDINATOR", "a:1");
        expect_ok(NULL);
        expect_world(4, 5, "a:1");
        assert_int_equal(hk_settings_need_coordinator(&settings), HOCKET_OK);
        set(others[i].rank, "3x");
        unsetenv("HOCKET_RANK");
        expect_invalid(NULL, others[i].rank);
    }
}

static void torchrun_says_where(void **state)
{
    (void)state;
    set("RANK", "0");
    set("WORLD_SIZE", "2");
    set("MASTER_ADDR", "node1");
    expect_ok(NULL);
    expect_world(0, 2, "");
    set("OMPI_COMM_WORLD_RANK", "1"); /* what torchrun was started by */
    set("OMPI_COMM_WORLD_SIZE", "3");
    expect_ok(NULL);
    expect_world(0, 2, "");
    unsetenv("MASTER_ADDR"); /* a rank and a size may be anybody's */
    expect_ok(NULL);
    expect_world(1, 3, "");
}

static void hostfiles_say_how_many_and_where(void **state)
{
    (void)state;
    char path[PATH_SIZE], other[PATH_SIZE];
    make_file(path, "[[\"10.0.0.1:5000\"],[\"10.0.0.2:5000\"]]");
    make_file(other, "[[\"10.0.0.3:5000\"],[\"a:1\"],[\"a:1\"]]");
    set("MLX_RANK", "1");
    expect_ok(NULL);
    assert_false(settings.configured);
    set("MLX_HOSTFILE", path);
    expect_ok(NULL);
    expect_world(1, 2, "10.0.0.1:5000");
    assert_string_equal(settings.launcher, "mlx.launch");
    assert_string_equal(settings.hostfile, path);
    set("MLX_RANK", "2");
    expect_invalid(NULL, "MLX_RANK is 2");
    set("HOCKET_HOSTFILE", other);
    set("HOCKET_RANK", "2");
    expect_ok(NULL);
    expect_world(2, 3, "10.0.0.3:5000");
    assert_string_equal(settings.hostfile, other);
    set("HOCKET_COORDINATOR", "a:1");
    expect_ok(NULL);
    expect_world(2, 3, "a:1");
    unlink(path);
    unlink(other);
    unsetenv("HOCKET_COORDINATOR");
    assert_int_equal(hk_settings_read(NULL, &settings), HOCKET_ERR_SYSTEM);
    assert_non_null(strstr(hocket_last_error(), other));
}

static void launchers_of_mlx_without_a_hostfile(void **state)
{
    (void)state;
    set("MLX_RANK", "1"); /* for nccl: rank, size and where rank 0 is */
    set("MLX_WORLD_SIZE", "2");
    set("NCCL_HOST_IP", "10.0.0.1");
    set("NCCL_PORT", "32323");
    expect_ok(NULL);
    expect_world(1, 2, "10.0.0.1:32323");
    clear(state);
    char path[PATH_SIZE], bad[PATH_SIZE];
    make_file(path, "[[null,\"a\",\"b\"],[\"a\",null,[\"b\",\"c\"]],[\"a\",\"b\",null]]");
    make_file(bad, "[[null,\"a\"],[\"a\"]]");
    set("MLX_IBV_DEVICES", path); /* for jaccl */
    expect_ok(NULL);
    assert_false(settings.configured); /* whoever left the variable there named no rank */
    set("MLX_RANK", "2");
    expect_ok(NULL);
    expect_world(2, 3, "");
    set("MLX_JACCL_COORDINATOR", "10.0.0.1:32323");
    expect_ok(NULL);
    expect_world(2, 3, "10.0.0.1:32323");
    assert_true(settings.job == 0);
    set("MLX_IBV_DEVICES", bad);
    expect_invalid(NULL, bad);
    unlink(path);
    unlink(bad);
    assert_int_equal(hk_settings_read(NULL, &settings), HOCKET_ERR_SYSTEM);
    set("HOCKET_RANK", "1"); /* win one by one */
    set("HOCKET_WORLD_SIZE", "2");
    set("HOCKET_COORDINATOR", "a:1");
    expect_ok(NULL);
    expect_world(1, 2, "a:1");
}

static void bad_numbers_are_named(void **state)
{
    static const char *const ranks[] = {"3x", "-1", " 1", "+1", "0x1", "4096", "99999999999999999"};
    static const char *const sizes[] = {"0", "-4", "4097", "4.0", "18446744073709551617"};
    static const char *const times[] = {
        "0", "-1", "nan", "1e3", "5s", "1.2.3", "INF", "0.0", ".", "1,5", "9999999999999999"};
    for (size_t i = 0; i < sizeof ranks / sizeof ranks[0]; i++) {
        set("HOCKET_WORLD_SIZE", "4");
        set("HOCKET_RANK", ranks[i]);
        expect_invalid(NULL, "HOCKET_RANK is \"");
        assert_non_null(strstr(hocket_last_error(), ranks[i]));
    }
    set("HOCKET_RANK", "1");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        set("HOCKET_WORLD_SIZE", sizes[i]);
        expect_invalid(NULL, "HOCKET_WORLD_SIZE is \"");
        assert_non_null(strstr(hocket_last_error(), sizes[i]));
    }
    clear(state);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        set("HOCKET_TIMEOUT", times[i]);
        expect_invalid(NULL, "HOCKET_TIMEOUT is \"");
    }
    clear(state);
    set("HOCKET_INSECURE", "yes");
    expect_invalid(NULL, "HOCKET_INSECURE is \"yes\"");
    clear(state);
    set("HOCKET_BACKEND", "a name that is longer than any backend's");
    expect_invalid(NULL, "HOCKET_BACKEND");
}

static void half_a_world_is_invalid(void **state)
{
    set("HOCKET_RANK", "1");
    expect_invalid(NULL, "HOCKET_WORLD_SIZE");
    set("HOCKET_WORLD_SIZE", "1");
    expect_invalid(NULL, "HOCKET_RANK is 1 and HOCKET_WORLD_SIZE is 1");
    clear(state);
    set("HOCKET_WORLD_SIZE", "2");
    expect_invalid(NULL, "HOCKET_RANK");
    clear(state);
    set("HOCKET_COORDINATOR", "a:1");
    expect_invalid(NULL, "HOCKET_RANK");
}

static void bad_configs_are_invalid(void **state)
{
    (void)state;
    hocket_config good = {.size = sizeof good}, config = good;
    expect_ok(&good);
    config.size = 0;
    expect_invalid(&config, "config.size is 0");
    config.size = sizeof config + 1;
    expect_invalid(&config, "config.size");
    config = good;
    config.world_size = -1;
    expect_invalid(&config, "config.world_size is -1");
    config.world_size = HK_WORLD_MAX + 1;
    expect_invalid(&config, "config.world_size");
    config.world_size = 2;
    config.rank = -1;
    expect_invalid(&config, "config.rank is -1");
    config.rank = 2;
    expect_invalid(&config, "config.rank is 2 and config.world_size is 2");
    config = good;
    config.timeout_s = -1;
    expect_invalid(&config, "config.timeout_s");
    config.timeout_s = NAN;
    expect_invalid(&config, "config.timeout_s");
    config = good;
    config.init_timeout_s = -0.5;
    expect_invalid(&config, "config.init_timeout_s is -0.5");
}

static void an_older_config_is_taken(void **state)
{
    (void)state;
    hocket_config config = {.size = offsetof(hocket_config, coordinator), .rank = 1};
    config.world_size = 2;
    config.secret = (const char *)8; /* beyond its size: not looked at */
    expect_ok(&config);
    expect_world(1, 2, "");
}

/* === Secrets ================================================================================== */

static void expect_secret(const char *text)
{
    expect_ok(NULL);
    assert_int_equal(settings.secret_length, strlen(text));
    assert_memory_equal(settings.secret, text, strlen(text));
}

static void a_secret_comes_from_a_file_or_a_variable(void **state)
{
    (void)state;
    char path[PATH_SIZE], name[PATH_SIZE];
    set("HOCKET_SECRET", "the variable's secret");
    expect_secret("the variable's secret");
    make_file(path, SECRET "\n");
    set("HOCKET_SECRET_FILE", path);
    expect_secret(SECRET);
    int fd = open(path, O_RDONLY);
    unlink(path);
    for (int i = 0; i < 4; i++) { /* unlinked, and again and again */
        snprintf(name, sizeof name, i % 2 == 0 ? "fd:%d" : "/dev/fd/%d", fd);
        set("HOCKET_SECRET_FILE", name);
        expect_secret(SECRET);
    }
    close(fd);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], SECRET, 16), 16);
    close(ends[1]);
    snprintf(name, sizeof name, "fd:%d", ends[0]);
    set("HOCKET_SECRET_FILE", name);
    expect_secret(SECRET);
    close(ends[0]);
    hk_settings_wipe(&settings);
    assert_int_equal(settings.secret_length, 0);
    for (int i = 0; i < HK_SECRET_MAX; i++)
        assert_int_equal(settings.secret[i], 0);
}

static void bad_secrets_are_refused(void **state)
{
    char path[PATH_SIZE];
    static char large[HK_SECRET_MAX + 2];
    set("HOCKET_SECRET", "fifteen letters");
    expect_invalid(NULL, "HOCKET_SECRET is too short: 15 characters, at least 16");
    assert_null(strstr(hocket_last_error(), "fifteen"));
    for (int i = 0; i < HK_SECRET_MAX; i++)
        assert_int_equal(settings.secret[i], 0);
    set("HOCKET_SECRET", "");
    expect_invalid(NULL, "too short");
    clear(state);
    memset(large, 'x', HK_SECRET_MAX + 1);
    make_file(path, large);
    set("HOCKET_SECRET_FILE", path);
    expect_invalid(NULL, "too long");
    unlink(path);
    assert_int_equal(hk_settings_read(NULL, &settings), HOCKET_ERR_SYSTEM);
    assert_non_null(strstr(hocket_last_error(), path));
    static const char *const bad[] = {"fd:", "fd:x", "fd:3x", "fd:-1", "fd:99999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set("HOCKET_SECRET_FILE", bad[i]);
        expect_invalid(NULL, bad[i]);
    }
    clear(state);
    large[HK_SECRET_MAX] = '\0';
    hocket_config config = {.size = sizeof config, .secret = large};
    expect_ok(&config);
    large[HK_SECRET_MAX] = 'x';
    expect_invalid(&config, "config.secret is too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_gives_a_group_of_one, clear),
        cmocka_unit_test_setup(hocket_variables_make_a_world, clear),
        cmocka_unit_test_setup(config_wins_over_variables, clear),
        cmocka_unit_test_setup(other_launchers_are_known, clear),
        cmocka_unit_test_setup(torchrun_says_where, clear),
        cmocka_unit_test_setup(hostfiles_say_how_many_and_where, clear),
        cmocka_unit_test_setup(launchers_of_mlx_without_a_hostfile, clear),
        cmocka_unit_test_setup(bad_numbers_are_named, clear),
        cmocka_unit_test_setup(half_a_world_is_invalid, clear),
        cmocka_unit_test_setup(bad_configs_are_invalid, clear),
        cmocka_unit_test_setup(an_older_config_is_taken, clear),
        cmocka_unit_test_setup(a_secret_comes_from_a_file_or_a_variable, clear),
        cmocka_unit_test_setup(bad_secrets_are_refused, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
