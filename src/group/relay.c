/* The relay: a pipeline whose stages are the ranks.
 *
 * All goes from a rank to the next one, on two lanes: WORK is what a stage makes for the next
 * stage. RESULTS starts at the last stage, goes on to rank 0 and from there around, as far as the
 * last rank but one. n = 3, two batches:
 *
 *     rank 0   run 0   run 1         keep 0, pass it on   keep 1, pass it on
 *     rank 1        \-> run 0  \-> run 1    \-> keep 0           \-> keep 1
 *     rank 2                \-> run 0  \-> run 1
 *                                  \-> to rank 0   \-> to rank 0
 *
 * So the last stage sends a result once, however many ranks want it; rank 0, which makes the next
 * token's input of it, has it first; and a delegate that reaches only neighbours needs nothing
 * else.
 *
 * The loop does what can be done, in this order: let go of what has been sent, pass a result on,
 * run the stage; it waits only when none of these can be done, and then for any of them. A rank
 * that waited for one send to end, while results for it pile up, could close a circle of waiting
 * ranks. As it is, results always drain, since the last to get them keeps them; so the last stage
 * can hand its results over and take work, and so can the stage before it, up to rank 0.
 *
 * A failed stage breaks the group, and the news of that ends the others' waiting. A delegate has no
 * news, and no use for connections with bytes in them that nobody takes. There the failure takes
 * the place of the batch: ranks hand it on instead of what they would have made, of that batch and
 * all later ones, and what the results say first is what failed. */
#include "group/group.h"
#include "wire/bytes.h"

#include <stdlib.h>
#include <string.h>

enum { AHEAD = 4 }; /* receives that are posted ahead, and sends under way, of each lane */

/* Behind the bytes of a piece on its way: its status and, where that is a failure, whose; the bytes
 * are then the reason. */
enum { TRAILER = 8 };

typedef struct lane {
    uint32_t tag;
    int expected;     /* how many pieces come here by it in all */
    int asked, taken; /* receives that were posted, and that were concluded */
    int begun, gone;  /* sends */
    hk_op receives[AHEAD], sends[AHEAD];
    void *owned[AHEAD]; /* to free() when the send has ended */
} lane;

enum { WORK, RESULTS, LANES };

typedef enum step { WAIT, RELEASE, PASS_ON, RUN, DONE } step;

typedef struct relay {
    hk_team *team;
    hk_call *call;
    hk_job job;
    int rank, size, batches;
    bool delegate;
    int run; /* the next batch of the stage */
    step next;
    lane *sent; /* of RELEASE */
    lane lanes[LANES];
    hk_error failure; /* handed on in place of what the stage would make */
    hk_error verdict; /* the first failure among the results: the same on all ranks */
} relay;

/* === What can be done ======================================================================== */

static bool can_send(const lane *l)
{
    return l->begun - l->gone < AHEAD;
}

static bool has_arrived(const lane *l)
{
    return l->taken < l->asked && l->receives[l->taken % AHEAD].base.done;
}

static bool has_gone(const lane *l)
{
    return l->gone < l->begun && l->sends[l->gone % AHEAD].base.done;
}

/* Where this rank's stage sends what it makes; the only rank of a group of one does not. */
static lane *way_out(relay *r)
{
    return &r->lanes[r->rank == r->size - 1 ? RESULTS : WORK];
}

static bool passes_on(const relay *r)
{
    return r->rank < r->size - 2;
}

static bool is_done(const relay *r)
{
    const lane *results = &r->lanes[RESULTS];
    return r->run == r->batches && results->taken == results->expected &&
           r->lanes[WORK].gone == r->lanes[WORK].begun && results->gone == results->begun;
}

static step choose(relay *r)
{
    lane *work = &r->lanes[WORK], *results = &r->lanes[RESULTS];
    r->sent = has_gone(work) ? work : results;
    if (has_gone(r->sent))
        return RELEASE;
    if (has_arrived(results) && (!passes_on(r) || can_send(results)))
        return PASS_ON;
    if (r->run < r->batches && (r->rank == 0 || has_arrived(work)) && can_send(way_out(r)))
        return RUN;
    return is_done(r) ? DONE : WAIT;
}

/* Of hk_await: with the lock held, without which nobody may look whether an operation is done. */
static bool has_next(void *argument)
{
    relay *r = argument;
    r->next = choose(r);
    return r->next != WAIT;
}

