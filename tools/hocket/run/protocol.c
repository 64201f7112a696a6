#include "run/protocol.h"

#include "run/launch.h"
#include "wire/bytes.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES 65536
#define CORES_MAX (1 << 20)
#define BUFFER_KEPT 65536 /* an empty buffer keeps as much memory */

/* === Buffers ================================================================================== */

static void forget(hk_buffer *buffer)
{
    if (buffer->data)
        sodium_memzero(buffer->data, buffer->capacity);
    free(buffer->data);
    buffer->data = NULL;
    buffer->capacity = 0;
}

/* Room for more bytes behind those that wait. Not realloc, which would leave a copy behind. */
static bool reserve(hk_buffer *buffer, size_t more)
{
    if (more <= buffer->capacity && buffer->start + buffer->length <= buffer->capacity - more)
        return true;
    if (more > SIZE_MAX / 4 || buffer->length > SIZE_MAX / 4)
        return false;
    size_t needed = buffer->length + more;
    if (needed <= buffer->capacity / 2) {
        memmove(buffer->data, buffer->data + buffer->start, buffer->length);
        buffer->start = 0;
        return true;
    }
    char *data = malloc(2 * needed);
    if (!data)
        return false;
    size_t length = buffer->length;
    if (length > 0)
        memcpy(data, buffer->data + buffer->start, length);
    forget(buffer);
    *buffer = (hk_buffer){.data = data, .length = length, .capacity = 2 * needed};
    return true;
}

bool hk_buffer_add(hk_buffer *buffer, const void *bytes, size_t length)
{
    if (!reserve(buffer, length))
        return false;
    if (length > 0)
        memcpy(buffer->data + buffer->start + buffer->length, bytes, length);
    buffer->length += length;
    return true;
}

void hk_buffer_drop(hk_buffer *buffer, size_t length)
{
    buffer->start += length;
    buffer->length -= length;
    if (buffer->length > 0)
        return;
    buffer->start = 0;
    if (buffer->capacity > BUFFER_KEPT)
        forget(buffer);
}

void hk_buffer_free(hk_buffer *buffer)
{
    forget(buffer);
    *buffer = (hk_buffer){0};
}

long hk_buffer_read(hk_buffer *buffer, int fd)
{
    if (!reserve(buffer, READ_BYTES))
        return 0;
    ssize_t got = read(fd, buffer->data + buffer->start + buffer->length, READ_BYTES);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? -1 : 0;
    buffer->length += (size_t)got;
    return (long)got;
}

bool hk_buffer_write(hk_buffer *buffer, int fd)
{
    while (buffer->length > 0) {
        ssize_t written = write(fd, buffer->data + buffer->start, buffer->length);
        if (written < 0)
            return errno == EAGAIN || errno == EINTR;
        sodium_memzero(buffer->data + buffer->start, (size_t)written);
        hk_buffer_drop(buffer, (size_t)written);
    }
    return true;
}

/* === Frames =================================================================================== */

bool hk_frame_put(hk_buffer *out, hk_frame_type type, uint32_t number, const void *bytes,
                  size_t length)
{
    unsigned char header[HK_FRAME_HEADER];
    hk_put_u32(header, (uint32_t)type);
    hk_put_u32(header + 4, number);
    hk_put_u32(header + 8, (uint32_t)length);
    return hk_buffer_add(out, header, sizeof header) && hk_buffer_add(out, bytes, length);
}

int hk_frame_next(const hk_buffer *in, hk_frame *frame)
{
    if (in->length < HK_FRAME_HEADER)
        return 0;
    const unsigned char *header = (const unsigned char *)in->data + in->start;
    uint32_t type = hk_get_u32(header), length = hk_get_u32(header + 8);
    if (type < HK_FRAME_HOLD || type >= HK_FRAME_TYPES ||
        length > (type == HK_FRAME_PLAN ? HK_PLAN_BYTES_MAX : HK_FRAME_BYTES_MAX))
        return -1;
    if (in->length - HK_FRAME_HEADER < length)
        return 0;
    *frame = (hk_frame){.type = (hk_frame_type)type,
                        .number = hk_get_u32(header + 4),
                        .bytes = (const char *)header + HK_FRAME_HEADER,
                        .length = length};
    return 1;
}

