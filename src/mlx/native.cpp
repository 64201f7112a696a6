/* MLX's own collectives on host memory: a copy in, MLX's operation, a copy out, in pieces.
 *
 * Max and min of floats go as integers: MLX's comparison loses a NaN or keeps it, depending on who
 * has it, where hocket hands it on. Of a float's bits as a signed integer, the positive ones are in
 * order already and the negative ones run backwards; turning those round gives a key whose order is
 * the floats', with room for NaN above all of them (for max) or below (for min). */
#include "mlx/transport.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "mlx/guard.h"

namespace hk
{
namespace
{

/* Bytes that MLX is given at a time. */
constexpr size_t kPieceBytes = size_t(64) << 20;

/* A group over one transport: its world, or a split of MLX's. */
struct Team {
    MlxTransport *transport;
    Engine engine;
    Lane *lane;
    bool stuck = false;     /* MLX still waits for somebody on the lane */
    std::vector<char> keys; /* scratch for max and min */

    Team(MlxTransport *over, Engine with)
        : transport(over), engine(std::move(with)), lane(&lane_take())
    {
    }
    mx::Stream stream() const
    {
        return engine.stream(*lane);
    }
    size_t size()
    {
        return static_cast<size_t>(engine.group.size());
    }
};

/* Evaluates with the patience of the call. */
void run(Team &team, mx::array result, hocket_patience *patience)
{
    {
        std::lock_guard lock(team.lane->dispatching);
        mx::async_eval(result);
    }
    while (!result.is_available()) {
        hocket_status status = hocket_patience_wait(patience);
        team.stuck = status != HOCKET_OK;
        check(status);
    }
    result.wait(); /* throws what went wrong */
}

/* Has the connections to itself, once the messages that are under way have arrived. */
class Turn
{
public:
    Turn(Team &team, hocket_patience *patience) : team_(team)
    {
        const std::string lost = lost_connection();
        if (team.engine.backend == Backend::ring && !lost.empty())
            throw Failure(HOCKET_ERR_PEER_LOST, "MLX: " + lost);
        while (!team.transport->enter())
            check(hocket_patience_wait(patience));
    }
    /* Where MLX is stuck, nothing else may use its connections ever again. */
    ~Turn()
    {
        if (!team_.stuck)
            team_.transport->leave();
    }
    Turn(const Turn &) = delete;
    Turn &operator=(const Turn &) = delete;

private:
    Team &team_;
};

/* === Keys of floats =========================================================================== */

template <typename Bits> Bits turn(Bits bits)
{
    return bits < 0 ? static_cast<Bits>(bits ^ std::numeric_limits<Bits>::max()) : bits;
}

/* infinity: the bits of +inf, above which all magnitudes are NaN. */
template <typename Bits> Bits key_of(Bits bits, Bits infinity, bool max)
{
    constexpr Bits top = std::numeric_limits<Bits>::max();
    if ((bits & top) > infinity)
        return max ? top : std::numeric_limits<Bits>::min();
    return turn(bits);
}

template <typename Bits>
void to_keys(const void *from, void *to, size_t count, Bits infinity, bool max)
{
    for (size_t i = 0; i < count; i++) {
        Bits bits;
        memcpy(&bits, static_cast<const char *>(from) + i * sizeof bits, sizeof bits);
        bits = key_of(bits, infinity, max);
        memcpy(static_cast<char *>(to) + i * sizeof bits, &bits, sizeof bits);
    }
}

template <typename Bits> void from_keys(void *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Bits bits;
        char *at = static_cast<char *>(data) + i * sizeof bits;
        memcpy(&bits, at, sizeof bits);
        bits = turn(bits);
        memcpy(at, &bits, sizeof bits);
    }
}

constexpr int32_t kInfinity32 = 0x7f800000;

/* The real part in the upper half, the imaginary part, from its lowest key on, in the lower. A NaN
 * in either part makes one of both, and the real part is +0 for -0, which are equal: the imaginary
 * parts decide. */
void complex_to_keys(const void *from, void *to, size_t count, bool max)
{
    constexpr int32_t top = std::numeric_limits<int32_t>::max();
    for (size_t i = 0; i < count; i++) {
        int32_t parts[2];
        memcpy(parts, static_cast<const char *>(from) + i * sizeof parts, sizeof parts);
        if ((parts[0] & top) > kInfinity32 || (parts[1] & top) > kInfinity32)
            parts[0] = parts[1] = top;
        if (parts[0] == std::numeric_limits<int32_t>::min())
            parts[0] = 0;
        int32_t real = key_of(parts[0], kInfinity32, max);
        int32_t imaginary = key_of(parts[1], kInfinity32, max);
        constexpr uint32_t sign = UINT32_C(1) << 31;
        uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(real)) << 32 |
                       (static_cast<uint32_t>(imaginary) ^ sign);
        memcpy(static_cast<char *>(to) + i * sizeof key, &key, sizeof key);
    }
}