/* === Lanes =================================================================================== */

/* Operations of one call between two ranks match in their order; the lanes keep theirs apart by a
 * tag each. */
static hocket_status ask(relay *r, lane *l)
{
    hocket_status status = HOCKET_OK;
    int left = (r->rank + r->size - 1) % r->size;
    r->call->tag = l->tag;
    for (; status == HOCKET_OK && l->asked < l->expected && l->asked - l->taken < AHEAD; l->asked++)
        status = hk_start_take(r->call, &l->receives[l->asked % AHEAD], left);
    return status;
}

static hocket_status send_piece(relay *r, lane *l, const hocket_piece *piece, void *owned)
{
    int slot = l->begun % AHEAD;
    l->owned[slot] = owned;
    l->begun++;
    r->call->tag = l->tag;
    return hk_start_send(r->call, &l->sends[slot], (r->rank + 1) % r->size, piece->bytes,
                         piece->length + TRAILER);
}

static hocket_status release(relay *r)
{
    lane *l = r->sent;
    int slot = l->gone++ % AHEAD;
    free(l->owned[slot]);
    return hk_conclude(r->call, &l->sends[slot]);
}

/* What is posted still when something has failed. */
static void close_lane(lane *l)
{
    for (; l->taken < l->asked; l->taken++) {
        hk_op *op = &l->receives[l->taken % AHEAD];
        hk_take_back(op);
        free(op->base.buffer);
    }
    for (; l->gone < l->begun; l->gone++) {
        hk_take_back(&l->sends[l->gone % AHEAD]);
        free(l->owned[l->gone % AHEAD]);
    }
}

/* === Pieces ================================================================================== */

/* Puts the trailer behind a piece. */
static hocket_status seal(hocket_piece *piece, const hk_error *failure)
{
    uint8_t *bytes = NULL;
    if (piece->length <= SIZE_MAX - TRAILER)
        bytes = realloc(piece->bytes, piece->length + TRAILER);
    if (bytes == NULL)
        return hk_fail_memory(piece->length, "what a stage made");
    piece->bytes = bytes;
    hk_put_u32(bytes + piece->length, (uint32_t)failure->status);
    hk_put_u32(bytes + piece->length + 4, (uint32_t)failure->ranks[0]);
    return HOCKET_OK;
}

/* Reads the trailer. A rank is looked at only in the list of a failure. */
static hocket_status unseal(hocket_piece *piece, size_t received, int size, hk_error *failure)
{
    if (received < TRAILER)
        return hk_fail(HOCKET_ERR_PROTOCOL,
                       "a piece of the relay came with %zu bytes, less than "
                       "the %d behind each",
                       received, TRAILER);
    piece->length = received - TRAILER;
    const uint8_t *bytes = piece->bytes;
    uint32_t status = hk_get_u32(bytes + piece->length);
    uint32_t rank = hk_get_u32(bytes + piece->length + 4);
    if (status > HOCKET_ERR_ABORTED || rank >= (uint32_t)size)
        return hk_fail(HOCKET_ERR_PROTOCOL, "a piece of the relay came with status %u of rank %u",
                       (unsigned)status, (unsigned)rank);
    if (status == HOCKET_OK || failure->status != HOCKET_OK)
        return HOCKET_OK;
    int length = piece->length < HK_ERROR_TEXT_MAX ? (int)piece->length : HK_ERROR_TEXT_MAX - 1;
    hk_error_set(failure, (hocket_status)status, "%.*s", length, (const char *)bytes);
    hk_error_add_rank(failure, (int)rank);
    return HOCKET_OK;
}

/* The next piece of a lane, which is then the caller's. */
static hocket_status take(relay *r, lane *l, hocket_piece *piece, hk_error *failure)
{
    hk_op *op = &l->receives[l->taken++ % AHEAD];
    hocket_status status = hk_conclude(r->call, op);
    r->call->moved += op->base.received;
    piece->bytes = op->base.buffer;
    op->base.buffer = NULL;
    if (status == HOCKET_OK)
        status = unseal(piece, op->base.received, r->size, failure);
    return status == HOCKET_OK ? ask(r, l) : status;
}

/* === The steps =============================================================================== */

