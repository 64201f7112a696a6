/* What a message costs: calls of libibverbs and bytes at each end, against the table "Straight into
 * memory" of docs/verbs.md. Messages go one way and one at a time; between them the ranks, threads
 * with a device each, wait for each other without hocket. Prints the table. */
#include "harness.h"
#include "transport/link.h"
#include "transport/verbs/stream.h"
#include "verbs_help.h"

enum { MESSAGES = 48, SENDER = 0, RECEIVER = 1, TAG = 7 };

/* Of the streams and links, as docs/verbs.md has them. */
#define SMALL_FRAME ((size_t)4 * 1024 - HK_STREAM_HEAD)
#define BULK_FRAME ((size_t)32 * 1024 - HK_STREAM_HEAD)
#define BULK_LEAST ((size_t)12 * 1024)
#define WRITTEN_AT_ONCE ((size_t)256 * 1024) /* to a stream, and by the device */
#define INLINE_MOST 256
#define SMALL_TOLD 24 /* frames taken until the receiver says so, where nothing else does */
#define BULK_TOLD 8
#define REPEAT_SECONDS 0.01 /* UC: what is not acknowledged after that is repeated */

static const size_t sizes[] = {4, 1024, 4096, 16384, 65536, 1 << 20};

typedef struct ends { /* counts of both ranks */
    unsigned long of[2][FAKE_COUNTS];
} ends;

struct memory {
    bool known; /* to the device */
    void *bytes;
};

/* === Counting ================================================================================= */

static void count(ends *now)
{
    verbs_counts_of(SENDER, now->of[SENDER]);
    verbs_counts_of(RECEIVER, now->of[RECEIVER]);
}

static ends since(const ends *begin)
{
    ends now;
    count(&now);
    for (int end = 0; end < 2; end++)
        for (int i = 0; i < FAKE_COUNTS; i++)
            now.of[end][i] -= begin->of[end][i];
    return now;
}

/* Both ranks are here, for the n-th time. */
static void meet(struct member *me, int *n)
{
    me->shared[me->rank] = ++*n;
    double until = seconds_now() + 20 * harness_slowness();
    while (me->shared[1 - me->rank] < *n) {
        CHECK_THAT(seconds_now() < until, "rank %d does not come", 1 - me->rank);
        sleep_seconds(0.00002);
    }
}

/* The receive waits before the message is sent. */
static void move(struct member *me, const struct memory *memory, size_t size, int *met)
{
    hocket_request *receive = NULL;
    size_t got = 0;
    if (me->rank == RECEIVER)
        CHECK_OK(
            hocket_recv_into_async(me->world, SENDER, TAG, memory->bytes, size, &got, &receive));
    meet(me, met);
    if (me->rank == SENDER) {
        CHECK_OK(hocket_send_bytes(me->world, RECEIVER, TAG, memory->bytes, size));
    } else {
        CHECK_OK(hocket_wait(receive));
        CHECK_INT(size, got);
    }
    meet(me, met);
}

/* === What must be so ========================================================================== */

typedef struct frames { /* of the bytes that one message adds to the stream */
    unsigned long small, bulk, inlined;
} frames;

static frames count_frames(size_t size)
{
    frames all = {0, 0, 0};
    for (size_t left = size + HK_FRAME_BYTES; left > 0;) {
        size_t most = left >= BULK_LEAST ? BULK_FRAME : SMALL_FRAME;
        size_t bytes = left < most ? left : most;
        *(left >= BULK_LEAST ? &all.bulk : &all.small) += 1;
        all.inlined += bytes + HK_STREAM_HEAD <= INLINE_MOST;
        left -= bytes;
    }
    return all;
}

/* Above what is written at once more small ones, as the pieces end where they end. */
static unsigned long slack_frames(size_t size)
{
    const unsigned long most = (BULK_LEAST + SMALL_FRAME - 1) / SMALL_FRAME;
    return size > WRITTEN_AT_ONCE ? most * (size / WRITTEN_AT_ONCE + 1) : 0;
}

