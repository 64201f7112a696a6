/* What front and agent say to each other. The first byte says how many bytes come at once. */
#include "input.h"
#include "launch.h"

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
    FUZZ_CHECK(other.stdin_rank == plan.stdin_rank && strcmp(other.cwd, plan.cwd) == 0);
    hk_plan_free(&other);
    hk_buffer_free(&again);
    hk_plan_free(&plan);
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
            hk_frame_drop(&in, &frame);
        }
    }
    hk_buffer_free(&in);
    return 0;
}
