/* Where a group's time goes. Counting costs a look at the clock a call, so nobody pays for it who
 * has never asked. */
#include "group/group.h"
#include "transport/shm_team.h"

#include <math.h>

hk_time hk_times_now(const hocket_group *group)
{
    bool counting = atomic_load_explicit(&group->times.counting, memory_order_relaxed);
    return counting ? hk_now() : hk_now_coarse();
}

void hk_times_add(hocket_group *group, const hk_call *call, hk_time began, uint64_t bytes)
{
    hk_times *t = &group->times;
    if (!atomic_load_explicit(&t->counting, memory_order_relaxed))
        return;
    atomic_fetch_add_explicit(&t->inside, hk_now() - began - call->away, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->waited, call->waited, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->bytes, bytes + call->moved, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->calls, 1, memory_order_relaxed);
}

/* An engine that waits by itself does not say for whom. */
static bool knows_its_waits(const hocket_group *group)
{
    const hocket_collectives *native = group->team.native;
    return !hk_endpoint_is_delegate(group->comm->endpoint) &&
           (native == NULL || native == &hk_shm_collectives);
}

hocket_status hocket_group_times(hocket_group *group, hocket_times *times)
{
    hocket_status status = hk_check_group(group, "hocket_group_times");
    if (status != HOCKET_OK)
        return status;
    if (times == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_group_times: times is NULL");
    if (times->size != sizeof *times)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_group_times: times->size is %zu, not %zu",
                       times->size, sizeof *times);
    hk_times *t = &group->times;
    atomic_store(&t->counting, true);
    double waited = hk_to_seconds(atomic_load(&t->waited));
    *times = (hocket_times){.size = sizeof *times,
                            .inside_s = hk_to_seconds(atomic_load(&t->inside)),
                            .waited_s = knows_its_waits(group) ? waited : (double)NAN,
                            .calls = atomic_load(&t->calls),
                            .bytes = atomic_load(&t->bytes)};
    return HOCKET_OK;
}