static void check_range(const char *what, unsigned long least, unsigned long most,
                        unsigned long got)
{
    CHECK_THAT(got >= least && got <= most, "%s: %lu, not %lu to %lu", what, got, least, most);
}

/* What the receiver says of messages that have been read (link.c). */
static unsigned long most_reads(size_t size)
{
    return hk_mailbox_cost(size) * MESSAGES / HK_LINK_CREDIT_BYTES + 1;
}

/* By the stream: each frame a send and a receive, all bytes once. Acknowledgements are frames of
 * the receiver's; over UC it may send one for each frame, and what it does not acknowledge in time,
 * as between messages it makes no calls, comes again. */
static void check_copied(const ends *c, size_t size, bool reliable, double seconds)
{
    const unsigned long *out = c->of[SENDER], *in = c->of[RECEIVER];
    const frames each = count_frames(size);
    unsigned long slack = slack_frames(size) * MESSAGES;
    unsigned long small = each.small * MESSAGES, bulk = each.bulk * MESSAGES;
    unsigned long told = (small + slack) / SMALL_TOLD + bulk / BULK_TOLD + 1 + most_reads(size);
    unsigned long repeats = reliable ? 0 : (unsigned long)(seconds / REPEAT_SECONDS) + 1;
    unsigned long bytes = (size + HK_FRAME_BYTES) * MESSAGES;
    check_range("sends", small + bulk, small + bulk + slack + repeats, out[FAKE_SENDS]);
    check_range("receives posted again", small + bulk, out[FAKE_SENDS], in[FAKE_RECEIVES]);
    check_range("acknowledgements", 0, reliable ? told : in[FAKE_RECEIVES] + 1 + most_reads(size),
                in[FAKE_SENDS]);
    check_range("writes", 0, 0, out[FAKE_WRITES] + in[FAKE_WRITES]);
    check_range("reads", 0, 0, out[FAKE_READS] + in[FAKE_READS]);
    if (reliable)
        CHECK_INT(bytes + out[FAKE_SENDS] * HK_STREAM_HEAD, out[FAKE_SEND_BYTES]);
    if (reliable && slack == 0)
        CHECK_INT(each.inlined * MESSAGES, out[FAKE_INLINED]);
}

/* By the device: OFFER and WRITTEN there, HERE back, the pieces, and the read behind them. */
static void check_straight(const ends *c, size_t size)
{
    const unsigned long *out = c->of[SENDER], *in = c->of[RECEIVER];
    unsigned long pieces = (size + WRITTEN_AT_ONCE - 1) / WRITTEN_AT_ONCE;
    CHECK_INT(2 * MESSAGES, out[FAKE_SENDS]);
    CHECK_INT(2 * MESSAGES, in[FAKE_RECEIVES]);
    check_range("answers", MESSAGES, MESSAGES + most_reads(size), in[FAKE_SENDS]);
    CHECK_THAT(out[FAKE_RECEIVES] >= MESSAGES, "the sender took %lu answers", out[FAKE_RECEIVES]);
    CHECK_INT(pieces * MESSAGES, out[FAKE_WRITES]);
    CHECK_INT(size * MESSAGES, out[FAKE_WRITE_BYTES]);
    CHECK_INT(MESSAGES, out[FAKE_READS]); /* one a wire */
    CHECK_INT(MESSAGES, out[FAKE_READ_BYTES]);
    CHECK_INT(0, in[FAKE_WRITES] + in[FAKE_READS]);
    CHECK_INT(2 * MESSAGES * (HK_STREAM_HEAD + HK_FRAME_BYTES), out[FAKE_SEND_BYTES]);
}