static hocket_status pass_on(relay *r)
{
    lane *results = &r->lanes[RESULTS];
    hocket_piece *piece = &r->job.results[results->taken];
    hocket_status status = take(r, results, piece, &r->verdict);
    return status == HOCKET_OK && passes_on(r) ? send_piece(r, results, piece, NULL) : status;
}

/* What the stage said; this thread's last error is as it was before. */
static hocket_status call_stage(relay *r, int batch, const hocket_piece *in, hocket_piece *out)
{
    hk_error before = *hk_error_last(), none = {.status = HOCKET_OK};
    hk_fail_with(&none);
    hocket_status status = r->job.stage(r->job.stage_context, batch, in, out);
    if (status == HOCKET_OK && out->bytes == NULL && out->length > 0)
        status = hk_fail(HOCKET_ERR_INVALID, "it made %zu bytes at NULL", out->length);
    if (status != HOCKET_OK) {
        const char *why = hocket_last_error();
        bool known = status >= HOCKET_ERR_INVALID && status <= HOCKET_ERR_ABORTED;
        hk_error_set(&r->failure, known ? status : HOCKET_ERR_BACKEND,
                     "rank %d's stage failed at batch %d: %s", r->rank, batch,
                     why[0] != '\0' ? why : hocket_status_name(status));
        hk_error_add_rank(&r->failure, r->rank);
    }
    hk_fail_with(&before);
    return status;
}

/* With others in the pipeline, what is under way goes on meanwhile. */
static hocket_status run_stage(relay *r, int batch, const hocket_piece *in, hocket_piece *out)
{
    hk_comm *comm = r->call->comm;
    bool goes_on = r->size > 1 && r->batches > 1;
    hocket_status status = hk_comm_check(comm);
    if (status == HOCKET_OK && goes_on)
        status = hk_background_begin(comm->endpoint);
    if (status != HOCKET_OK)
        return status;
    hk_time began = hk_now();
    status = call_stage(r, batch, in, out);
    r->call->away += hk_now() - began;
    if (goes_on)
        hk_background_end(comm->endpoint);
    if (status == HOCKET_OK || r->delegate)
        return HOCKET_OK;
    return hk_comm_break(comm, &r->failure);
}

/* What the stage made, or the failure, to the next rank. */
static hocket_status hand_over(relay *r, int batch, hocket_piece *out)
{
    bool last = r->rank == r->size - 1;
    hocket_status status = HOCKET_OK;
    if (r->failure.status != HOCKET_OK) {
        free(out->bytes);
        *out = (hocket_piece){.bytes = strdup(r->failure.text), .length = strlen(r->failure.text)};
        if (out->bytes == NULL)
            return hk_fail_memory(out->length, "the reason of a failure");
        if (last && r->verdict.status == HOCKET_OK)
            r->verdict = r->failure;
    }
    if (r->size > 1)
        status = seal(out, &r->failure);
    if (last)
        r->job.results[batch] = *out;
    else if (status != HOCKET_OK)
        free(out->bytes);
    if (status != HOCKET_OK || r->size == 1)
        return status;
    return send_piece(r, way_out(r), out, last ? NULL : out->bytes);
}

static hocket_status run(relay *r)
{
    int batch = r->run++;
    hocket_piece in = {NULL, 0}, out = {NULL, 0};
    hocket_status status = HOCKET_OK;
    if (r->rank == 0)
        in = r->job.inputs[batch];
    else
        status = take(r, &r->lanes[WORK], &in, &r->failure);
    if (status == HOCKET_OK && r->failure.status == HOCKET_OK)
        status = run_stage(r, batch, &in, &out);
    if (r->rank > 0)
        free(in.bytes);
    if (status != HOCKET_OK) {
        free(out.bytes);
        return status;
    }
    return hand_over(r, batch, &out);
}

static hocket_status do_next(relay *r)
{
    switch (r->next) {
    case RELEASE: return release(r);
    case PASS_ON: return pass_on(r);
    default: return run(r);
    }
}

/* === The whole =============================================================================== */

/* On a delegate: all know by now, and nobody leaves before its last bytes have. */
static hocket_status conclude(relay *r)
{
    if (r->verdict.status == HOCKET_OK)
        return HOCKET_OK;
    hk_barrier(r->team, r->call);
    return hk_comm_break(r->call->comm, &r->verdict);
}

