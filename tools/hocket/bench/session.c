#include "bench/session.h"

#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LIVE_S 0.1 /* between two live lines */

/* === Life ===================================================================================== */

bool hk_bench_session_open(hk_bench_session *session, const char *command)
{
    *session = (hk_bench_session){.command = command};
    if (hocket_init(NULL, &session->group) != HOCKET_OK) {
        hk_complain(command, "%s", hocket_last_error());
        return false;
    }
    if (!hk_bench_task_open(&session->task, session->group)) {
        hk_complain(command, "There is no memory for the lists of %d ranks.",
                    hocket_world_size(session->group));
        return false;
    }
    session->live = session->task.rank == 0 && (isatty(STDERR_FILENO) || getenv("HOCKET_TERMINAL"));
    return true;
}

void hk_bench_session_close(hk_bench_session *session)
{
    hk_bench_task_close(&session->task);
    hocket_free(session->group);
    session->group = NULL;
}

static void *get_buffer(const hk_bench_session *session, size_t bytes)
{
    void *memory = NULL;
    if (bytes == 0)
        return NULL;
    if (!session->shared_memory)
        memory = malloc(bytes);
    else if (hocket_alloc(session->group, bytes, &memory) != HOCKET_OK)
        memory = NULL;
    if (!memory)
        hk_complain(session->command, "There is no memory for a buffer of %zu bytes.", bytes);
    return memory;
}

static void give_buffer(const hk_bench_session *session, void *memory)
{
    if (!session->shared_memory)
        free(memory);
    else
        hocket_dealloc(session->group, memory);
}

bool hk_bench_session_buffers(hk_bench_session *session, const hk_bench_operation *operation,
                              const hk_bench_sizes *sizes)
{
    hk_bench_task *task = &session->task;
    size_t send = 0, recv = 0;
    for (int i = 0; i < sizes->count; i++) {
        hk_bench_task_shape(task, operation, sizes->bytes[i]);
        send = hk_bench_send_bytes(task) > send ? hk_bench_send_bytes(task) : send;
        recv = hk_bench_recv_bytes(task) > recv ? hk_bench_recv_bytes(task) : recv;
    }
    task->send = get_buffer(session, send);
    task->recv = get_buffer(session, recv);
    session->memory_own = send + recv > session->memory_own ? send + recv : session->memory_own;
    return (task->send || send == 0) && (task->recv || recv == 0);
}

void hk_bench_session_buffers_free(hk_bench_session *session)
{
    give_buffer(session, session->task.send);
    give_buffer(session, session->task.recv);
    session->task.send = session->task.recv = NULL;
}

/* === Measuring ================================================================================ */

bool hk_bench_session_worked(const hk_bench_session *session, hocket_status status)
{
    if (status == HOCKET_OK)
        return true;
    hk_complain(session->command, "Rank %d, %s of %zu bytes: %s", session->task.rank,
                session->task.operation->name, hk_bench_vector_bytes(&session->task),
                hocket_last_error());
    return false;
}

static bool run_times(void *context, int times)
{
    hk_bench_session *session = context;
    for (int i = 0; i < times; i++) {
        hocket_status status = session->task.operation->run(&session->task);
        if (status != HOCKET_OK)
            return hk_bench_session_worked(session, status);
    }
    return true;
}

static bool align(void *context)
{
    hk_bench_session *session = context;
    return hk_bench_session_worked(session, hocket_barrier(session->group));
}

bool hk_bench_session_agree(hk_bench_session *session, double *values, int count)
{
    return hk_bench_session_worked(session,
                                   hocket_all_reduce(session->group, values, values, (size_t)count,
                                                     HOCKET_FLOAT64, HOCKET_MAX));
}

static bool agree(void *context, double *values, int count)
{
    return hk_bench_session_agree(context, values, count);
}

static void tell(void *context, int done, int batches)
{
    hk_bench_session *session = context;
    double now = hk_bench_now();
    if (!session->live || (now - session->told < LIVE_S && done > 1))
        return;
    session->told = now;
    fprintf(stderr, "\r\033[K%s, %zu bytes%s%s: batch %d of %d", session->task.operation->name,
            hk_bench_vector_bytes(&session->task), session->way ? ", " : "",
            session->way ? session->way : "", done, batches);
    fflush(stderr);
}

/* Clears the live line. The launcher passes stdout and stderr on by themselves, so what goes to
 * stdout next waits until this has reached the terminal. */
static void tell_nothing(const hk_bench_session *session)
{
    const struct timespec passed_on = {.tv_nsec = 20000000};
    if (session->live) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
        nanosleep(&passed_on, NULL);
    }
}

bool hk_bench_session_check(hk_bench_session *session)
{
    const hk_bench_task *task = &session->task;
    size_t where = 0;
    double wrong = !hk_bench_check(task, &where);
    if (wrong > 0)
        hk_complain(session->command,
                    "Rank %d of %d has a wrong result: %s of %zu bytes over %s, element %zu.",
                    task->rank, task->n, task->operation->name, hk_bench_vector_bytes(task),
                    hocket_backend(session->group), where);
    return hk_bench_session_agree(session, &wrong, 1) && wrong == 0;
}

bool hk_bench_session_try(hk_bench_session *session)
{
    hk_bench_fill(&session->task);
    return align(session) && run_times(session, 1) && hk_bench_session_check(session);
}

bool hk_bench_session_measure(hk_bench_session *session, double seconds, hk_bench_times *times)
{
    const hk_bench_subject subject = {
        .run = run_times,
        .align = align,
        .agree = agree,
        .tell = tell,
        .context = session,
        .seconds = seconds,
    };
    bool ok = hk_bench_measure(&subject, times);
    tell_nothing(session);
    return ok;
}
