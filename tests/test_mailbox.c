/* The mailbox: which receive gets which message, and what is left when either is taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "transport/mailbox.h"
#include "transport/state.h"

#define NO_SUCH_LENGTH ((size_t)PTRDIFF_MAX) /* malloc never has as much */

enum { FROM = 1, OTHER = 2, PEERS = 3, CONTEXT = 7, TAG = 9 };

static hk_endpoint endpoint; /* the owner of the operations */

typedef struct fixture {
    hk_mailbox box;
    bool gone[PEERS];
    hk_message *claimed; /* the last announced message that was */
    int claims;
    size_t read; /* bytes reported as read */
    int reads;
    int drops; /* of announced messages */
} fixture;

static void claimed(void *owner, hk_message *message)
{
    fixture *f = owner;
    f->claimed = message;
    f->claims++;
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    fixture *f = owner;
    assert_true(from > 0 && from < PEERS && context >= CONTEXT);
    f->read += bytes;
    f->reads++;
}

static void dropped(void *owner, hk_message *message)
{
    fixture *f = owner;
    assert_int_not_equal(message->ticket, 0);
    f->drops++;
}

static int set_up(void **state)
{
    static fixture f;
    memset(&f, 0, sizeof f);
    f.box = (hk_mailbox){
        .owner = &f, .gone = f.gone, .claimed = claimed, .read = was_read, .dropped = dropped};
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    hk_mailbox_fini(&f->box);
    return 0;
}

/* === Shorthands =============================================================================== */

static void post_from(fixture *f, hocket_op *op, int from, uint64_t context, uint32_t tag,
                      void *buffer, size_t length)
{
    *op = (hocket_op){.kind = HOCKET_OP_RECV,
                      .peer = from,
                      .context = context,
                      .tag = tag,
                      .buffer = buffer,
                      .length = length,
                      .owner = &endpoint};
    assert_int_equal(hk_mailbox_post(&f->box, op), HOCKET_OK);
}

static void post(fixture *f, hocket_op *op, void *buffer, size_t length)
{
    post_from(f, op, FROM, CONTEXT, TAG, buffer, length);
}

static void post_take(fixture *f, hocket_op *op)
{
    *op = (hocket_op){.kind = HOCKET_OP_RECV,
                      .peer = FROM,
                      .context = CONTEXT,
                      .tag = TAG,
                      .take = true,
                      .owner = &endpoint};
    assert_int_equal(hk_mailbox_post(&f->box, op), HOCKET_OK);
}

/* NULL: it is whole, or was handed over whole. */
static hk_message *begin(fixture *f, size_t length, uint64_t ticket)
{
    bool done;
    hk_message *message =
        hk_mailbox_arrive(&f->box, FROM, CONTEXT, TAG, length, ticket, NULL, &done);
    assert_non_null(message);
    assert_int_equal(done, ticket != 0 || length == 0);
    return done ? NULL : message;
}

static bool feed(hk_message *message, const char *bytes)
{
    size_t count = strlen(bytes);
    memcpy(hk_message_space(message), bytes, count);
    return hk_mailbox_arrived(message, count);
}

static void arrive_from(fixture *f, int from, uint64_t context, uint32_t tag, const char *text)
{
    bool done;
    hk_message *message =
        hk_mailbox_arrive(&f->box, from, context, tag, strlen(text), 0, NULL, &done);
    assert_non_null(message);
    if (!done)
        feed(message, text);
}

static void arrive(fixture *f, const char *text)
{
    arrive_from(f, FROM, CONTEXT, TAG, text);
}

static void assert_got(const hocket_op *op, const char *text)
{
    assert_true(op->done);
    assert_int_equal(op->status, HOCKET_OK);
    assert_int_equal(op->received, strlen(text));
    assert_memory_equal(op->buffer, text, strlen(text));
}

static void assert_ended(const hocket_op *op, hocket_status status)
{
    assert_true(op->done);
    assert_int_equal(op->status, status);
}

static bool is_there(fixture *f, size_t *length)
{
    return hk_mailbox_probe(&f->box, FROM, CONTEXT, TAG, length);
}

/* === Order ==================================================================================== */

static void the_oldest_goes_to_the_oldest(void **state)
{
    fixture *f = *state;
    char buffers[4][8];
    hocket_op ops[4];
    arrive(f, "one");
    arrive(f, "two");
    for (int i = 0; i < 4; i++)
        post(f, &ops[i], buffers[i], sizeof buffers[i]);
    assert_false(ops[2].done || ops[3].done);
    arrive(f, "three");
    arrive(f, "four");
    static const char *const texts[] = {"one", "two", "three", "four"};
    for (int i = 0; i < 4; i++)
        assert_got(&ops[i], texts[i]);
    assert_int_equal(f->reads, 4);
    assert_int_equal(f->read, 15 + 4 * HK_MESSAGE_COST);
}