/* Since the beginning: who finds something has a completion, and arms again only after one. */
static void check_polls(void)
{
    ends all;
    count(&all);
    for (int end = 0; end < 2; end++) {
        const unsigned long *own = all.of[end], *other = all.of[1 - end];
        check_range("completions", 0,
                    own[FAKE_SENDS] + own[FAKE_WRITES] + own[FAKE_READS] + other[FAKE_SENDS],
                    own[FAKE_COMPLETIONS]);
        check_range("polls", 0, own[FAKE_COMPLETIONS], own[FAKE_POLLS]);
        check_range("arming", 0, own[FAKE_COMPLETIONS] + 1, own[FAKE_ARMS]);
    }
}

/* === The table ================================================================================ */

static void print_end(const unsigned long *counts)
{
    static const fake_count shown[] = {FAKE_SENDS,    FAKE_WRITES, FAKE_READS,
                                       FAKE_RECEIVES, FAKE_POLLS,  FAKE_ARMS};
    for (size_t i = 0; i < LENGTH(shown); i++)
        printf(" %6.2f", (double)counts[shown[i]] / MESSAGES);
    printf("  ");
}

static void print_row(const struct member *me, size_t size, bool known, const ends *c)
{
    double bytes = (double)(size * MESSAGES);
    printf("%-5s %-8s %8zu", me->run->backend->variant, known ? "alloc" : "ordinary", size);
    print_end(c->of[SENDER]);
    print_end(c->of[RECEIVER]);
    printf("%8.3f %8.3f\n", (double)c->of[SENDER][FAKE_SEND_BYTES] / bytes,
           (double)c->of[SENDER][FAKE_WRITE_BYTES] / bytes);
}

static void print_head(void)
{
    printf("%-23s %-43s %-43s\n%-5s %-8s %8s", "a message, one way:", "      sender's",
           "      receiver's", "kind", "memory", "bytes");
    for (int i = 0; i < 2; i++)
        printf(" %6s %6s %6s %6s %6s %6s  ", "send", "write", "read", "recv", "polls", "arms");
    printf("%8s %8s\n", "SEND/B", "write/B");
}

static void costs(struct member *me)
{
    struct memory memory = {.known = *(const bool *)me->context};
    bool reliable = strcmp(me->run->backend->variant, "rc") == 0;
    int met = 0;
    const size_t most = sizes[LENGTH(sizes) - 1];
    if (memory.known)
        CHECK_OK(hocket_alloc(me->world, most, &memory.bytes));
    else
        memory.bytes = calloc(1, most);
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        size_t size = sizes[i];
        ends begin;
        move(me, &memory, size, &met); /* the first acknowledges what went before */
        count(&begin);
        double began = seconds_now();
        meet(me, &met);
        for (int n = 0; n < MESSAGES; n++)
            move(me, &memory, size, &met);
        ends cost = since(&begin);
        double seconds = seconds_now() - began;
        meet(me, &met);
        if (me->rank != SENDER)
            continue;
        print_row(me, size, memory.known, &cost);
        if (memory.known && reliable && size >= HK_STRAIGHT_LEAST)
            check_straight(&cost, size);
        else
            check_copied(&cost, size, reliable, seconds);
    }
    check_polls();
    meet(me, &met);
    CHECK_OK(hocket_barrier(me->world));
    if (memory.known)
        hocket_dealloc(me->world, memory.bytes);
    else
        free(memory.bytes);
}

static void a_message_costs_what_is_promised(void **state)
{
    (void)state;
    bool ordinary = false, known = true;
    print_head();
    RANKS(verbs_variant("rc"), 2, costs, &ordinary);
    RANKS(verbs_variant("rc"), 2, costs, &known);
    RANKS(verbs_variant("uc"), 2, costs, &ordinary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_costs_what_is_promised),
    };
    harness_clear_environment();
    if (verbs_are_real()) {
        printf("skipped: the devices of HOCKET_TEST_DEVICES do not count what they are asked\n");
        return 77;
    }
    return cmocka_run_group_tests_name("verbs counts", tests, NULL, NULL);
}
