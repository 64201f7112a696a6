/* What front and agent say to each other. The first byte says how many bytes come at once. */
#include "input.h"
#include "run/launch.h"

static void check_plan(const hk_frame *frame)
{
    hk_plan plan;
    if (!hk_plan_read(frame->bytes, frame->length, &plan))
        return;
    FUZZ_CHECK(plan.world_size >= 1 && plan.world_size <= HK_RANKS_MAX);
    FUZZ_CHECK(plan.first >= 0 && plan.count >= 1 && plan.first + plan.count <= plan.world_size);
    FUZZ_CHECK(plan.stdin_rank >= HK_STDIN_ALL && plan.stdin_rank < HK_RANKS_MAX);
    FUZZ_CHECK(strlen(plan.secret) < HK_SECRET_TEXT);
    FUZZ_CHECK(plan.program.count >= 1 && plan.program.items[plan.program.count] == NULL);
    for (int i = 0; i < plan.env.count; i++)
        FUZZ_CHECK(strchr(plan.env.items[i], '=') > plan.env.items[i]);

    /* What was read can be said again, and is the same. */
    hk_buffer again = {0};
    hk_frame same;
    FUZZ_CHECK(hk_plan_put(&again, &plan) && hk_frame_next(&again, &same) == 1);
    FUZZ_CHECK(same.type == HK_FRAME_PLAN);
    hk_plan other;
    FUZZ_CHECK(hk_plan_read(same.bytes, same.length, &other));
    FUZZ_CHECK(other.mlx == plan.mlx);
    FUZZ_CHECK(other.stdin_rank == plan.stdin_rank && strcmp(other.cwd, plan.cwd) == 0);
    hk_plan_free(&other);
    hk_buffer_free(&again);
    hk_plan_free(&plan);
}

/* What doctor hears: within its limits, and the same when it is said again. */
static void check_doctor(const hk_frame *frame)
{
    hk_seen seen, seen_again;
    hk_dialed dialed, dialed_again;
    hk_buffer again = {0};
    hk_frame same;
    if (frame->type == HK_FRAME_SEEN && hk_seen_read(frame, &seen)) {
        FUZZ_CHECK(seen.cores >= 1 && seen.clock_us >= 0);
        FUZZ_CHECK(seen.port >= 0 && seen.port <= UINT16_MAX);
        FUZZ_CHECK(hk_seen_put(&again, &seen) && hk_frame_next(&again, &same) == 1);
        FUZZ_CHECK(hk_seen_read(&same, &seen_again));
        FUZZ_CHECK(seen_again.clock_us == seen.clock_us && seen_again.port == seen.port &&
                   seen_again.memory_bytes == seen.memory_bytes);
    }
    if (frame->type == HK_FRAME_DIALED && hk_dialed_read(frame, &dialed)) {
        FUZZ_CHECK(dialed.round_trip_s >= 0 && dialed.bytes_per_s >= 0);
        FUZZ_CHECK(strlen(dialed.text) < HK_DIALED_TEXT);
        for (const char *at = dialed.text; *at; at++)
            FUZZ_CHECK((unsigned char)*at >= ' ' && *at != 0x7f);
        FUZZ_CHECK(hk_dialed_put(&again, &dialed) && hk_frame_next(&again, &same) == 1);
        FUZZ_CHECK(hk_dialed_read(&same, &dialed_again));
        FUZZ_CHECK(dialed_again.open == dialed.open && strcmp(dialed_again.text, dialed.text) == 0);
    }
    hk_buffer_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    size_t step = 1 + (size_t)fuzz_byte(&input);
    hk_buffer in = {0};
    int found = 0;
    while (input.left > 0 && found >= 0) {
        char piece[256];
        size_t length = fuzz_take(&input, piece, step);
        FUZZ_CHECK(hk_buffer_add(&in, piece, length));
        hk_frame frame;
        while ((found = hk_frame_next(&in, &frame)) > 0) {
            FUZZ_CHECK(frame.type >= HK_FRAME_HOLD && frame.type < HK_FRAME_TYPES);
            FUZZ_CHECK(frame.length <= HK_PLAN_BYTES_MAX && frame.length <= size);
            uint32_t numbers[2];
            FUZZ_CHECK(hk_frame_numbers(&frame, numbers, 2) == (frame.length >= 8));
            if (frame.type == HK_FRAME_PLAN)
                check_plan(&frame);
            check_doctor(&frame);
            if (frame.type == HK_FRAME_WINDOW && hk_window_read(&frame, numbers))
                FUZZ_CHECK(numbers[0] >= 1 && numbers[0] <= UINT16_MAX && numbers[1] >= 1 &&
                           numbers[1] <= UINT16_MAX);
            hk_frame_drop(&in, &frame);
        }
    }
    hk_buffer_free(&in);
    return 0;
}