static void lanes_are_apart(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op op;
    post(f, &op, buffer, sizeof buffer);
    arrive_from(f, OTHER, CONTEXT, TAG, "peer");
    arrive_from(f, FROM, CONTEXT + 1, TAG, "context");
    arrive_from(f, FROM, CONTEXT, TAG + 1, "tag");
    assert_false(op.done);
    arrive(f, "right");
    assert_got(&op, "right");
    post_from(f, &op, FROM, CONTEXT, TAG + 1, buffer, sizeof buffer);
    assert_got(&op, "tag");
    post_from(f, &op, FROM, CONTEXT + 1, TAG, buffer, sizeof buffer);
    assert_got(&op, "context");
    post_from(f, &op, OTHER, CONTEXT, TAG, buffer, sizeof buffer);
    assert_got(&op, "peer");
}

/* === Lengths ================================================================================== */

static void a_receive_that_is_too_small_learns_the_length(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op op;
    size_t length;
    arrive(f, "longer");
    post(f, &op, buffer, 5);
    assert_ended(&op, HOCKET_ERR_INVALID);
    assert_int_equal(op.received, 6);
    assert_true(is_there(f, &length));
    assert_int_equal(length, 6);
    post(f, &op, buffer, 6);
    assert_got(&op, "longer");
    assert_false(is_there(f, &length));
}

static void one_that_waits_too_small_lets_the_next_have_it(void **state)
{
    fixture *f = *state;
    char small[3], large[8];
    hocket_op ops[2];
    post(f, &ops[0], small, sizeof small);
    post(f, &ops[1], large, sizeof large);
    arrive(f, "longer");
    assert_ended(&ops[0], HOCKET_ERR_INVALID);
    assert_int_equal(ops[0].received, 6);
    assert_got(&ops[1], "longer");
}

static void empty_messages_are_messages(void **state)
{
    fixture *f = *state;
    hocket_op op;
    size_t length = 1;
    arrive(f, "");
    assert_true(is_there(f, &length));
    assert_int_equal(length, 0);
    post(f, &op, NULL, 0);
    assert_ended(&op, HOCKET_OK);
    assert_int_equal(op.received, 0);
    post(f, &op, NULL, 0);
    assert_false(op.done);
    arrive(f, "");
    assert_ended(&op, HOCKET_OK);
    post_take(f, &op);
    arrive(f, "");
    assert_ended(&op, HOCKET_OK);
    assert_non_null(op.buffer);
    free(op.buffer);
}

static void taking_needs_no_length(void **state)
{
    fixture *f = *state;
    hocket_op op;
    arrive(f, "unread");
    post_take(f, &op);
    assert_got(&op, "unread");
    free(op.buffer);
    post_take(f, &op);
    arrive(f, "awaited");
    assert_got(&op, "awaited");
    free(op.buffer);
    hk_message *message = begin(f, 6, 0);
    feed(message, "hal");
    post_take(f, &op);
    assert_false(op.done);
    assert_true(feed(message, "ves"));
    assert_got(&op, "halves");
    free(op.buffer);
}

/* === Taking back ============================================================================== */

static void what_was_claimed_is_unread_again_and_first(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op op, taken;
    post(f, &op, buffer, sizeof buffer);
    hk_message *message = begin(f, 6, 0);
    feed(message, "fir");
    hk_mailbox_cancel(&f->box, &op);
    memset(buffer, 0, sizeof buffer);
    assert_false(feed(message, "st!"));
    arrive(f, "second");
    assert_false(op.done);
    post_take(f, &taken);
    assert_got(&taken, "first!");
    free(taken.buffer);
    post(f, &op, buffer, sizeof buffer);
    assert_got(&op, "second");
}

static void taking_can_be_taken_back(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op op;
    post_take(f, &op);
    hk_message *message = begin(f, 4, 0);
    feed(message, "ab");
    hk_mailbox_cancel(&f->box, &op);
    assert_null(op.buffer);
    feed(message, "cd");
    post(f, &op, buffer, sizeof buffer);
    assert_got(&op, "abcd");
}

/* The second receive had waited behind the first, beside the message, for ever. */
static void the_next_in_the_row_gets_it(void **state)
{
    fixture *f = *state;
    char buffers[3][8];
    hocket_op ops[3];
    post(f, &ops[0], buffers[0], 8);
    post(f, &ops[1], buffers[1], 2);
    post(f, &ops[2], buffers[2], 8);
    hk_message *message = begin(f, 4, 0);
    feed(message, "ab");
    hk_mailbox_cancel(&f->box, &ops[0]);
    assert_ended(&ops[1], HOCKET_ERR_INVALID);
    assert_true(feed(message, "cd"));
    assert_got(&ops[2], "abcd");
    assert_int_equal(f->reads, 1); /* the sender hears of it once */
    assert_int_equal(f->read, hk_mailbox_cost(4));
}