void complex_from_keys(void *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t key;
        char *at = static_cast<char *>(data) + i * sizeof key;
        memcpy(&key, at, sizeof key);
        constexpr uint32_t sign = UINT32_C(1) << 31;
        int32_t parts[2] = {turn(static_cast<int32_t>(static_cast<uint32_t>(key >> 32))),
                            turn(static_cast<int32_t>(static_cast<uint32_t>(key) ^ sign))};
        memcpy(at, parts, sizeof parts);
    }
}

/* The dtype that stands for this one in max and min; itself where MLX compares as hocket does. */
hocket_dtype key_dtype(hocket_dtype dtype)
{
    switch (dtype) {
    case HOCKET_FLOAT16:
    case HOCKET_BFLOAT16: return HOCKET_INT16;
    case HOCKET_FLOAT32: return HOCKET_INT32;
    case HOCKET_FLOAT64:
    case HOCKET_COMPLEX64: return HOCKET_INT64;
    default: return dtype;
    }
}

void make_keys(const void *from, void *to, size_t count, hocket_dtype dtype, bool max)
{
    switch (dtype) {
    case HOCKET_FLOAT16: return to_keys<int16_t>(from, to, count, 0x7c00, max);
    case HOCKET_BFLOAT16: return to_keys<int16_t>(from, to, count, 0x7f80, max);
    case HOCKET_FLOAT32: return to_keys<int32_t>(from, to, count, kInfinity32, max);
    case HOCKET_FLOAT64: return to_keys<int64_t>(from, to, count, 0x7ff0000000000000, max);
    default: return complex_to_keys(from, to, count, max);
    }
}

void read_keys(void *data, size_t count, hocket_dtype dtype)
{
    switch (dtype) {
    case HOCKET_FLOAT16:
    case HOCKET_BFLOAT16: return from_keys<int16_t>(data, count);
    case HOCKET_FLOAT32: return from_keys<int32_t>(data, count);
    case HOCKET_FLOAT64: return from_keys<int64_t>(data, count);
    default: return complex_from_keys(data, count);
    }
}

/* === Collectives ============================================================================== */

mx::array reduced(Team &team, const mx::array &x, hocket_reduce reduce)
{
    switch (reduce) {
    case HOCKET_MAX: return mx::distributed::all_max(x, team.engine.group, team.stream());
    case HOCKET_MIN: return mx::distributed::all_min(x, team.engine.group, team.stream());
    default: return mx::distributed::all_sum(x, team.engine.group, team.stream());
    }
}

/* One piece. MLX's ring wants an element for each rank at least, so few are filled up. */
void reduce_piece(Team &team, const void *from, void *to, size_t count, hocket_dtype dtype,
                  hocket_reduce reduce, hocket_patience *patience)
{
    const hocket_dtype keys = reduce == HOCKET_SUM ? dtype : key_dtype(dtype);
    const size_t bytes = count * hocket_dtype_size(dtype);
    const size_t filled = std::max(count, team.size());
    if (keys != dtype || filled != count) {
        team.keys.assign(filled * hocket_dtype_size(keys), 0);
        if (keys != dtype)
            make_keys(from, team.keys.data(), count, dtype, reduce == HOCKET_MAX);
        else
            memcpy(team.keys.data(), from, bytes);
        from = team.keys.data();
    }
    mx::array x =
        array_from_host(from, {mlx_dimension(static_cast<int64_t>(filled))}, mlx_dtype(keys));
    mx::array y = reduced(team, x, reduce);
    run(team, y, patience);
    memcpy(to, y.data<char>(), bytes);
    if (keys != dtype)
        read_keys(to, count, dtype);
}

/* MLX adds halves up in their own dtype, hocket in float32: those sums are composed. */
bool rounds_early(hocket_dtype dtype, hocket_reduce reduce)
{
    return reduce == HOCKET_SUM && (dtype == HOCKET_FLOAT16 || dtype == HOCKET_BFLOAT16);
}

hocket_status all_reduce(void *handle, const void *send, void *recv, size_t count,
                         hocket_dtype dtype, hocket_reduce reduce, hocket_patience *patience)
{
    Team &team = *static_cast<Team *>(handle);
    if (rounds_early(dtype, reduce))
        return hocket_transport_error(HOCKET_ERR_UNSUPPORTED, "MLX rounds sums of %s at each rank",
                                      hocket_dtype_name(dtype));
    if (reduce != HOCKET_SUM && reduce != HOCKET_MAX && reduce != HOCKET_MIN)
        return hocket_transport_error(HOCKET_ERR_UNSUPPORTED, "MLX reduces by sum, max and min");
    return guard("all_reduce", [&] {
        const hocket_dtype moved = reduce == HOCKET_SUM ? dtype : key_dtype(dtype);
        if (!team.engine.reduces(mlx_dtype(moved)))
            throw Failure(HOCKET_ERR_UNSUPPORTED,
                          team.transport->name + " has no " + hocket_dtype_name(dtype));
        Turn turn(team, patience);
        const size_t item = hocket_dtype_size(dtype), step = kPieceBytes / item;
        for (size_t at = 0; at < count; at += step)
            reduce_piece(team, static_cast<const char *>(send) + at * item,
                         static_cast<char *>(recv) + at * item, std::min(step, count - at), dtype,
                         reduce, patience);
    });
}

