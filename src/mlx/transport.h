/* The transport `mlx`: a world of MLX's own distributed module under a group of hocket's. */
#ifndef HK_MLX_TRANSPORT_H
#define HK_MLX_TRANSPORT_H

#include "mlx/engine.h"

#include <hocket/transport.h>

#include <deque>
#include <memory>

namespace hk
{

/* A message that has arrived and that nobody has asked for. */
struct Letter {
    uint64_t context;
    uint32_t tag;
    std::vector<char> bytes;
};

/* A message on its way out: a header and pieces, each an array of bytes that MLX sends. */
struct Parcel {
    std::deque<mx::array> pieces;
    hocket_op *op; /* NULL when it has been completed already */
    size_t bytes;
};

/* The messages of one other rank. */
struct Peer {
    Lane *out = nullptr, *in = nullptr;
    std::deque<Parcel> parcels;
    std::optional<mx::array> leaving; /* the piece that MLX is sending */
    size_t outstanding = 0;           /* bytes of completed sends that have not left */

    std::deque<hocket_op *> wanted;    /* posted receives, oldest first */
    bool asked = false;                /* a probe wants the next message */
    std::deque<Letter> letters;        /* oldest first */
    std::optional<mx::array> arriving; /* what MLX is receiving */
    bool in_body = false;              /* a piece of a body, not a header */
    Letter letter;                     /* whose body is arriving */
    size_t left = 0;                   /* bytes of it to come */
};

class MlxTransport
{
public:
    explicit MlxTransport(Engine engine);

    const Engine engine;
    const std::string name;
    const int rank, size;
    hocket_transport vtable; /* with name */

    hocket_status post(hocket_op *op);
    void cancel(hocket_op *op);
    hocket_status progress(int64_t wait_ns);
    bool probe(int from, uint64_t context, uint32_t tag, size_t *length);
    void close(bool orderly);

    /* Collectives use the same connections as messages. enter is true when none is on its way; from
     * then to leave, none is started. From any thread. */
    bool enter();
    void leave();

private:
    bool advance_out(Peer &peer);
    bool advance_in(int from, Peer &peer);
    void arrived(Peer &peer);
    void deliver(Peer &peer);
    void fail(hocket_status status);
    Lane &lane_for(Lane *&slot);
    bool may_start();
    void ended();
    void start(Lane &lane, const mx::array &array);

    std::vector<Peer> peers_;
    Lane *shared_ = nullptr; /* where MLX's backend wants one thread */
    std::mutex connections_;
    int busy_ = 0;        /* pieces that MLX is moving */
    int collectives_ = 0; /* that run */
    hocket_status failed_ = HOCKET_OK;
    std::string failure_;
};

/* The native collectives of MlxTransport (native.cpp). */
extern const hocket_collectives mlx_collectives;

} // namespace hk

#endif
