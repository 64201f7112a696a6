/* A rank for the tests of launchers: world LABEL [SECONDS]. Joins the world that its environment
 * speaks of, compares the label with everyone's, adds something up, waits so long and says
 *
 *     rank 1 of 3 over shm: LABEL
 */
#include <hocket/hocket.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LABEL_MAX 32
#define RANKS_MAX 64

static int fail(const char *what)
{
    fprintf(stderr, "world: %s: %s\n", what, hocket_last_error());
    return 1;
}

static int check(hocket_group *group, const char *label)
{
    static char labels[RANKS_MAX][LABEL_MAX];
    char mine[LABEL_MAX] = "";
    int size = hocket_world_size(group);
    float sum = (float)(hocket_rank(group) + 1);
    snprintf(mine, sizeof mine, "%s", label);
    if (size > RANKS_MAX)
        return fail("too many ranks");
    if (hocket_all_gather(group, mine, labels, sizeof mine, HOCKET_UINT8) != HOCKET_OK)
        return fail("all_gather");
    if (hocket_all_sum(group, &sum, 1) != HOCKET_OK)
        return fail("all_sum");
    for (int i = 0; i < size; i++) {
        if (strcmp(labels[i], mine) != 0) {
            fprintf(stderr, "world: \"%s\" has met \"%s\"\n", mine, labels[i]);
            return 1;
        }
    }
    if (sum != (float)(size * (size + 1) / 2)) {
        fprintf(stderr, "world: the sum is %g\n", (double)sum);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *label = argc > 1 ? argv[1] : "";
    hocket_config config = {.size = sizeof config, .strict = true, .init_timeout_s = 30};
    hocket_group *group;
    if (hocket_init(&config, &group) != HOCKET_OK)
        return fail("hocket_init");
    int failed = check(group, label);
    struct timespec nap = {.tv_sec = argc > 2 ? atoi(argv[2]) : 0};
    nanosleep(&nap, NULL);
    if (!failed)
        printf("rank %d of %d over %s: %s\n", hocket_rank(group), hocket_world_size(group),
               hocket_backend(group), label);
    hocket_free(group);
    return failed;
}
