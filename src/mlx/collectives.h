/* Collectives as lazy arrays: composing one does no communication, evaluating it does it once. */
#ifndef HK_MLX_COLLECTIVES_H
#define HK_MLX_COLLECTIVES_H

#include "mlx/lanes.h"

#include <optional>

namespace hk
{

/* What a collective of a graph needs to know besides its input. */
struct Collective {
    hocket_group *group;
    hocket_reduce reduce = HOCKET_SUM;
    int axis = 0;        /* of all_gather and reduce_scatter, not negative */
    int peer = 0;        /* root, or the other side of a message */
    uint32_t tag = 0;    /* of a message */
    std::vector<int> to; /* of permute */
};

/* Each gives a lazy array. after is the collective that goes before this one in the graph: its
 * array becomes an input, so whatever is evaluated first, the two run in the graph's order.
 *
 * Over a transport of hocket's the collective is a primitive of our own that calls the group on
 * MLX's cpu stream, on the arrays' own memory; an input that nobody else needs is reduced in place.
 * Over MLX's own transport it is MLX's own op, where MLX has it. */
using After = const std::optional<mx::array> &;
mx::array compose_all_reduce(const Collective &collective, mx::array x, After after);
mx::array compose_all_gather(const Collective &collective, mx::array x, After after);
mx::array compose_reduce_scatter(const Collective &collective, mx::array x, After after);
mx::array compose_broadcast(const Collective &collective, mx::array x, After after);
mx::array compose_permute(const Collective &collective, mx::array x, After after);
mx::array compose_send(const Collective &collective, mx::array x, After after);
mx::array compose_recv(const Collective &collective, const hocket_type &type, After after);

/* Receives a message that must have exactly this length. Throws. */
void receive_exactly(hocket_group *group, int from, uint32_t tag, void *buffer, size_t length);

} // namespace hk

#endif
