#include <fcntl.h>
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
#include "core/hostfile.h"

static hocket_status parse(const char *json, hk_hostfile *hostfile)
{
    return hk_hostfile_parse(json, strlen(json), "test.json", hostfile);
}

static void a_good_hostfile_is_read(void **state)
{
    (void)state;
    hk_hostfile hostfile;
    char path[64];
    static const char json[] =
        " [[\"10.0.0.1:5000\", \"10.0.1.1:5001\"],\n [\"[fe80::1]:5000\"]]\n";
    snprintf(path, sizeof path, "/tmp/hocket-hostfile-%d", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, json, sizeof json - 1), sizeof json - 1);
    close(fd);
    assert_int_equal(hk_hostfile_read(path, &hostfile), HOCKET_OK);
    unlink(path);
    assert_int_equal(hostfile.rank_count, 2);
    assert_int_equal(hostfile.ranks[0].address_count, 2);
    assert_string_equal(hostfile.ranks[0].addresses[1], "10.0.1.1:5001");
    assert_int_equal(hostfile.ranks[1].address_count, 1);
    assert_string_equal(hostfile.ranks[1].addresses[0], "[fe80::1]:5000");
    hk_hostfile_close(&hostfile);
    assert_null(hostfile.ranks);
    hk_hostfile_close(&hostfile);
}

static void bad_hostfiles_are_invalid(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[",
        "{}",
        "[]",
        "null",
        "3",
        "[[]]",
        "[[3]]",
        "[\"a:1\"]",
        "[[\"a\"]]",
        "[[\"a:1\"],3]",
        "[[\"a:1\"],[]]",
        "[[[]]]",
        "[[null]]",
        "[[\"a:1\"]]x",
        "[[\"a:1\"]][]",
        "[[\"a:1\"]",
        "{\"hosts\":[]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hk_hostfile hostfile;
        if (parse(bad[i], &hostfile) != HOCKET_ERR_INVALID)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(strstr(hocket_last_error(), "test.json"));
        assert_null(hostfile.ranks);
        assert_int_equal(hostfile.rank_count, 0);
    }
}

/* count times the text, in [ and ]. */
static char *repeat(const char *text, int count)
{
    size_t length = strlen(text);
    char *json = malloc((size_t)count * length + 3), *at = json;
    *at++ = '[';
    for (int i = 0; i < count; i++, at += length)
        memcpy(at, text, length + 1);
    strcpy(at - 1, "]"); /* over the last comma */
    return json;
}

static void check_limit(const char *text, int limit)
{
    for (int more = 0; more < 2; more++) {
        hk_hostfile hostfile;
        char *json = repeat(text, limit + more);
        assert_int_equal(parse(json, &hostfile), more == 0 ? HOCKET_OK : HOCKET_ERR_INVALID);
        assert_int_equal(hostfile.rank_count, more == 0 ? limit : 0);
        hk_hostfile_close(&hostfile);
        free(json);
    }
}

static void limits_are_kept(void **state)
{
    (void)state;
    check_limit("[\"a:1\"],", HK_HOSTFILE_RANKS_MAX);
    hk_hostfile hostfile;
    char json[HK_HOSTFILE_TEXT_MAX + 8];
    for (int more = 0; more < 2; more++) {
        int width =
            HK_HOSTFILE_TEXT_MAX - 3 + more; /* with :1 it fits, with one more it does not */
        snprintf(json, sizeof json, "[[\"%0*d:1\"]]", width, 0);
        assert_int_equal(parse(json, &hostfile), more == 0 ? HOCKET_OK : HOCKET_ERR_INVALID);
        hk_hostfile_close(&hostfile);
    }
    char *many = repeat("\"a:1\",", HK_HOSTFILE_ADDRESSES_MAX + 1);
    char *outer = malloc(strlen(many) + 3);
    sprintf(outer, "[%s]", many);
    assert_int_equal(parse(outer, &hostfile), HOCKET_ERR_INVALID);
    free(outer);
    free(many);
    size_t size = HK_HOSTFILE_BYTES_MAX + 1;
    char *large = malloc(size);
    memset(large, ' ', size);
    memcpy(large, "[[\"a:1\"]]", 9);
    assert_int_equal(hk_hostfile_parse(large, size - 1, "x", &hostfile), HOCKET_OK);
    hk_hostfile_close(&hostfile);
    assert_int_equal(hk_hostfile_parse(large, size, "x", &hostfile), HOCKET_ERR_INVALID);
    memset(large, '[', size); /* the parser must not run out of stack */
    assert_int_equal(hk_hostfile_parse(large, size - 1, "x", &hostfile), HOCKET_ERR_INVALID);
    free(large);
}

static void bytes_without_an_end_are_not_read_past(void **state)
{
    (void)state;
    static const char json[] = "[[\"a:1\"]]";
    for (size_t length = 0; length < sizeof json - 1; length++) {
        hk_hostfile hostfile;
        char *exact =
            malloc(length + (length == 0)); /* so that a sanitizer sees one byte too far */
        memcpy(exact, json, length);
        assert_int_equal(hk_hostfile_parse(exact, length, "x", &hostfile), HOCKET_ERR_INVALID);
        free(exact);
    }
}

static void a_missing_file_is_said_so(void **state)
{
    (void)state;
    hk_hostfile hostfile;
    assert_int_equal(hk_hostfile_read("/nonexistent/hosts.json", &hostfile), HOCKET_ERR_SYSTEM);
    assert_non_null(strstr(hocket_last_error(), "/nonexistent/hosts.json"));
    assert_int_equal(hk_hostfile_read("/tmp", &hostfile), HOCKET_ERR_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_hostfile_is_read),
        cmocka_unit_test(bad_hostfiles_are_invalid),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(bytes_without_an_end_are_not_read_past),
        cmocka_unit_test(a_missing_file_is_said_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
