/* trace: who waited for whom.
 *
 * The file is an object in Chrome's trace event format. Each operation is a pair of async events
 * ("b" at its post, "e" at its end) named "send to 2" or "receive from 2", which a viewer draws in
 * a lane of that name. `otherData` has the sums by peer, over all operations, also those that the
 * ring has forgotten: waited_ms is how long receives from that peer have waited from their post to
 * their end. News, which is always listened for and which nobody waits for, is counted apart.
 *
 * Times are the monotonic clock's, so the files of one host fit together:
 *
 *     jq -s '{traceEvents: map(.traceEvents[])}' trace.*.json > all.json
 */
#include "transport/wrap.h"

#include "core/log.h"
#include "transport/endpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct event {
    hk_time begin, end;
    uint64_t context;
    size_t bytes;
    uint32_t tag;
    int peer, kind;
    const char *result;
} event;

typedef struct total { /* of one peer */
    uint64_t operations[2], bytes[2], news;
    hk_time waited, longest;
} total;

typedef struct trace {
    char *path;
    uint64_t count; /* of all operations; number n is at n % HK_TRACE_EVENTS */
    total *totals;
    event *events;
} trace;

/* === While it runs =========================================================================== */

static void add(total *t, const hk_shadow *shadow, size_t bytes, hk_time span)
{
    int kind = shadow->op.kind;
    if (shadow->op.context == HK_CONTEXT_NEWS) {
        t->news++;
        return;
    }
    t->operations[kind]++;
    t->bytes[kind] += bytes;
    if (kind == HOCKET_OP_SEND)
        return;
    t->waited += span;
    t->longest = span > t->longest ? span : t->longest;
}

static void trace_end(hk_wrap *wrap, const hk_shadow *shadow, bool cancelled)
{
    trace *t = wrap->state;
    const hocket_op *op = &shadow->op;
    hk_time now = hk_now();
    bool moved = !cancelled && op->status == HOCKET_OK;
    bool heard = op->context == HK_CONTEXT_NEWS && op->kind == HOCKET_OP_RECV;
    size_t bytes = op->kind == HOCKET_OP_SEND ? op->length : op->received;
    event *e = &t->events[t->count++ % HK_TRACE_EVENTS];
    *e = (event){.begin = heard ? now : shadow->posted,
                 .end = now,
                 .context = op->context,
                 .tag = op->tag,
                 .bytes = moved ? bytes : 0,
                 .peer = op->peer,
                 .kind = op->kind,
                 .result = cancelled ? "cancelled" : hocket_status_name(op->status)};
    add(&t->totals[op->peer], shadow, e->bytes, now - shadow->posted);
}

/* === The file ================================================================================ */

static double milliseconds(hk_time span)
{
    return hk_to_seconds(span) * 1e3;
}

/* Microseconds with three decimals, whatever the locale has for a decimal point. */
static void write_time(FILE *file, hk_time at)
{
    fprintf(file, "%" PRId64 ".%03d", at / HK_MICROSECOND, (int)(at % HK_MICROSECOND));
}

static void write_event(FILE *file, int rank, const event *e, uint64_t number)
{
    const char *name = e->kind == HOCKET_OP_SEND ? "send to" : "receive from";
    const char *category = e->context == HK_CONTEXT_NEWS ? "news" : "operation";
    for (int end = 0; end < 2; end++) {
        fprintf(
            file,
            ",\n{\"ph\":\"%c\",\"name\":\"%s %d\",\"cat\":\"%s\",\"id2\":{\"local\":\"0x%" PRIx64
            "\"}"
            ",\"pid\":%d,\"tid\":%d,\"ts\":",
            end ? 'e' : 'b', name, e->peer, category, number, rank, rank);
        write_time(file, end ? e->end : e->begin);
        if (!end)
            fprintf(file,
                    ",\"args\":{\"peer\":%d,\"bytes\":%zu,\"context\":\"%016" PRIx64
                    "\",\"tag\":%" PRIu32 ",\"result\":\"%s\"}",
                    e->peer, e->bytes, e->context, e->tag, e->result);
        fputs("}", file);
    }
}

