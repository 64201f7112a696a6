/* Messages: any rank to any rank, any length, in order, under tags, within bounds. */
#include "conformance.h"

#define MEGABYTE ((size_t)1000 * 1000)
#define MEBIBYTE ((size_t)1 << 20)

static uint64_t seed_of(int from, int to, size_t what)
{
    return ((uint64_t)from << 48) ^ ((uint64_t)to << 32) ^ what;
}

static void *filled(size_t length, uint64_t seed)
{
    void *bytes = malloc(length + 1);
    CHECK(bytes != NULL);
    fill_bytes(bytes, length, seed);
    return bytes;
}

static void send_filled(struct member *me, int to, uint32_t tag, size_t length, uint64_t seed)
{
    void *bytes = filled(length, seed);
    CHECK_OK(hocket_send_bytes(me->world, to, tag, bytes, length));
    memset(bytes, 0, length); /* a send that has returned needs its bytes no more */
    free(bytes);
}

static void recv_filled(struct member *me, int from, uint32_t tag, size_t length, uint64_t seed)
{
    void *bytes = NULL;
    size_t received = 77;
    CHECK_OK(hocket_recv_bytes(me->world, from, tag, &bytes, &received));
    CHECK_INT(length, received);
    CHECK(bytes != NULL);
    CHECK_FILLED(bytes, length, seed);
    free(bytes);
}

static void send_number(struct member *me, int to, uint32_t tag, int number)
{
    CHECK_OK(hocket_send_bytes(me->world, to, tag, &number, sizeof(number)));
}

static int recv_number(struct member *me, int from, uint32_t tag)
{
    int number = -1;
    size_t length = 0;
    CHECK_OK(hocket_recv_into(me->world, from, tag, &number, sizeof(number), &length));
    CHECK_INT(sizeof(number), length);
    return number;
}

static int right_of(const struct member *me) { return (me->rank + 1) % me->size; }
static int left_of(const struct member *me) { return (me->rank + me->size - 1) % me->size; }

/* === Who, where to, how long ================================================================== */

static void knows_itself(struct member *me)
{
    CHECK_INT(me->rank, hocket_rank(me->world));
    CHECK_INT(me->size, hocket_world_size(me->world));
    if (me->size > 1) /* alone, nothing is carried */
        CHECK_TEXT(me->run->backend->name, hocket_backend(me->world));
}

static void any_to_any(struct member *me)
{
    static const size_t lengths[] = {0, 1, 3, 4096, 65537, MEBIBYTE, 1000003};
    for (size_t i = 0; i < LENGTH(lengths); i++) {
        for (int to = 0; to < me->size; to++)
            send_filled(me, to, 5, lengths[i], seed_of(me->rank, to, i));
        for (int from = me->size - 1; from >= 0; from--)
            recv_filled(me, from, 5, lengths[i], seed_of(from, me->rank, i));
    }
}

static void receives_before_sends(struct member *me)
{
    static const size_t lengths[] = {0, 1, 4096, 300001};
    for (size_t i = 0; i < LENGTH(lengths); i++) {
        hocket_request *requests[HARNESS_RANKS_MAX];
        void *bytes[HARNESS_RANKS_MAX] = {NULL};
        size_t received[HARNESS_RANKS_MAX];
        for (int from = 0; from < me->size; from++)
            CHECK_OK(hocket_recv_bytes_async(me->world, from, 9, &bytes[from], &received[from],
                                             &requests[from]));
        CHECK_OK(hocket_barrier(me->world));
        for (int to = 0; to < me->size; to++)
            send_filled(me, to, 9, lengths[i], seed_of(me->rank, to, i));
        for (int from = 0; from < me->size; from++) {
            CHECK_OK(hocket_wait(requests[from]));
            CHECK_INT(lengths[i], received[from]);
            CHECK(bytes[from] != NULL);
            CHECK_FILLED(bytes[from], lengths[i], seed_of(from, me->rank, i));
            free(bytes[from]);
        }
    }
}

static void to_oneself(struct member *me)
{
    int source = -5, number = 4711;
    size_t length = 99;
    for (int i = 0; i < 10; i++)
        send_number(me, me->rank, 3, i);
    CHECK_OK(hocket_probe(me->world, HOCKET_ANY_RANK, 3, &source, &length));
    CHECK_INT(me->rank, source);
    CHECK_INT(sizeof(int), length);
    for (int i = 0; i < 10; i++)
        CHECK_INT(i, recv_number(me, me->rank, 3));

    hocket_request *request;
    CHECK_OK(hocket_recv_into_async(me->world, me->rank, 4, &number, sizeof(number), &length,
                                    &request));
    send_number(me, me->rank, 4, 12);
    CHECK_OK(hocket_wait(request));
    CHECK_INT(12, number);
}