/* Any bit pattern survives, since bytes are all that MLX sees. */
hocket_status all_gather(void *handle, const void *send, void *recv, size_t send_count,
                         hocket_dtype dtype, hocket_patience *patience)
{
    Team &team = *static_cast<Team *>(handle);
    return guard("all_gather", [&] {
        Turn turn(team, patience);
        const size_t bytes = send_count * hocket_dtype_size(dtype), n = team.size();
        const size_t step = std::max<size_t>(kPieceBytes / n, 1);
        for (size_t at = 0; at < bytes; at += step) {
            const size_t piece = std::min(step, bytes - at);
            mx::array x = array_from_host(static_cast<const char *>(send) + at,
                                          {mlx_dimension(static_cast<int64_t>(piece))}, mx::uint8);
            mx::array y = mx::distributed::all_gather(x, team.engine.group, team.stream());
            run(team, y, patience);
            for (size_t r = 0; r < n; r++)
                memcpy(static_cast<char *>(recv) + r * bytes + at, y.data<char>() + r * piece,
                       piece);
        }
    });
}

hocket_status reduce_scatter(void *handle, const void *send, void *recv, size_t recv_count,
                             hocket_dtype dtype, hocket_reduce reduce, hocket_patience *patience)
{
    Team &team = *static_cast<Team *>(handle);
    if (reduce != HOCKET_SUM || rounds_early(dtype, reduce) || !team.engine.scatters() ||
        recv_count > kPieceBytes)
        return hocket_transport_error(HOCKET_ERR_UNSUPPORTED, "[%s] sum_scatter not supported",
                                      backend_name(team.engine.backend));
    return guard("reduce_scatter", [&] {
        if (!team.engine.reduces(mlx_dtype(dtype)))
            throw Failure(HOCKET_ERR_UNSUPPORTED,
                          team.transport->name + " has no " + hocket_dtype_name(dtype));
        Turn turn(team, patience);
        mx::Shape shape{mlx_dimension(team.engine.group.size()),
                        mlx_dimension(static_cast<int64_t>(recv_count))};
        mx::array x = array_from_host(send, shape, mlx_dtype(dtype));
        mx::array y = mx::distributed::sum_scatter(x, team.engine.group, team.stream());
        run(team, y, patience);
        memcpy(recv, y.data<char>(), recv_count * hocket_dtype_size(dtype));
    });
}

hocket_status barrier(void *handle, hocket_patience *patience)
{
    const int32_t one = 1;
    int32_t all;
    return all_reduce(handle, &one, &all, 1, HOCKET_INT32, HOCKET_SUM, patience);
}

/* === Teams ==================================================================================== */

/* MLX splits where its backend does: all ranks of the world take part there, each with its color,
 * so a split of hocket's in which one has none, or one below the world, waits for its deadline. */
hocket_status team_open(void *self, const int *ranks, int count, uint64_t, hocket_patience *,
                        void **handle)
{
    MlxTransport &transport = *static_cast<MlxTransport *>(self);
    return guard(nullptr, [&] {
        bool world = count == transport.size;
        int key = 0;
        for (int i = 0; i < count; i++) {
            world = world && ranks[i] == i;
            if (ranks[i] == transport.rank)
                key = i;
        }
        Engine engine = transport.engine;
        if (!world) {
            try {
                engine.group = engine.group.split(*std::min_element(ranks, ranks + count), key);
            } catch (const std::exception &error) {
                throw Failure(HOCKET_ERR_UNSUPPORTED, transport.name + ": " + error.what());
            }
        }
        *handle = new Team(&transport, std::move(engine));
    });
}

void team_close(void *handle)
{
    Team *team = static_cast<Team *>(handle);
    /* What MLX still works on must stay. */
    if (team->stuck)
        return;
    lane_give(*team->lane);
    delete team;
}

} // namespace

const hocket_collectives mlx_collectives = {
    .size = sizeof(hocket_collectives),
    .team_open = team_open,
    .team_close = team_close,
    .all_reduce = all_reduce,
    .all_gather = all_gather,
    .reduce_scatter = reduce_scatter,
    .broadcast = nullptr,
    .barrier = barrier,
    .alloc = nullptr,
    .dealloc = nullptr,
};

std::optional<Engine> engine_of(const hocket_group *group)
{
    auto team = static_cast<Team *>(hocket_group_team(group, &mlx_collectives));
    if (team == nullptr)
        return std::nullopt;
    return team->engine;
}

} // namespace hk
