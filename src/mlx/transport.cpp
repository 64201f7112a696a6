/* Messages over MLX's send and recv.
 *
 * MLX moves arrays of a size that both sides know, blocks a thread of its own meanwhile, and has no
 * tags. So a message is a header of fixed size and its bytes in pieces, sent and received as arrays
 * of uint8 with async_eval; progress looks which of them have become available:
 *
 *     parcels -> leaving ~~~~ MLX ~~~~> arriving (header, pieces) -> letters -> a posted receive
 *
 * Letters under tags that nobody has asked for yet wait in memory.
 *
 * A receive is started only when one is asked for, because MLX's collectives use the same
 * connections and would otherwise lose bytes to it. For the same reason a message and a collective
 * must come in the same order on both sides; hocket's own transports have no such limit. */
#include "mlx/transport.h"

#include <mlx/primitives.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "mlx/guard.h"

namespace hk
{
namespace
{

struct Header {
    uint64_t magic, context, length;
    uint32_t tag, zero;
};
constexpr uint64_t kMagic = 0x686f636b65743031; /* "hocket01" */

/* Bytes that may be under way to one peer after their sends have returned. */
constexpr size_t kWindow = size_t(256) << 20;
/* MLX's dimensions have 32 bits, some of its backends count with int. */
constexpr size_t kPiece = size_t(1) << 30;
/* MLX wakes nobody, so progress looks again after this long. */
constexpr auto kLook = std::chrono::microseconds(50);
/* How long an orderly close waits for the last messages to leave. */
constexpr auto kFlush = std::chrono::seconds(5);

mx::array bytes_array(const void *data, size_t bytes)
{
    return array_from_host(data, {mlx_dimension(static_cast<int64_t>(bytes))}, mx::uint8);
}

} // namespace

MlxTransport::MlxTransport(Engine opened)
    : engine(std::move(opened)), name("mlx:" + std::string(backend_name(engine.backend))),
      rank(engine.group.rank()), size(engine.group.size()), vtable{},
      peers_(static_cast<size_t>(size))
{
    /* MPI is started without threads of its own in mind, and NCCL sends nothing. */
    if (engine.backend == Backend::mpi || engine.backend == Backend::nccl)
        shared_ = &lane_take();
}

Lane &MlxTransport::lane_for(Lane *&slot)
{
    if (shared_ != nullptr)
        return *shared_;
    if (slot == nullptr)
        slot = &lane_take();
    return *slot;
}

/* === The connections, shared with collectives ================================================= */

bool MlxTransport::enter()
{
    std::lock_guard lock(connections_);
    if (busy_ > 0)
        return false;
    collectives_++;
    return true;
}

void MlxTransport::leave()
{
    std::lock_guard lock(connections_);
    collectives_--;
}

bool MlxTransport::may_start()
{
    std::lock_guard lock(connections_);
    if (collectives_ > 0)
        return false;
    busy_++;
    return true;
}

void MlxTransport::ended()
{
    std::lock_guard lock(connections_);
    busy_--;
}

void MlxTransport::start(Lane &lane, const mx::array &array)
{
    std::lock_guard lock(lane.dispatching);
    mx::async_eval(array);
}

/* === Sending ================================================================================== */

hocket_status MlxTransport::post(hocket_op *op)
{
    if (failed_ != HOCKET_OK)
        return hocket_transport_error(failed_, "%s", failure_.c_str());
    const std::string reason = engine.no_way_to(op->peer);
    if (!reason.empty())
        return hocket_transport_error(HOCKET_ERR_UNSUPPORTED,
                                      "rank %d cannot exchange messages with rank %d over %s: %s",
                                      rank, op->peer, name.c_str(), reason.c_str());
    Peer &peer = peers_[static_cast<size_t>(op->peer)];
    if (op->kind == HOCKET_OP_RECV) {
        return guard(nullptr, [&] {
            peer.wanted.push_back(op);
            deliver(peer);
        });
    }
    bool kept = false;
    hocket_status status = guard(nullptr, [&] {
        Header header{kMagic, op->context, op->length, op->tag, 0};
        Parcel parcel{{}, op, op->length};
        parcel.pieces.push_back(bytes_array(&header, sizeof header));
        auto bytes = static_cast<const char *>(op->buffer);
        for (size_t at = 0; at < op->length; at += kPiece)
            parcel.pieces.push_back(bytes_array(bytes + at, std::min(kPiece, op->length - at)));
        kept = peer.outstanding + op->length <= kWindow;
        if (kept) {
            parcel.op = nullptr;
            peer.outstanding += op->length;
        }
        peer.parcels.push_back(std::move(parcel));
    });
    if (status != HOCKET_OK)
        return status;
    if (kept)
        hocket_op_complete(op, HOCKET_OK, 0);
    status = guard(nullptr, [&] { advance_out(peer); });
    if (status != HOCKET_OK)
        fail(status);
    return HOCKET_OK;
}

/* Takes the next piece to MLX when the last one has left. Returns whether anything moved. */
bool MlxTransport::advance_out(Peer &peer)
{
    bool moved = false;
    while (!peer.parcels.empty()) {
        if (peer.leaving) {
            if (!peer.leaving->is_available())
                return moved;
            ended();
            mx::array sent = std::move(*peer.leaving);
            peer.leaving.reset();
            sent.wait(); /* throws what went wrong */
            moved = true;
        }
        Parcel &parcel = peer.parcels.front();
        if (parcel.pieces.empty()) {
            if (parcel.op != nullptr)
                hocket_op_complete(parcel.op, HOCKET_OK, 0);
            else
                peer.outstanding -= parcel.bytes;
            peer.parcels.pop_front();
            continue;
        }
        if (!may_start())
            return moved;
        Lane &lane = lane_for(peer.out);
        int to = static_cast<int>(&peer - peers_.data());
        peer.leaving =
            mx::distributed::send(parcel.pieces.front(), to, engine.group, engine.stream(lane));
        parcel.pieces.pop_front();
        start(lane, *peer.leaving);
        moved = true;
    }
    return moved;
}

/* === Receiving ================================================================================ */

/* Gives letters to the receives that want them. */
void MlxTransport::deliver(Peer &peer)
{
    for (size_t i = 0; i < peer.wanted.size();) {
        hocket_op *op = peer.wanted[i];
        auto letter = peer.letters.begin();
        while (letter != peer.letters.end() &&
               (letter->context != op->context || letter->tag != op->tag))
            ++letter;
        if (letter == peer.letters.end()) {
            i++;
            continue;
        }
        peer.wanted.erase(peer.wanted.begin() + static_cast<std::ptrdiff_t>(i));
        const size_t length = letter->bytes.size();
        if (op->take) {
            op->buffer = malloc(length > 0 ? length : 1);
            if (op->buffer == nullptr) {
                hocket_op_complete(op, HOCKET_ERR_NO_MEMORY, length);
                continue;
            }
        } else if (length > op->length) {
            hocket_op_complete(op, HOCKET_ERR_INVALID, length);
            continue;
        }
        if (length > 0)
            memcpy(op->buffer, letter->bytes.data(), length);
        peer.letters.erase(letter);
        hocket_op_complete(op, HOCKET_OK, length);
    }
}

/* What arrived is a header, or a piece of a body. */
void MlxTransport::arrived(Peer &peer)
{
    mx::array array = std::move(*peer.arriving);
    peer.arriving.reset();
    array.wait(); /* throws what went wrong */
    const char *bytes = array.data<char>();
    if (peer.in_body) {
        peer.letter.bytes.insert(peer.letter.bytes.end(), bytes, bytes + array.nbytes());
        peer.left -= array.nbytes();
    } else {
        Header header;
        memcpy(&header, bytes, sizeof header);
        if (header.magic != kMagic || header.zero != 0)
            throw Failure(HOCKET_ERR_PROTOCOL,
                          "what arrived over " + name +
                              " is no message of hocket's: on MLX's backends, messages and "
                              "collectives must come in the same order on both sides");
        peer.letter = {header.context, header.tag, {}};
        peer.left = header.length;
    }
    peer.in_body = peer.left > 0;
    if (!peer.in_body) {
        peer.letters.push_back(std::move(peer.letter));
        peer.asked = false;
        deliver(peer);
    }
}

bool MlxTransport::advance_in(int from, Peer &peer)
{
    bool moved = false;
    for (;;) {
        if (peer.arriving) {
            if (!peer.arriving->is_available())
                return moved;
            ended();
            arrived(peer);
            moved = true;
        }
        const bool wanted = peer.in_body || !peer.wanted.empty() || peer.asked;
        if (!wanted || !may_start())
            return moved;
        Lane &lane = lane_for(peer.in);
        size_t next = peer.in_body ? std::min(kPiece, peer.left) : sizeof(Header);
        peer.arriving = mx::distributed::recv({mlx_dimension(static_cast<int64_t>(next))},
                                              mx::uint8, from, engine.group, engine.stream(lane));
        start(lane, *peer.arriving);
    }
}

bool MlxTransport::probe(int from, uint64_t context, uint32_t tag, size_t *length)
{
    Peer &peer = peers_[static_cast<size_t>(from)];
    for (const Letter &letter : peer.letters) {
        if (letter.context == context && letter.tag == tag) {
            *length = letter.bytes.size();
            return true;
        }
    }
    peer.asked = from != rank && engine.no_way_to(from).empty();
    return false;
}

/* === Both ===================================================================================== */

void MlxTransport::cancel(hocket_op *op)
{
    Peer &peer = peers_[static_cast<size_t>(op->peer)];
    std::erase(peer.wanted, op);
    for (auto parcel = peer.parcels.begin(); parcel != peer.parcels.end(); ++parcel) {
        if (parcel->op != op)
            continue;
        /* What MLX has begun it must finish, from the copy. */
        bool begun = parcel == peer.parcels.begin() && peer.leaving;
        parcel->op = nullptr;
        if (begun)
            peer.outstanding += parcel->bytes;
        else
            peer.parcels.erase(parcel);
        return;
    }
}

hocket_status MlxTransport::progress(int64_t wait_ns)
{
    using clock = std::chrono::steady_clock;
    const auto until = clock::now() + std::chrono::nanoseconds(std::min(wait_ns, HOCKET_NAP_NS));
    for (;;) {
        bool moved = false;
        hocket_status status = failed_;
        if (status == HOCKET_OK) {
            status = guard(name.c_str(), [&] {
                for (size_t i = 0; i < peers_.size(); i++) {
                    moved |= advance_out(peers_[i]);
                    moved |= advance_in(static_cast<int>(i), peers_[i]);
                }
            });
            if (status != HOCKET_OK)
                fail(status);
        }
        if (failed_ != HOCKET_OK)
            return hocket_transport_error(failed_, "%s", failure_.c_str());
        if (moved || clock::now() >= until)
            return HOCKET_OK;
        std::this_thread::sleep_for(kLook);
    }
}

/* MLX does not say which rank it lost, and its connections are good for nothing after a failure. */
void MlxTransport::fail(hocket_status status)
{
    failed_ = status;
    failure_ = hocket_last_error();
    for (Peer &peer : peers_) {
        std::deque<hocket_op *> ops = std::move(peer.wanted);
        peer.wanted.clear();
        for (Parcel &parcel : peer.parcels)
            if (parcel.op != nullptr)
                ops.push_back(parcel.op);
        peer.parcels.clear();
        for (hocket_op *op : ops) {
            hocket_transport_error(failed_, "%s", failure_.c_str());
            hocket_op_complete(op, failed_, 0);
        }
    }
}

void MlxTransport::close(bool orderly)
{
    const auto until = std::chrono::steady_clock::now() + kFlush;
    auto unsent = [&] {
        for (const Peer &peer : peers_)
            if (!peer.parcels.empty())
                return true;
        return false;
    };
    while (orderly && failed_ == HOCKET_OK && unsent() && std::chrono::steady_clock::now() < until)
        progress(HOCKET_NAP_NS);
    /* A lane on which MLX still waits for somebody is of no use to anyone else. */
    for (Peer &peer : peers_) {
        if (peer.out != nullptr && !peer.leaving)
            lane_give(*peer.out);
        if (peer.in != nullptr && !peer.arriving)
            lane_give(*peer.in);
    }
    if (shared_ != nullptr && enter())
        lane_give(*shared_);
}

} // namespace hk