/* === Order and tags =========================================================================== */

enum { TAGS = 7, PER_TAG = 20 };

static void order_is_kept(struct member *me)
{
    for (int i = 0; i < TAGS * PER_TAG; i++)
        for (int to = 0; to < me->size; to++)
            send_number(me, to, (uint32_t)(i % TAGS), i / TAGS);
    for (int tag = TAGS - 1; tag >= 0; tag--)
        for (int i = 0; i < PER_TAG; i++)
            for (int from = 0; from < me->size; from++)
                CHECK_INT(i, recv_number(me, from, (uint32_t)tag));
}

/* Short and long messages of one tag take different ways through some transports. */
static void order_is_kept_across_lengths(struct member *me)
{
    static const size_t lengths[] = {10, 500000, 0, 100, 3 * MEBIBYTE, 7, 70000};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < LENGTH(lengths); i++)
            send_filled(me, right_of(me), 1, lengths[i], seed_of(me->rank, round, i));
        for (size_t i = 0; i < LENGTH(lengths); i++)
            recv_filled(me, left_of(me), 1, lengths[i], seed_of(left_of(me), round, i));
    }
}

enum { IN_FLIGHT = 2000, STRIDE = 1009 }; /* no common divisor: STRIDE steps visit each once */

static void thousands_in_flight(struct member *me)
{
    for (int i = 0; i < IN_FLIGHT; i++)
        send_number(me, right_of(me), (uint32_t)(100 + i), i * 3);
    for (int i = 0, tag = 0; i < IN_FLIGHT; i++, tag = (tag + STRIDE) % IN_FLIGHT)
        CHECK_INT(tag * 3, recv_number(me, left_of(me), (uint32_t)(100 + tag)));
}

static void largest_tag(struct member *me)
{
    send_number(me, right_of(me), HOCKET_TAG_RESERVED - 1, 8);
    send_number(me, right_of(me), 0, 9);
    CHECK_INT(8, recv_number(me, left_of(me), HOCKET_TAG_RESERVED - 1));
    CHECK_INT(9, recv_number(me, left_of(me), 0));
}

/* === Bounds =================================================================================== */

static void too_small_a_buffer(struct member *me)
{
    char small[10], *whole = guard_alloc(1000);
    size_t length = 0;
    send_filled(me, right_of(me), 2, 1000, 1);
    send_filled(me, right_of(me), 2, 10, 2);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(HOCKET_ERR_INVALID, hocket_recv_into(me->world, left_of(me), 2, small,
                                                          sizeof(small), &length));
        CHECK_INT(1000, length);
        CHECK_HAS(hocket_last_error(), "1000");
    }
    CHECK_STATUS(HOCKET_ERR_INVALID,
                 hocket_recv_into(me->world, left_of(me), 2, NULL, 0, &length));
    CHECK_OK(hocket_recv_into(me->world, left_of(me), 2, whole, 1000, &length));
    CHECK_INT(1000, length);
    CHECK_FILLED(whole, 1000, 1);
    GUARD_FREE(whole);
    recv_filled(me, left_of(me), 2, 10, 2);

    /* The same when the receive was there first. */
    hocket_request *request;
    CHECK_OK(hocket_recv_into_async(me->world, left_of(me), 3, small, sizeof(small), &length,
                                    &request));
    CHECK_OK(hocket_barrier(me->world));
    send_filled(me, right_of(me), 3, 500000, 4);
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_wait(request));
    CHECK_INT(500000, length);
    recv_filled(me, left_of(me), 3, 500000, 4);
}

static void too_large_a_buffer(struct member *me)
{
    unsigned char *buffer = guard_alloc(5000);
    size_t length = 0;
    memset(buffer, 0x11, 5000);
    send_filled(me, right_of(me), 2, 1234, 6);
    CHECK_OK(hocket_recv_into(me->world, left_of(me), 2, buffer, 5000, &length));
    CHECK_INT(1234, length);
    CHECK_FILLED(buffer, 1234, 6);
    for (int i = 1234; i < 5000; i++)
        CHECK(buffer[i] == 0x11);
    GUARD_FREE(buffer);
}