static void open_lanes(relay *r)
{
    uint32_t tag = r->call->tag;
    r->lanes[WORK].tag = tag;
    r->lanes[RESULTS].tag = (uint32_t)(hk_mix(tag, RESULTS) >> 32);
    r->lanes[WORK].expected = r->rank > 0 ? r->batches : 0;
    r->lanes[RESULTS].expected = r->rank < r->size - 1 ? r->batches : 0;
}

/* The operations must stay until the call ends: also one that is done leaves its list only then. */
hocket_status hk_relay(hk_team *team, hk_call *call, const hk_job *job)
{
    relay *r = hk_call_scratch(call, sizeof *r);
    if (r == NULL)
        return HOCKET_ERR_NO_MEMORY;
    *r = (relay){.team = team,
                 .call = call,
                 .job = *job,
                 .rank = team->comm->rank,
                 .size = team->comm->size,
                 .batches = (int)job->count,
                 .delegate = hk_endpoint_is_delegate(team->comm->endpoint)};
    open_lanes(r);
    hocket_status status = ask(r, &r->lanes[WORK]);
    if (status == HOCKET_OK)
        status = ask(r, &r->lanes[RESULTS]);
    while (status == HOCKET_OK) {
        status = hk_await(call, has_next, r, -1);
        if (status == HOCKET_OK && r->next == DONE)
            break;
        if (status == HOCKET_OK)
            status = do_next(r);
    }
    if (status == HOCKET_OK)
        status = conclude(r);
    call->waited = call->idle;
    for (int i = 0; i < LANES; i++)
        close_lane(&r->lanes[i]);
    for (int i = 0; i < r->batches && status != HOCKET_OK; i++) {
        free(job->results[i].bytes);
        job->results[i] = (hocket_piece){NULL, 0};
    }
    return status;
}

/* === The functions =========================================================================== */

static hocket_status check(const hocket_group *group, hocket_stage_fn stage,
                           const hocket_piece *inputs, int batches, const hocket_piece *results)
{
    hocket_status status = hk_check_group(group, "relay");
    if (status != HOCKET_OK)
        return status;
    int rank = group->comm->rank, size = group->comm->size;
    if (batches < 0)
        return hk_fail(HOCKET_ERR_INVALID, "relay on rank %d of %d: batches is %d", rank, size,
                       batches);
    const char *missing = stage == NULL                                ? "stage"
                          : batches > 0 && results == NULL             ? "results"
                          : batches > 0 && rank == 0 && inputs == NULL ? "inputs"
                                                                       : NULL;
    if (missing != NULL)
        return hk_fail(HOCKET_ERR_INVALID, "relay on rank %d of %d: %s is NULL", rank, size,
                       missing);
    for (int i = 0; i < batches && rank == 0; i++)
        if (inputs[i].bytes == NULL && inputs[i].length > 0)
            return hk_fail(HOCKET_ERR_INVALID,
                           "relay on rank %d of %d: inputs[%d] has %zu bytes at NULL", rank, size,
                           i, inputs[i].length);
    return HOCKET_OK;
}

static hocket_status start(hocket_group *group, hocket_stage_fn stage, void *context,
                           const hocket_piece *inputs, int batches, hocket_piece *results,
                           hocket_request **request)
{
    hocket_status status = check(group, stage, inputs, batches, results);
    if (status != HOCKET_OK)
        return status;
    for (int i = 0; i < batches; i++)
        results[i] = (hocket_piece){NULL, 0};
    hk_job job = {.operation = HK_RELAY,
                  .count = (size_t)batches,
                  .stage = stage,
                  .stage_context = context,
                  .inputs = inputs,
                  .results = results};
    return hk_submit(group, &job, request);
}

hocket_status hocket_relay(hocket_group *group, hocket_stage_fn stage, void *context,
                           const hocket_piece *inputs, int batches, hocket_piece *results)
{
    return start(group, stage, context, inputs, batches, results, NULL);
}

hocket_status hocket_relay_async(hocket_group *group, hocket_stage_fn stage, void *context,
                                 const hocket_piece *inputs, int batches, hocket_piece *results,
                                 hocket_request **request)
{
    if (request == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "relay_async: request is NULL");
    *request = NULL;
    return start(group, stage, context, inputs, batches, results, request);
}
