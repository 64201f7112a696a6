#include "run/output.h"

#include "run/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAG_BYTES 16     /* "[rank] " */
#define WORDS_BYTES 2048 /* a line of the launcher's own */

/* === Sinks ==================================================================================== */

void hk_sink_close(hk_sink *sink)
{
    hk_buffer_free(&sink->waiting);
}

bool hk_sink_is_full(const hk_sink *sink)
{
    return sink->waiting.length >= HK_SINK_BYTES;
}

static void append_verbatim(hk_sink *sink, const char *bytes, size_t length)
{
    if (sink->error || length == 0)
        return;
    if (!hk_buffer_add(&sink->waiting, bytes, length)) {
        sink->error = ENOMEM;
        return;
    }
    sink->mid_line = bytes[length - 1] != '\n';
}

static void append(hk_sink *sink, const char *bytes, size_t length)
{
    const char *newline;
    while (sink->raw && (newline = memchr(bytes, '\n', length)) != NULL) {
        size_t line = (size_t)(newline - bytes);
        append_verbatim(sink, bytes, line);
        append_verbatim(sink, "\r\n", 2);
        bytes += line + 1;
        length -= line + 1;
    }
    append_verbatim(sink, bytes, length);
}

/* How much to write at once. A pipe that polls as writable takes PIPE_BUF bytes without blocking
 * and without mixing them with other writers', so pieces end with a line where they can. */
static size_t piece(const hk_buffer *waiting)
{
    if (waiting->length <= PIPE_BUF)
        return waiting->length;
    for (size_t n = PIPE_BUF; n > 0; n--) {
        if (waiting->data[waiting->start + n - 1] == '\n')
            return n;
    }
    return PIPE_BUF;
}

void hk_sink_flush(hk_sink *sink)
{
    hk_buffer *waiting = &sink->waiting;
    while (waiting->length > 0 && !sink->error) {
        struct pollfd ready = {.fd = sink->fd, .events = POLLOUT};
        if (poll(&ready, 1, 0) <= 0)
            return;
        ssize_t written = write(sink->fd, waiting->data + waiting->start, piece(waiting));
        if (written < 0) {
            if (errno == EINTR || errno == EAGAIN)
                return;
            sink->error = errno;
            hk_buffer_free(waiting);
            return;
        }
        hk_buffer_drop(waiting, (size_t)written);
    }
}

/* Begins a line of writer's own, unless writer goes on with the line that it left open. */
static void begin_line(hk_sink *sink, const void *writer, const char *tag)
{
    if (sink->mid_line && sink->writer == writer)
        return;
    if (sink->mid_line)
        append(sink, "\n", 1);
    append(sink, tag, strlen(tag));
    sink->writer = writer;
}

void hk_sink_say(hk_sink *sink, const char *format, ...)
{
    char line[WORDS_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    size_t total = strlen(line);
    line[total++] = '\n';
    begin_line(sink, NULL, "hocket run: ");
    append(sink, line, total);
}

/* === Streams ================================================================================== */

void hk_stream_close(hk_stream *stream)
{
    free(stream->line);
    stream->line = NULL;
    stream->length = 0;
}

/* The largest part of bytes[0 .. length) that does not end within a UTF-8 character. What is no
 * UTF-8 is taken as it is. */
static size_t whole_characters(const char *bytes, size_t length)
{
    for (size_t back = 1; back <= 4 && back <= length; back++) {
        unsigned char c = (unsigned char)bytes[length - back];
        if ((c & 0xC0) == 0x80)
            continue; /* not the first byte of a character */
        size_t needed = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
        return needed > back ? length - back : length;
    }
    return length;
}

/* How much of the buffer can be handed on now. */
static size_t complete(const hk_stream *stream)
{
    for (size_t n = stream->length; n > 0; n--) {
        if (stream->line[n - 1] == '\n')
            return stream->live ? whole_characters(stream->line, stream->length) : n;
    }
    if (stream->live || stream->length == HK_LINE_BYTES)
        return whole_characters(stream->line, stream->length);
    return 0;
}

static void hand_on(hk_stream *stream, size_t length)
{
    hk_sink *sink = stream->sink;
    const char *bytes = stream->line;
    size_t left = length;
    if (stream->tagged) {
        char tag[TAG_BYTES];
        snprintf(tag, sizeof tag, "[%d] ", stream->rank);
        while (left > 0) {
            const char *newline = memchr(bytes, '\n', left);
            size_t line = newline ? (size_t)(newline - bytes) + 1 : left;
            begin_line(sink, stream, tag);
            append(sink, bytes, line);
            bytes += line;
            left -= line;
        }
    } else {
        (stream->verbatim ? append_verbatim : append)(sink, bytes, left);
        sink->writer = stream;
    }
    stream->length -= length;
    memmove(stream->line, stream->line + length, stream->length);
}

bool hk_stream_feed(hk_stream *stream, const char *bytes, size_t length)
{
    if (!stream->line)
        stream->line = malloc(HK_LINE_BYTES);
    if (!stream->line)
        return false;
    if (stream->copy >= 0 && !hk_write_all(stream->copy, bytes, length))
        return false;
    while (length > 0) {
        size_t room = HK_LINE_BYTES - stream->length;
        size_t part = length < room ? length : room;
        memcpy(stream->line + stream->length, bytes, part);
        stream->length += part;
        bytes += part;
        length -= part;
        hand_on(stream, complete(stream));
    }
    return true;
}

void hk_stream_end(hk_stream *stream)
{
    if (stream->length > 0)
        hand_on(stream, stream->length);
}