void hk_frame_drop(hk_buffer *in, const hk_frame *frame)
{
    size_t total = HK_FRAME_HEADER + frame->length;
    if (frame->type == HK_FRAME_PLAN)
        sodium_memzero(in->data + in->start, total);
    hk_buffer_drop(in, total);
}

bool hk_frame_put_numbers(hk_buffer *out, hk_frame_type type, uint32_t number,
                          const uint32_t *numbers, size_t count)
{
    unsigned char header[HK_FRAME_HEADER], bytes[4];
    hk_put_u32(header, (uint32_t)type);
    hk_put_u32(header + 4, number);
    hk_put_u32(header + 8, (uint32_t)(4 * count));
    bool added = hk_buffer_add(out, header, sizeof header);
    for (size_t i = 0; added && i < count; i++) {
        hk_put_u32(bytes, numbers[i]);
        added = hk_buffer_add(out, bytes, sizeof bytes);
    }
    return added;
}

bool hk_frame_numbers(const hk_frame *frame, uint32_t *numbers, size_t count)
{
    if (frame->length < 4 * count)
        return false;
    for (size_t i = 0; i < count; i++)
        numbers[i] = hk_get_u32((const unsigned char *)frame->bytes + 4 * i);
    return true;
}

bool hk_window_read(const hk_frame *frame, uint32_t size[2])
{
    return frame->length == 8 && hk_frame_numbers(frame, size, 2) && size[0] >= 1 &&
           size[0] <= UINT16_MAX && size[1] >= 1 && size[1] <= UINT16_MAX;
}

/* === Plans ==================================================================================== */

static bool add_number(hk_buffer *buffer, uint32_t number)
{
    unsigned char bytes[4];
    hk_put_u32(bytes, number);
    return hk_buffer_add(buffer, bytes, sizeof bytes);
}

/* A text goes with the NUL at its end, so that the reader needs no copy. */
static bool add_text(hk_buffer *buffer, const char *text)
{
    size_t size = strlen(text) + 1;
    return size <= HK_PLAN_BYTES_MAX && add_number(buffer, (uint32_t)size) &&
           hk_buffer_add(buffer, text, size);
}

static bool add_list(hk_buffer *buffer, const hk_list *list)
{
    bool added = add_number(buffer, (uint32_t)list->count);
    for (int i = 0; added && i < list->count; i++)
        added = add_text(buffer, list->items[i]);
    return added;
}

bool hk_plan_put(hk_buffer *out, const hk_plan *plan)
{
    hk_buffer bytes = {0};
    bool put = add_number(&bytes, (uint32_t)plan->world_size) &&
               add_number(&bytes, (uint32_t)plan->first) &&
               add_number(&bytes, (uint32_t)plan->count) &&
               add_number(&bytes, (uint32_t)plan->stdin_rank) &&
               add_number(&bytes, plan->terminal) && add_number(&bytes, plan->folder_is_wish) &&
               add_number(&bytes, plan->mlx) && add_text(&bytes, plan->backend) &&
               add_text(&bytes, plan->coordinator) && add_text(&bytes, plan->cwd) &&
               add_text(&bytes, plan->secret) && add_list(&bytes, &plan->env) &&
               add_list(&bytes, &plan->program) && add_list(&bytes, &plan->files) &&
               add_list(&bytes, &plan->rank_variables) && bytes.length <= HK_PLAN_BYTES_MAX &&
               hk_frame_put(out, HK_FRAME_PLAN, 0, bytes.data + bytes.start, bytes.length);
    hk_buffer_free(&bytes);
    return put;
}

