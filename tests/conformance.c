#include "conformance.h"

#define CASES_MAX 64
#define CASE_SECONDS 20.0

static const struct conformance_case *const lists[] = {conformance_messages, conformance_requests,
                                                       conformance_groups};

/* What a cmocka test is handed. */
struct task {
    const struct conformance_case *its;
    const struct harness_backend *backend;
    char name[128];
};

static bool fits(const struct conformance_case *its, int size)
{
    return its->size_max == 0 || (size >= its->size_min && size <= its->size_max);
}

static void run_case(void **state)
{
    static const int sizes[] = {1, 2, 3, 4, 5, 8};
    const struct task *task = *state;
    for (size_t i = 0; i < LENGTH(sizes); i++)
        if (fits(task->its, sizes[i]))
            harness_run(&(struct harness_run){.backend = task->backend,
                                              .size = sizes[i],
                                              .body = task->its->body,
                                              .seconds = CASE_SECONDS});
}

static bool applies(const struct conformance_case *its, const struct harness_backend *backend)
{
    return !(its->bounded && backend->unbounded) && (!its->duplicates || backend->duplicates);
}

int conformance_run(const struct harness_backend *backend)
{
    static struct task tasks[CASES_MAX];
    struct CMUnitTest tests[CASES_MAX];
    const char *only = getenv("CONFORMANCE_ONLY"); /* part of a name, to look for a fault */
    size_t count = 0;
    harness_clear_environment();
    for (size_t list = 0; list < LENGTH(lists); list++)
        for (const struct conformance_case *its = lists[list]; its->name != NULL; its++) {
            if (!applies(its, backend) || (only != NULL && strstr(its->name, only) == NULL))
                continue;
            struct task *task = &tasks[count];
            *task = (struct task){.its = its, .backend = backend};
            snprintf(task->name, sizeof(task->name), "%s%s%s: %s", backend->name,
                     backend->variant != NULL ? ", " : "",
                     backend->variant != NULL ? backend->variant : "", its->name);
            tests[count++] = (struct CMUnitTest){
                .name = task->name, .test_func = run_case, .initial_state = task};
        }
    return _cmocka_run_group_tests(backend->name, tests, count, NULL, NULL);
}