static void a_waiting_receive_leaves_no_trace(void **state)
{
    fixture *f = *state;
    char buffers[3][8];
    hocket_op ops[3];
    for (int i = 0; i < 3; i++)
        post(f, &ops[i], buffers[i], 8);
    hk_mailbox_cancel(&f->box, &ops[1]);
    arrive(f, "one");
    arrive(f, "two");
    assert_got(&ops[0], "one");
    assert_false(ops[1].done);
    assert_got(&ops[2], "two");
}

/* The message cannot be kept: nobody gets it, its bytes pass by, the next one is whole. */
static void a_message_without_memory_is_lost_alone(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op first, second;
    post(f, &first, buffer, NO_SUCH_LENGTH);
    hk_message *message = begin(f, NO_SUCH_LENGTH, 0);
    hk_mailbox_cancel(&f->box, &first);
    post_take(f, &second);
    assert_ended(&second, HOCKET_ERR_NO_MEMORY);
    assert_null(hk_message_space(message));
    assert_false(hk_mailbox_arrived(message, NO_SUCH_LENGTH));
    post(f, &first, buffer, sizeof buffer);
    assert_false(first.done);
    arrive(f, "next");
    assert_got(&first, "next");
}

/* === Announced messages ======================================================================= */

static void an_announced_message_is_asked_for_when_claimed(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op op;
    size_t length;
    begin(f, 4, 11);
    assert_int_equal(f->claims, 0);
    assert_true(is_there(f, &length));
    assert_int_equal(length, 4);
    assert_non_null(hk_mailbox_announced(&f->box, FROM, 11));
    assert_null(hk_mailbox_announced(&f->box, OTHER, 11));
    assert_null(hk_mailbox_announced(&f->box, FROM, 12));
    post(f, &op, buffer, sizeof buffer);
    assert_int_equal(f->claims, 1);
    assert_false(op.done);
    assert_true(feed(f->claimed, "long"));
    assert_got(&op, "long");
    assert_int_equal(f->reads, 0); /* its sender did not count it */
}

static void a_withdrawn_message_was_never_there(void **state)
{
    fixture *f = *state;
    char buffers[2][8];
    hocket_op ops[2];
    size_t length;
    begin(f, 4, 11);
    hk_mailbox_withdraw(&f->box, hk_mailbox_announced(&f->box, FROM, 11));
    assert_false(is_there(f, &length));
    post(f, &ops[0], buffers[0], 8);
    post(f, &ops[1], buffers[1], 8);
    begin(f, 4, 12);
    hk_mailbox_withdraw(&f->box, f->claimed); /* the receive waits again, still the first */
    assert_false(ops[0].done || ops[1].done);
    arrive(f, "one");
    arrive(f, "two");
    assert_got(&ops[0], "one");
    assert_got(&ops[1], "two");
}

static void a_withdrawn_message_leaves_the_next(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op op;
    post(f, &op, buffer, sizeof buffer);
    begin(f, 4, 11);
    arrive(f, "next");
    assert_false(op.done);
    hk_mailbox_withdraw(&f->box, f->claimed);
    assert_got(&op, "next");
}

/* It had been freed when it was claimed again, while its sender was still asked for it. */
static void an_empty_announced_message_ends_with_its_answer(void **state)
{
    fixture *f = *state;
    hocket_op op;
    begin(f, 0, 11);
    post(f, &op, NULL, 0);
    hk_message *asked = f->claimed;
    hk_mailbox_cancel(&f->box, &op);
    post(f, &op, NULL, 0);
    assert_false(op.done);
    assert_int_equal(f->claims, 1);
    assert_true(hk_mailbox_arrived(asked, 0));
    assert_ended(&op, HOCKET_OK);
}

/* === Gone ===================================================================================== */

static void a_peer_that_is_gone_takes_its_receives_along(void **state)
{
    fixture *f = *state;
    char buffers[4][8];
    hocket_op waiting, partial, taking, other;
    arrive_from(f, FROM, CONTEXT, TAG + 2, "whole");
    begin(f, 4, 11);
    post_from(f, &waiting, FROM, CONTEXT, TAG + 1, buffers[0], 8);
    post_from(f, &other, OTHER, CONTEXT, TAG, buffers[1], 8);
    post(f, &partial, buffers[2], 8);
    post_take(f, &taking);
    f->gone[FROM] = true;
    hk_mailbox_drop(&f->box, f->claimed);
    hk_mailbox_peer_gone(&f->box, FROM);
    assert_ended(&waiting, HOCKET_ERR_PEER_LOST);
    assert_ended(&partial, HOCKET_ERR_PEER_LOST);
    assert_ended(&taking, HOCKET_ERR_PEER_LOST);
    assert_null(taking.buffer);
    assert_false(other.done);
    post_from(f, &waiting, FROM, CONTEXT, TAG + 2, buffers[3], 8); /* what came before counts */
    assert_got(&waiting, "whole");
    post_from(f, &waiting, FROM, CONTEXT, TAG + 2, buffers[3], 8);
    assert_ended(&waiting, HOCKET_ERR_PEER_LOST);
    arrive_from(f, OTHER, CONTEXT, TAG, "alive");
    assert_got(&other, "alive");
}

