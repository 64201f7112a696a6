/* One message of 3 GiB over each transport: lengths above 32 bits, in one piece. */
#include <sys/mman.h>
#include <unistd.h>
#include "harness.h"

#define MESSAGE_BYTES ((size_t)3 << 30)
#define MEMORY_NEEDED ((size_t)7 << 30)
#define STEP ((size_t)4096 - 8) /* not of the page: samples fall on every offset */
#define RUN_SECONDS 200.0

static uint64_t sample(size_t at) { return at * UINT64_C(0x9e3779b97f4a7c15); }

static void *reserve(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void send_and_receive(struct member *me)
{
    char *bytes = reserve(MESSAGE_BYTES);
    for (size_t at = 0; me->rank == 0 && at + 8 <= MESSAGE_BYTES; at += STEP)
        memcpy(bytes + at, &(uint64_t){sample(at)}, 8);
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == 0) {
        CHECK_OK(hocket_send_bytes(me->world, 1, 1, bytes, MESSAGE_BYTES));
    } else {
        size_t length = 0;
        CHECK_OK(hocket_probe(me->world, 0, 1, NULL, &length));
        CHECK_INT(MESSAGE_BYTES, length);
        CHECK_OK(hocket_recv_into(me->world, 0, 1, bytes, MESSAGE_BYTES, &length));
        CHECK_INT(MESSAGE_BYTES, length);
        for (size_t at = 0; at + 8 <= MESSAGE_BYTES; at += STEP)
            CHECK_THAT(memcmp(bytes + at, &(uint64_t){sample(at)}, 8) == 0,
                       "byte %zu is wrong", at);
    }
    CHECK_OK(hocket_barrier(me->world));
    munmap(bytes, MESSAGE_BYTES);
}

/* Bytes that can be had without swapping; what the machine has where it does not say. */
static size_t memory_available(void)
{
    size_t kilobytes = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "MemAvailable: %zu", &kilobytes) == 1)
            break;
    if (file != NULL)
        fclose(file);
    if (kilobytes > 0)
        return kilobytes * 1024;
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

static void three_gibibytes_arrive(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        harness_run(&(struct harness_run){.backend = harness_backends[i], .size = 2,
                                          .body = send_and_receive, .seconds = RUN_SECONDS / 2,
                                          .timeout_s = RUN_SECONDS});
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(three_gibibytes_arrive)};
    if (memory_available() < MEMORY_NEEDED) {
        printf("skipped: needs %zu bytes of memory, %zu are available\n", MEMORY_NEEDED,
               memory_available());
        return 77;
    }
    const char *sanitizers = getenv("HOCKET_SANITIZE");
    if (sanitizers != NULL && strstr(sanitizers, "thread") != NULL) {
        printf("skipped: ThreadSanitizer multiplies the memory\n");
        return 77;
    }
    harness_clear_environment();
    return cmocka_run_group_tests_name("large message", tests, NULL, NULL);
}