static void probe_takes_nothing(struct member *me)
{
    size_t length = 99;
    int source = -7;
    send_filled(me, right_of(me), 8, 0, 0);
    send_filled(me, right_of(me), 8, 4321, 5);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(hocket_probe(me->world, left_of(me), 8, &source, &length));
        CHECK_INT(left_of(me), source);
        CHECK_INT(0, length);
    }
    recv_filled(me, left_of(me), 8, 0, 0);
    CHECK_OK(hocket_probe(me->world, left_of(me), 8, NULL, &length));
    CHECK_INT(4321, length);
    CHECK_OK(hocket_probe(me->world, left_of(me), 8, NULL, NULL));
    recv_filled(me, left_of(me), 8, 4321, 5);
}

static void probe_finds_any_rank(struct member *me)
{
    if (me->rank != 0)
        sleep_seconds(0.005 * me->rank);
    send_filled(me, 0, 6, (size_t)me->rank * 10, seed_of(me->rank, 0, 0));
    unsigned seen = 0;
    for (int i = 0; me->rank == 0 && i < me->size; i++) {
        int source = -1;
        size_t length = 0;
        CHECK_OK(hocket_probe(me->world, HOCKET_ANY_RANK, 6, &source, &length));
        CHECK(source >= 0 && source < me->size && !(seen & 1u << source));
        CHECK_INT(source * 10, length);
        recv_filled(me, source, 6, length, seed_of(source, 0, 0));
        seen |= 1u << source;
    }
    CHECK_OK(hocket_barrier(me->world));
}

static void both_send_first(struct member *me)
{
    const size_t length = 100 * MEGABYTE;
    send_filled(me, right_of(me), 1, length, (uint64_t)me->rank);
    recv_filled(me, left_of(me), 1, length, (uint64_t)left_of(me));
}

/* Rank 0 sends; its last send cannot end before rank 1 receives. Rank 1 spends its time inside
 * hocket, so that what may come does come. */
static void above_the_window(struct member *me, const size_t *lengths, uint32_t count)
{
    const double pause = 1.0;
    void *bytes[3] = {NULL}, *nothing = NULL;
    size_t length = 0;
    for (uint32_t i = 0; me->rank == 0 && i < count; i++)
        bytes[i] = filled(lengths[i], i);
    CHECK_OK(hocket_barrier(me->world));
    for (uint32_t i = 0; me->rank == 0 && i < count; i++)
        CHECK_OK(hocket_send_bytes(me->world, 1, 40 + i, bytes[i], lengths[i]));
    me->shared[me->rank] = 1; /* of rank 0: all is sent */
    if (me->rank == 1) {
        CHECK_OK(hocket_set_timeout(me->world, pause));
        CHECK_STATUS(HOCKET_ERR_TIMEOUT,
                     hocket_recv_bytes(me->world, 0, 39, &nothing, &length));
        CHECK_THAT(me->shared[0] == 0, "a send above the window came back before its receive");
        CHECK_OK(hocket_set_timeout(me->world, 20 * harness_slowness()));
        for (uint32_t i = count; i-- > 0;)
            recv_filled(me, 0, 40 + i, lengths[i], i);
    }
    for (uint32_t i = 0; i < count; i++)
        free(bytes[i]);
}

static void one_message_above_the_window(struct member *me)
{
    const size_t lengths[] = {300 * MEGABYTE};
    above_the_window(me, lengths, LENGTH(lengths));
}

static void several_messages_above_the_window(struct member *me)
{
    const size_t lengths[] = {100 * MEGABYTE, 100 * MEGABYTE, 100 * MEGABYTE};
    above_the_window(me, lengths, LENGTH(lengths));
}

/* What waits above the window must not hold up what others need: other tags and collectives. */
static void waiting_sends_hold_up_nobody(struct member *me)
{
    const size_t length = 300 * MEGABYTE;
    hocket_request *request = NULL;
    void *bytes = NULL;
    if (me->rank == 0) {
        bytes = filled(length, 3);
        CHECK_OK(hocket_send_bytes_async(me->world, 1, 50, bytes, length, &request));
        send_number(me, 1, 51, 42);
    }
    if (me->rank == 1)
        CHECK_INT(42, recv_number(me, 0, 51));
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == 1)
        recv_filled(me, 0, 50, length, 3);
    if (me->rank == 0)
        CHECK_OK(hocket_wait(request));
    free(bytes);
}

/* === What is refused, what runs out =========================================================== */