/* === Forgotten ================================================================================ */

static int lanes(const fixture *f)
{
    int count = 0;
    for (int i = 0; i < HK_MAILBOX_BUCKETS; i++)
        count += f->box.buckets[i] != NULL;
    return count;
}

static void a_forgotten_context_leaves_nothing(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op other, waiting;
    size_t length;
    arrive(f, "one");
    arrive(f, "two");
    arrive_from(f, OTHER, CONTEXT, TAG + 1, "three");
    begin(f, 4, 11); /* announced */
    begin(f, 0, 0);
    arrive_from(f, FROM, CONTEXT + 1, TAG, "stays");
    post_from(f, &waiting, OTHER, CONTEXT + 1, TAG, buffer, 8);
    hk_mailbox_forget(&f->box, CONTEXT);
    assert_false(is_there(f, &length));
    assert_int_equal(lanes(f), 2);
    assert_int_equal(f->drops, 1);
    assert_null(hk_mailbox_announced(&f->box, FROM, 11));
    arrive_from(f, OTHER, CONTEXT + 1, TAG, "here");
    assert_got(&waiting, "here");
    post_from(f, &other, FROM, CONTEXT + 1, TAG, buffer, 8);
    assert_got(&other, "stays");
    assert_int_equal(lanes(f), 0);
    assert_int_equal(f->reads, 2); /* nobody reads what is forgotten */
}

static void what_is_on_its_way_into_a_forgotten_context_passes_by(void **state)
{
    fixture *f = *state;
    char buffer[8];
    hocket_op op;
    hk_message *partial = begin(f, 4, 0);
    feed(partial, "ab");
    begin(f, 4, 11);
    post_take(f, &op);
    hk_mailbox_cancel(&f->box, &op);
    post(f, &op, buffer, sizeof buffer);
    hk_mailbox_cancel(&f->box, &op);
    hk_mailbox_forget(&f->box, CONTEXT);
    assert_int_equal(lanes(f), 0);
    assert_null(hk_message_space(partial));
    assert_false(hk_mailbox_arrived(partial, 2)); /* and is freed: leak checkers look */
    begin(f, 4, 12);
    post(f, &op, buffer, sizeof buffer);
    hk_mailbox_cancel(&f->box, &op);
    hk_message *asked = f->claimed;
    hk_mailbox_forget(&f->box, CONTEXT);
    assert_null(hk_message_space(asked));
    assert_false(hk_mailbox_arrived(asked, 4));
    assert_int_equal(f->drops, 1); /* asked for, the second was none of the announced any more */
}

static void announced_messages_are_let_go_of(void **state)
{
    fixture *f = *state;
    begin(f, 4, 11);
    hk_mailbox_withdraw(&f->box, hk_mailbox_announced(&f->box, FROM, 11));
    assert_int_equal(f->drops, 1);
    begin(f, 4, 12);
    hk_mailbox_peer_gone(&f->box, FROM);
    assert_int_equal(f->drops, 2);
    begin(f, 4, 13);
    hk_mailbox_fini(&f->box);
    assert_int_equal(f->drops, 3);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_oldest_goes_to_the_oldest),
        CASE(lanes_are_apart),
        CASE(a_receive_that_is_too_small_learns_the_length),
        CASE(one_that_waits_too_small_lets_the_next_have_it),
        CASE(empty_messages_are_messages),
        CASE(taking_needs_no_length),
        CASE(what_was_claimed_is_unread_again_and_first),
        CASE(taking_can_be_taken_back),
        CASE(the_next_in_the_row_gets_it),
        CASE(a_waiting_receive_leaves_no_trace),
        CASE(a_message_without_memory_is_lost_alone),
        CASE(an_announced_message_is_asked_for_when_claimed),
        CASE(a_withdrawn_message_was_never_there),
        CASE(a_withdrawn_message_leaves_the_next),
        CASE(an_empty_announced_message_ends_with_its_answer),
        CASE(a_peer_that_is_gone_takes_its_receives_along),
        CASE(a_forgotten_context_leaves_nothing),
        CASE(what_is_on_its_way_into_a_forgotten_context_passes_by),
        CASE(announced_messages_are_let_go_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