static void write_totals(FILE *file, const hk_wrap *wrap, const trace *t)
{
    fprintf(file, "],\n\"otherData\":{\"rank\":%d,\"world_size\":%d,\"backend\":\"%s\",",
            wrap->rank, wrap->size, wrap->name);
    fprintf(file, "\"operations\":%" PRIu64 ",\"forgotten\":%" PRIu64 ",\"peers\":[", t->count,
            t->count > HK_TRACE_EVENTS ? t->count - HK_TRACE_EVENTS : 0);
    const char *lead = "\n";
    for (int i = 0; i < wrap->size; i++) {
        const total *one = &t->totals[i];
        if (i == wrap->rank)
            continue;
        fprintf(file,
                "%s{\"peer\":%d,\"sends\":%" PRIu64 ",\"bytes_sent\":%" PRIu64
                ",\"receives\":%" PRIu64 ",\"bytes_received\":%" PRIu64 ",\"news\":%" PRIu64,
                lead, i, one->operations[HOCKET_OP_SEND], one->bytes[HOCKET_OP_SEND],
                one->operations[HOCKET_OP_RECV], one->bytes[HOCKET_OP_RECV], one->news);
        fputs(",\"waited_us\":", file);
        write_time(file, one->waited);
        fputs(",\"longest_wait_us\":", file);
        write_time(file, one->longest);
        fputs("}", file);
        lead = ",\n";
    }
    fputs("]}}\n", file);
}

static void write_trace(FILE *file, const hk_wrap *wrap, const trace *t)
{
    fprintf(file,
            "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{\"ph\":\"M\",\"name\":"
            "\"process_name\",\"pid\":%d,\"args\":{\"name\":\"rank %d of %d over %s\"}}",
            wrap->rank, wrap->rank, wrap->size, wrap->name);
    uint64_t first = t->count > HK_TRACE_EVENTS ? t->count - HK_TRACE_EVENTS : 0;
    for (uint64_t i = first; i < t->count; i++)
        write_event(file, wrap->rank, &t->events[i % HK_TRACE_EVENTS], i);
    write_totals(file, wrap, t);
}

static void say_longest(const hk_wrap *wrap, const trace *t)
{
    int most = 0;
    for (int i = 1; i < wrap->size; i++)
        if (t->totals[i].waited > t->totals[most].waited)
            most = i;
    if (t->totals[most].waited > 0)
        hk_log(HK_LOG_INFO, wrap->rank,
               "waited longest for rank %d: %.3f ms in %" PRIu64 " receives, %.3f ms in one", most,
               milliseconds(t->totals[most].waited), t->totals[most].operations[HOCKET_OP_RECV],
               milliseconds(t->totals[most].longest));
}

static FILE *create(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL && fd >= 0)
        close(fd);
    return file;
}

static void save(const hk_wrap *wrap, const trace *t)
{
    size_t size = strlen(t->path) + 32;
    char *name = malloc(size);
    FILE *file = NULL;
    int error = ENOMEM;
    if (name != NULL) {
        snprintf(name, size, "%s.%d.json", t->path, wrap->rank);
        file = create(name);
        error = errno;
    }
    if (file != NULL) {
        errno = 0;
        write_trace(file, wrap, t);
        bool written = ferror(file) == 0;
        error = (fclose(file) == 0 && written) ? 0 : errno;
    }
    if (file == NULL || error != 0)
        hk_log(HK_LOG_WARN, wrap->rank, "the trace cannot be written to %.500s.%d.json: %s",
               t->path, wrap->rank, strerror(error));
    free(name);
}

/* === Life ==================================================================================== */

static void free_trace(trace *t)
{
    free(t->path);
    free(t->totals);
    free(t->events);
    free(t);
}

static void trace_close(hk_wrap *wrap)
{
    save(wrap, wrap->state);
    say_longest(wrap, wrap->state);
    free_trace(wrap->state);
}

static const hk_wrapper wrapper = {.name = "trace", .end = trace_end, .close = trace_close};

hocket_status hk_trace_wrap(const hocket_transport *inner, void *inner_self, const char *path,
                            const hocket_transport **outer, void **outer_self)
{
    size_t peers = (size_t)inner->world_size(inner_self);
    trace *t = calloc(1, sizeof *t);
    if (t == NULL)
        return hk_fail_memory(sizeof *t, "a trace");
    t->path = strdup(path);
    t->totals = calloc(peers, sizeof *t->totals);
    t->events = malloc(HK_TRACE_EVENTS * sizeof *t->events);
    hocket_status status = HOCKET_OK;
    if (t->path == NULL || t->totals == NULL || t->events == NULL)
        status = hk_fail_memory(HK_TRACE_EVENTS * sizeof *t->events, "a trace");
    if (status == HOCKET_OK)
        status = hk_wrap_open(&wrapper, t, inner, inner_self, outer, outer_self);
    if (status != HOCKET_OK)
        free_trace(t);
    return status;
}
