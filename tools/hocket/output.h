/* The ranks' output: a stream reads one rank's pipe and hands whole lines on to a sink, which
 * writes them to the launcher's stdout or stderr. Nothing here blocks. */
#ifndef HK_TOOL_OUTPUT_H
#define HK_TOOL_OUTPUT_H

#include "words.h"

#include <stdbool.h>
#include <stddef.h>

#define HK_LINE_BYTES 65536     /* a longer line goes on in pieces, cut between characters */
#define HK_SINK_BYTES (1 << 18) /* when as much waits in a sink, its streams wait too */

typedef struct hk_sink {
    int fd;
    char *data; /* what waits to be written: data[start .. start + length) */
    size_t start, length, capacity;
    const void *writer; /* who wrote last */
    bool mid_line;      /* and whether that ended within a line */
    int error;          /* errno of a write that failed: from then on all is dropped */
} hk_sink;

typedef struct hk_stream {
    int fd; /* the pipe to read, -1 once it is at its end */
    hk_sink *sink;
    int rank;
    bool tagged; /* each line gets "[rank] " */
    bool live;   /* do not wait for the end of the line: a person may be reading a prompt */
    char *line;  /* what was read and not handed on */
    size_t length;
} hk_stream;

/* False when there is no memory. The fd stays the caller's. */
bool hk_sink_open(hk_sink *sink, int fd);
void hk_sink_close(hk_sink *sink);

/* Whether streams should wait until something is written. */
bool hk_sink_is_full(const hk_sink *sink);

/* Writes what fd takes without blocking. */
void hk_sink_flush(hk_sink *sink);

/* A line of the launcher's own. */
void hk_sink_say(hk_sink *sink, const char *format, ...) HK_WORDS_PRINTF(2, 3);

/* Takes over fd, a pipe. False when there is no memory; fd is closed then. */
bool hk_stream_open(hk_stream *stream, hk_sink *sink, int fd, int rank, bool tagged, bool live);
void hk_stream_close(hk_stream *stream);

/* Reads once and hands on the lines that are complete; at the end of the pipe also the rest.
 * Returns whether anything was read. The sink must not be full. */
bool hk_stream_pump(hk_stream *stream);

#endif