static void bad_arguments_are_refused(struct member *me)
{
    char byte = 1, text[32];
    const int ranks[] = {-2, -1, me->size, me->size + 1, INT32_MAX};
    const uint32_t tags[] = {HOCKET_TAG_RESERVED, UINT32_MAX};
    size_t length;
    void *bytes;
    for (size_t i = 0; i < LENGTH(ranks); i++) {
        snprintf(text, sizeof(text), "%d", ranks[i]);
        CHECK_STATUS(HOCKET_ERR_INVALID, hocket_send_bytes(me->world, ranks[i], 1, &byte, 1));
        CHECK_HAS(hocket_last_error(), text);
        CHECK_STATUS(HOCKET_ERR_INVALID,
                     hocket_recv_bytes(me->world, ranks[i], 1, &bytes, &length));
        CHECK_HAS(hocket_last_error(), text);
        CHECK_STATUS(HOCKET_ERR_INVALID,
                     hocket_recv_into(me->world, ranks[i], 1, &byte, 1, &length));
        if (ranks[i] != HOCKET_ANY_RANK)
            CHECK_STATUS(HOCKET_ERR_INVALID,
                         hocket_probe(me->world, ranks[i], 1, NULL, &length));
    }
    for (size_t i = 0; i < LENGTH(tags); i++) {
        CHECK_STATUS(HOCKET_ERR_INVALID,
                     hocket_send_bytes(me->world, right_of(me), tags[i], &byte, 1));
        CHECK_STATUS(HOCKET_ERR_INVALID,
                     hocket_recv_bytes(me->world, left_of(me), tags[i], &bytes, &length));
        CHECK_STATUS(HOCKET_ERR_INVALID,
                     hocket_recv_into(me->world, left_of(me), tags[i], &byte, 1, &length));
        CHECK_STATUS(HOCKET_ERR_INVALID,
                     hocket_probe(me->world, left_of(me), tags[i], NULL, &length));
    }
    CHECK_OK(hocket_barrier(me->world));
    send_number(me, right_of(me), 1, 5);
    CHECK_INT(5, recv_number(me, left_of(me), 1));
}

static void a_timeout_breaks_nothing(struct member *me)
{
    const double patience = 0.05;
    int number = 0;
    size_t length = 0;
    void *bytes = NULL;
    CHECK_OK(hocket_set_timeout(me->world, patience));
    double begin = seconds_now();
    CHECK_STATUS(HOCKET_ERR_TIMEOUT,
                 hocket_recv_into(me->world, left_of(me), 1, &number, sizeof(number), &length));
    CHECK_STATUS(HOCKET_ERR_TIMEOUT,
                 hocket_recv_bytes(me->world, left_of(me), 1, &bytes, &length));
    CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_probe(me->world, left_of(me), 1, NULL, NULL));
    CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_probe(me->world, HOCKET_ANY_RANK, 1, NULL, NULL));
    double took = seconds_now() - begin;
    CHECK_THAT(took >= 4 * patience && took < (4 * patience + 2) * harness_slowness(),
               "four timeouts of %g s took %g s", patience, took);
    CHECK_OK(hocket_set_timeout(me->world, 10 * harness_slowness()));
    CHECK_OK(hocket_barrier(me->world));
    send_number(me, right_of(me), 1, 17);
    CHECK_INT(17, recv_number(me, left_of(me), 1));
}

const struct conformance_case conformance_messages[] = {
    {.name = "a rank knows itself", .body = knows_itself},
    {.name = "messages of any length go from any rank to any rank", .body = any_to_any},
    {.name = "receives may be there before sends", .body = receives_before_sends},
    {.name = "messages to oneself", .body = to_oneself},
    {.name = "order is kept per sender and tag", .body = order_is_kept},
    {.name = "order is kept across lengths", .body = order_is_kept_across_lengths},
    {.name = "thousands in flight are received in another order", .body = thousands_in_flight},
    {.name = "the largest tag and tag 0", .body = largest_tag},
    {.name = "a receive that is too small says what is needed", .body = too_small_a_buffer},
    {.name = "a receive that is too large is left alone behind", .body = too_large_a_buffer},
    {.name = "probe takes nothing", .body = probe_takes_nothing},
    {.name = "probe finds a message from any rank", .body = probe_finds_any_rank},
    {.name = "ranks that send 100 MB first do not deadlock",
     .body = both_send_first, .size_min = 1, .size_max = 3},
    {.name = "a message above the window waits for its receive",
     .body = one_message_above_the_window, .size_min = 2, .size_max = 2, .bounded = true},
    {.name = "the window counts all that is unread",
     .body = several_messages_above_the_window, .size_min = 2, .size_max = 2, .bounded = true},
    {.name = "a send that waits for its receive holds up nobody",
     .body = waiting_sends_hold_up_nobody, .size_min = 2, .size_max = 3},
    {.name = "bad ranks and tags are refused and the group lives on",
     .body = bad_arguments_are_refused},
    {.name = "a receive that times out breaks nothing", .body = a_timeout_breaks_nothing},
    {.name = NULL},
};
