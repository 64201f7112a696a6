/* The plan of one job, made by run.c and carried out by guard.c, job.c and spawn.c. */
#ifndef HK_TOOL_LAUNCH_H
#define HK_TOOL_LAUNCH_H

#include "command.h"

#include <sys/types.h>

#define HK_RANKS_MAX 1024
#define HK_SECRET_TEXT 65 /* 32 bytes in hexadecimal digits, and the end */
#define HK_STDIN_NONE (-1)

typedef struct hk_launch {
    int world_size;
    const char *backend;
    bool tag_output;
    bool keep_going;  /* --on-failure keep */
    double timeout_s; /* 0: none */
    hk_list env;      /* K=V */
    const char *cwd;  /* NULL: where we are */
    int stdin_rank;   /* or HK_STDIN_NONE */
    bool terminal;    /* what stdin_rank writes to stderr reaches a terminal at once */
    char **program;   /* NULL-terminated */
    int threads;      /* for each rank's own arithmetic */
    int coordinator_port;
    char *mlx_hostfile; /* path, or NULL: not for MLX's ring */
    /* The ranks' process groups, 0 where there is none (yet, or any more). Shared by the two
     * processes of guard.c. */
    volatile pid_t *groups;
} hk_launch;

/* A new job's secret; false with errno. Only the process that starts the ranks ever has it, and
 * only while it does: see hk_secret_wipe. */
bool hk_secret_make(char secret[HK_SECRET_TEXT]);
void hk_secret_wipe(char secret[HK_SECRET_TEXT]);

/* Starts rank and returns its pid, which is its process group's number too. out and err are the
 * read ends of its pipes. On failure: -1, having put a sentence into why and the exit status that
 * it calls for into *status. */
pid_t hk_spawn(const hk_launch *launch, int rank, const char *secret, int *out, int *err, char *why,
               size_t why_size, int *status);

/* Runs the whole job and returns its exit status. Ends everything early when lifeline, the read end
 * of a pipe, is hung up. Called in a process that has no other children. */
int hk_job_run(const hk_launch *launch, int lifeline);

/* Runs hk_job_run in a process of its own so that killing either process ends the ranks. Returns
 * the job's exit status. */
int hk_guard(const hk_launch *launch);

/* A TCP port of this host, reserved for a rank that will bind it on 127.0.0.1: nothing else gets it
 * while the socket that is returned stays open. -1 with errno. */
int hk_port_hold(int *port);

/* Writes MLX's ring hostfile with these ports and returns its path, to be unlinked and freed; NULL
 * with errno. */
char *hk_mlx_hostfile_write(const int *ports, int count);

/* A temporary file, made and open for reading and writing, close-on-exec. *path is to be freed. -1
 * with errno. */
int hk_temporary_file(char **path);

/* Writes all of it; false with errno. */
bool hk_write_all(int fd, const char *bytes, size_t length);

#endif