/* What is left of a payload. */
typedef struct cursor {
    char *at;
    size_t left;
} cursor;

static bool take_number(cursor *in, uint32_t most, uint32_t *number)
{
    if (in->left < 4)
        return false;
    *number = hk_get_u32((const unsigned char *)in->at);
    in->at += 4;
    in->left -= 4;
    return *number <= most;
}

static bool take_text(cursor *in, char **text)
{
    uint32_t size;
    if (!take_number(in, HK_PLAN_BYTES_MAX, &size) || size == 0 || size > in->left ||
        memchr(in->at, '\0', size) != in->at + size - 1)
        return false;
    *text = in->at;
    in->at += size;
    in->left -= size;
    return true;
}

static bool take_list(cursor *in, hk_list *list)
{
    uint32_t count;
    if (!take_number(in, HK_PLAN_ITEMS_MAX, &count) || count > in->left)
        return false;
    list->items = calloc((size_t)count + 1, sizeof *list->items);
    bool taken = list->items != NULL;
    for (uint32_t i = 0; taken && i < count; i++) {
        char *text = NULL;
        taken = take_text(in, &text);
        list->items[list->count] = text;
        list->count += taken;
    }
    return taken;
}

static bool take_ranks(cursor *in, hk_plan *plan)
{
    uint32_t size, first, count, input, terminal, wish, mlx;
    if (!take_number(in, HK_RANKS_MAX, &size) || !take_number(in, HK_RANKS_MAX, &first) ||
        !take_number(in, HK_RANKS_MAX, &count) || !take_number(in, UINT32_MAX, &input) ||
        !take_number(in, 1, &terminal) || !take_number(in, 1, &wish) || !take_number(in, 1, &mlx))
        return false;
    plan->world_size = (int)size;
    plan->first = (int)first;
    plan->count = (int)count;
    plan->stdin_rank = input == (uint32_t)HK_STDIN_ALL    ? HK_STDIN_ALL
                       : input == (uint32_t)HK_STDIN_NONE ? HK_STDIN_NONE
                                                          : (int)(input % HK_RANKS_MAX);
    plan->terminal = terminal == 1;
    plan->folder_is_wish = wish == 1;
    plan->mlx = mlx == 1;
    return count >= 1 && first < size && count <= size - first;
}

static bool have_names(const hk_list *list)
{
    for (int i = 0; i < list->count; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (!equals || equals == list->items[i])
            return false;
    }
    return true;
}

bool hk_plan_read(const char *bytes, size_t length, hk_plan *plan)
{
    *plan = (hk_plan){.memory = malloc(length + 1)};
    if (!plan->memory)
        return false;
    memcpy(plan->memory, bytes, length);
    plan->memory[length] = '\0';
    cursor in = {plan->memory, length};
    char *backend, *coordinator, *cwd;
    bool read = take_ranks(&in, plan) && take_text(&in, &backend) && take_text(&in, &coordinator) &&
                take_text(&in, &cwd) && take_text(&in, &plan->secret) &&
                take_list(&in, &plan->env) && take_list(&in, &plan->program) &&
                take_list(&in, &plan->files) && take_list(&in, &plan->rank_variables) &&
                in.left == 0 && strlen(plan->secret) < HK_SECRET_TEXT && plan->program.count > 0 &&
                have_names(&plan->env) && have_names(&plan->files);
    if (read) {
        plan->backend = backend;
        plan->coordinator = coordinator;
        plan->cwd = cwd;
    } else {
        sodium_memzero(plan->memory, length);
        hk_plan_free(plan);
    }
    return read;
}

void hk_plan_free(hk_plan *plan)
{
    free(plan->env.items);
    free(plan->program.items);
    free(plan->files.items);
    free(plan->rank_variables.items);
    free(plan->memory);
    *plan = (hk_plan){0};
}

/* === What doctor asks for ===================================================================== */

enum { SEEN_CORES, SEEN_MEMORY, SEEN_CLOCK, SEEN_CLOCK_HIGH, SEEN_PORT, SEEN_NUMBERS };

