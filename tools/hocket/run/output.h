/* The ranks' output: a stream takes what one rank writes and hands whole lines on to a sink, which
 * writes them to the launcher's stdout or stderr. Nothing here blocks. */
#ifndef HK_TOOL_OUTPUT_H
#define HK_TOOL_OUTPUT_H

#include "run/protocol.h"
#include "words.h"

#include <stdbool.h>
#include <stddef.h>

#define HK_LINE_BYTES 65536      /* a longer line goes on in pieces, cut between characters */
#define HK_SINK_BYTES (1u << 18) /* when as much waits in a sink, ranks are asked to wait */
#define HK_SINK_MOST (1u << 24)  /* and when as much does, nothing more is taken from agents */

typedef struct hk_sink {
    int fd;
    hk_buffer waiting;  /* what is to be written */
    const void *writer; /* who wrote last */
    bool mid_line;      /* and whether that ended within a line */
    bool raw;           /* to a terminal that goes down a line, but not to its beginning */
    int error;          /* errno of a write that failed: from then on all is dropped */
} hk_sink;

typedef struct hk_stream {
    hk_sink *sink;
    int rank;
    int copy;      /* a file that gets all of it too, or -1 */
    bool tagged;   /* each line gets "[rank] " */
    bool verbatim; /* what a terminal has printed: not a byte more or less */
    bool live;     /* do not wait for the end of the line: a person may be reading a prompt */
    char *line;    /* what came and was not handed on; NULL until something comes */
    size_t length;
} hk_stream;

void hk_sink_close(hk_sink *sink);

/* Whether ranks should wait until something is written. */
bool hk_sink_is_full(const hk_sink *sink);

/* Writes what fd takes without blocking. */
void hk_sink_flush(hk_sink *sink);

/* A line of the launcher's own. */
void hk_sink_say(hk_sink *sink, const char *format, ...) HK_WORDS_PRINTF(2, 3);

/* Takes what a rank has written and hands on the lines that are complete. False when there is no
 * memory. */
bool hk_stream_feed(hk_stream *stream, const char *bytes, size_t length);

/* Hands on the rest, a line without its end. */
void hk_stream_end(hk_stream *stream);
void hk_stream_close(hk_stream *stream);

#endif
