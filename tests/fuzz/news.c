/* News: bytes that a peer sends on context 0, and what they do to an endpoint and its groups. A
 * transport in memory hands them over. */
#include "input.h"
#include "transport/mailbox.h"
#include "transport/state.h"

enum { SELF = 1, WORLD = 4, NEWS_BYTES = 2400, KINDS = 9, COMMS = 3 };

/* === A transport in memory ==================================================================== */

typedef struct memory {
    hk_mailbox box;
    bool gone[WORLD];
    bool slow;       /* sends stay posted until the end */
    hocket_op *sent; /* linked by next */
} memory;

static int memory_rank(void *self)
{
    (void)self;
    return SELF;
}

static int memory_world_size(void *self)
{
    (void)self;
    return WORLD;
}

static hocket_status memory_post(void *self, hocket_op *op)
{
    memory *m = self;
    FUZZ_CHECK(op->peer >= 0 && op->peer < WORLD && op->peer != SELF);
    if (op->kind == HOCKET_OP_RECV)
        return hk_mailbox_post(&m->box, op);
    FUZZ_CHECK(op->length <= NEWS_BYTES);
    if (!m->slow) {
        hocket_op_complete(op, m->gone[op->peer] ? HOCKET_ERR_PEER_LOST : HOCKET_OK, 0);
    } else {
        op->next = m->sent;
        m->sent = op;
    }
    return HOCKET_OK;
}

static void memory_cancel(void *self, hocket_op *op)
{
    memory *m = self;
    if (op->kind == HOCKET_OP_RECV) {
        hk_mailbox_cancel(&m->box, op);
        return;
    }
    hocket_op **link = &m->sent;
    while (*link != op)
        link = &(*link)->next;
    *link = op->next;
}

static hocket_status memory_progress(void *self, int64_t wait_ns)
{
    memory *m = self;
    (void)wait_ns;
    while (!m->slow && m->sent != NULL) {
        hocket_op *op = m->sent;
        m->sent = op->next;
        hocket_op_complete(op, HOCKET_OK, 0);
    }
    return HOCKET_OK;
}

static bool memory_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    return hk_mailbox_probe(&((memory *)self)->box, from, context, tag, length);
}

static void memory_close(void *self, bool orderly)
{
    (void)orderly;
    hk_mailbox_fini(&((memory *)self)->box);
}

static const hocket_transport transport = {
    .size = sizeof(hocket_transport),
    .name = "memory",
    .rank = memory_rank,
    .world_size = memory_world_size,
    .post = memory_post,
    .cancel = memory_cancel,
    .progress = memory_progress,
    .probe = memory_probe,
    .close = memory_close,
};

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    (void)owner;
    (void)from;
    (void)context;
    (void)bytes;
}

/* === What arrives ============================================================================= */

static void deliver(memory *m, int from, const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length + 1);
    bool done;
    if (m->gone[from] || from == SELF) {
        free(copy);
        return;
    }
    memcpy(copy, bytes, length);
    FUZZ_CHECK(hk_mailbox_arrive(&m->box, from, HK_CONTEXT_NEWS, 0, length, 0, copy, &done));
}

static void deliver_raw(memory *m, fuzz_input *input)
{
    uint8_t bytes[NEWS_BYTES];
    int from = fuzz_byte(input) % WORLD;
    size_t length = fuzz_number(input, 2) % sizeof bytes;
    deliver(m, from, bytes, fuzz_take(input, bytes, length));
}

static void append(uint8_t *bytes, size_t *used, uint64_t number, size_t size)
{
    memcpy(bytes + *used, &number, size); /* in memory's order, as news is */
    *used += size;
}

/* News of the right shape, as news.c lays it out. */
static void deliver_shaped(memory *m, fuzz_input *input)
{
    uint8_t bytes[NEWS_BYTES], how = fuzz_byte(input), text = fuzz_byte(input);
    uint32_t ranks = how >> 5;
    size_t used = 0;
    append(bytes, &used, fuzz_byte(input) % KINDS, 4);
    append(bytes, &used, how & 4 ? fuzz_number(input, 4) : fuzz_byte(input) % 12, 4);
    append(bytes, &used, how & 8 ? fuzz_number(input, 8) : fuzz_byte(input) % (COMMS + 2), 8);
    append(bytes, &used, how & 16 ? fuzz_number(input, 8) : fuzz_byte(input) % 4, 8);
    append(bytes, &used, fuzz_number(input, 4), 4);
    append(bytes, &used, ranks, 4);
    append(bytes, &used, text, 4);
    append(bytes, &used, 0, 4);
    for (uint32_t i = 0; i < ranks; i++)
        append(bytes, &used, (uint64_t)(int64_t)(int8_t)fuzz_byte(input), 4);
    memset(bytes + used, 'x', text);
    fuzz_take(input, bytes + used, text);
    deliver(m, how % WORLD, bytes, used + text);
}