bool hk_seen_put(hk_buffer *out, const hk_seen *seen)
{
    uint64_t clock = (uint64_t)seen->clock_us, memory = seen->memory_bytes >> 20;
    uint32_t numbers[SEEN_NUMBERS] = {[SEEN_CORES] = (uint32_t)seen->cores,
                                      [SEEN_MEMORY] =
                                          memory > UINT32_MAX ? UINT32_MAX : (uint32_t)memory,
                                      [SEEN_CLOCK] = (uint32_t)clock,
                                      [SEEN_CLOCK_HIGH] = (uint32_t)(clock >> 32),
                                      [SEEN_PORT] = (uint32_t)seen->port};
    return hk_frame_put_numbers(out, HK_FRAME_SEEN, 0, numbers, SEEN_NUMBERS);
}

bool hk_seen_read(const hk_frame *frame, hk_seen *seen)
{
    uint32_t numbers[SEEN_NUMBERS];
    if (frame->length != sizeof numbers || !hk_frame_numbers(frame, numbers, SEEN_NUMBERS) ||
        numbers[SEEN_CORES] < 1 || numbers[SEEN_CORES] > CORES_MAX ||
        numbers[SEEN_CLOCK_HIGH] > INT32_MAX || numbers[SEEN_PORT] > UINT16_MAX)
        return false;
    *seen = (hk_seen){.cores = (int)numbers[SEEN_CORES],
                      .memory_bytes = (uint64_t)numbers[SEEN_MEMORY] << 20,
                      .clock_us =
                          (int64_t)((uint64_t)numbers[SEEN_CLOCK_HIGH] << 32 | numbers[SEEN_CLOCK]),
                      .port = (int)numbers[SEEN_PORT]};
    return true;
}

/* Numbers of 32 bits: whether it is open, nanoseconds, kB/s; what is more is as good as that. */
enum { DIALED_OPEN, DIALED_NS, DIALED_RATE, DIALED_NUMBERS };

static uint32_t clamp(double value)
{
    return value >= (double)UINT32_MAX ? UINT32_MAX : value > 0 ? (uint32_t)value : 0;
}

bool hk_dialed_put(hk_buffer *out, const hk_dialed *dialed)
{
    unsigned char bytes[4 * DIALED_NUMBERS + HK_DIALED_TEXT];
    size_t length = strnlen(dialed->text, HK_DIALED_TEXT - 1);
    hk_put_u32(bytes + 4 * (size_t)DIALED_OPEN, dialed->open);
    hk_put_u32(bytes + 4 * (size_t)DIALED_NS, clamp(dialed->round_trip_s * 1e9));
    hk_put_u32(bytes + 4 * (size_t)DIALED_RATE, clamp(dialed->bytes_per_s / 1e3));
    memcpy(bytes + 4 * (size_t)DIALED_NUMBERS, dialed->text, length);
    return hk_frame_put(out, HK_FRAME_DIALED, 0, bytes, 4 * (size_t)DIALED_NUMBERS + length);
}

bool hk_dialed_read(const hk_frame *frame, hk_dialed *dialed)
{
    uint32_t numbers[DIALED_NUMBERS];
    if (!hk_frame_numbers(frame, numbers, DIALED_NUMBERS) || numbers[DIALED_OPEN] > 1 ||
        frame->length - sizeof numbers >= HK_DIALED_TEXT)
        return false;
    *dialed = (hk_dialed){.open = numbers[DIALED_OPEN] == 1,
                          .round_trip_s = numbers[DIALED_NS] / 1e9,
                          .bytes_per_s = numbers[DIALED_RATE] * 1e3};
    for (size_t i = 0; i < frame->length - sizeof numbers; i++) {
        char byte = frame->bytes[sizeof numbers + i];
        dialed->text[i] = (unsigned char)byte < ' ' || byte == 0x7f ? '?' : byte;
    }
    return true;
}