static void lose(memory *m, int peer)
{
    if (peer == SELF)
        return;
    m->gone[peer] = true;
    hk_mailbox_peer_gone(&m->box, peer);
}

/* === What this rank does ====================================================================== */

typedef struct world {
    memory memory;
    hk_endpoint *endpoint;
    hk_comm *comms[COMMS]; /* contexts 1, 2, 3; the first stays open */
    uint64_t number;
} world;

static void open_or_close(world *w, int at)
{
    static const int members[COMMS][WORLD] = {{0, 1, 2, 3}, {3, 1}, {0, 1, 2}};
    static const int sizes[COMMS] = {WORLD, 2, 3};
    if (w->comms[at] != NULL && at > 0) {
        hk_comm_close(w->comms[at]);
        w->comms[at] = NULL;
    } else if (w->comms[at] == NULL) {
        uint64_t context = HK_CONTEXT_WORLD + (uint64_t)at;
        FUZZ_CHECK(hk_comm_open(w->endpoint, context, members[at], sizes[at], &w->comms[at]) ==
                   HOCKET_OK);
    }
}

static void check(hk_comm *comm)
{
    hocket_status status = hk_comm_check(comm);
    FUZZ_CHECK(status >= HOCKET_OK && status <= HOCKET_ERR_ABORTED);
    if (status == HOCKET_OK)
        return;
    FUZZ_CHECK(memchr(comm->fault.text, 0, sizeof comm->fault.text) != NULL);
    for (int i = 0; i < comm->fault.rank_count && i < HK_ERROR_RANKS_MAX; i++)
        FUZZ_CHECK(comm->fault.ranks[i] >= 0 && comm->fault.ranks[i] < comm->size);
}

static void begin(world *w, hk_comm *comm, bool ask)
{
    hk_what what = {.kind = hk_kind(HK_ALL_REDUCE, 0, -1, 0), .number = ++w->number, .count = 3};
    hk_call call;
    hk_time now = hk_now();
    hk_call_begin(&call, comm, &what, 0, now, now);
    hk_endpoint_lock(w->endpoint);
    if (ask)
        hk_news_roll_call(comm, &what);
    hk_endpoint_unlock(w->endpoint);
    hk_call_end(&call, HOCKET_OK);
}

static void break_it(hk_comm *comm)
{
    hk_error error;
    hk_error_set(&error, HOCKET_ERR_ABORTED, "enough");
    hk_error_add_rank(&error, comm->rank);
    hk_comm_break(comm, &error);
}

static void step(world *w, fuzz_input *input)
{
    uint8_t what = fuzz_byte(input);
    hk_comm *comm = w->comms[what >> 4 & 1];
    if (comm == NULL)
        comm = w->comms[0];
    switch (what & 15) {
    case 0: deliver_raw(&w->memory, input); break;
    case 1: lose(&w->memory, what >> 4 & 3); break;
    case 2:
    case 3: open_or_close(w, what >> 4 & 1 ? 1 : 2); break;
    case 4: begin(w, comm, what & 32); break;
    case 5: w->memory.slow = what & 16; break;
    case 6:
        if (what == 6)
            break_it(comm);
        break;
    case 7: check(comm); break;
    default: deliver_shaped(&w->memory, input); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    static world w;
    memset(&w, 0, sizeof w);
    w.memory.box = (hk_mailbox){.owner = &w, .gone = w.memory.gone, .read = was_read};
    FUZZ_CHECK(hk_endpoint_open(&transport, &w.memory, &w.endpoint) == HOCKET_OK);
    open_or_close(&w, 0);
    while (input.left > 0)
        step(&w, &input);
    for (int i = 0; i < COMMS; i++)
        if (w.comms[i] != NULL)
            check(w.comms[i]);
    w.memory.slow = false;
    for (int i = COMMS - 1; i >= 0; i--)
        hk_comm_close(w.comms[i]);
    return 0;
}
