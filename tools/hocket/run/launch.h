/* The plan of one job, made by run.c and carried out by job.c, which talks to one agent a host. */
#ifndef HK_TOOL_LAUNCH_H
#define HK_TOOL_LAUNCH_H

#include "backends.h"
#include "command.h"
#include "run/hosts.h"
#include "run/protocol.h"

#include <sys/types.h>

#define HK_RANKS_MAX 1024
#define HK_SECRET_TEXT 65 /* 32 bytes in hexadecimal digits, and the end */
#define HK_STDIN_NONE (-1)
#define HK_STDIN_ALL (-2)

typedef struct hk_launch {
    const char *command; /* whose complaints these are */
    int world_size;
    hk_hosts hosts; /* at least one; their ranks add up to world_size */
    const hk_backend *backend;
    bool tag_output;
    bool keep_going;        /* --on-failure keep */
    double timeout_s;       /* 0: none */
    hk_list env;            /* K=V */
    const char *cwd;        /* NULL: where we are */
    int stdin_rank;         /* or HK_STDIN_NONE, HK_STDIN_ALL */
    bool stdin_named;       /* the user has said which */
    bool terminal;          /* what stdin_rank writes to stderr reaches a terminal at once */
    char **program;         /* NULL-terminated */
    bool jaccl_ring;        /* MLX's jaccl along a ring */
    bool mlx;               /* the program is one on MLX: mlx.h */
    const char *ssh;        /* the remote shell and its options */
    const char *hocket;     /* --hocket, or NULL: where this command lies here */
    const char *output_dir; /* a file a rank goes there, or NULL */
} hk_launch;

/* A new job's secret; false with errno. Who has it wipes it as soon as it can: hk_secret_wipe. */
bool hk_secret_make(char secret[HK_SECRET_TEXT]);
void hk_secret_wipe(char *secret);

/* What a rank has of its agent. */
typedef struct hk_rank_pipes {
    int out, err; /* read ends */
    int in;       /* write end, or -1: it reads what the agent reads, or nothing */
} hk_rank_pipes;

/* What a rank's standard input is. TERMINAL: its output and error too, all of which are out then,
 * and err is -1. */
typedef enum hk_input { HK_INPUT_NONE, HK_INPUT_OURS, HK_INPUT_PIPE, HK_INPUT_TERMINAL } hk_input;

/* Starts a rank of the plan in the environment env (hk_rank_environment's additions to ours) and
 * returns its pid, which is its process group's number too; *group gets it as well. On failure: -1,
 * having put a sentence into why and the exit status that it calls for into *status. */
pid_t hk_spawn(const hk_plan *plan, int rank, hk_input input, hk_rank_pipes *pipes,
               volatile pid_t *group, char *why, size_t why_size, int *status);

/* Gives a terminal, which is fd's other end, its size: rows and columns. */
void hk_window_set(int fd, const uint32_t size[2]);

/* Runs the whole job and returns its exit status. */
int hk_job_run(const hk_launch *launch);

/* A TCP port of this host, reserved for a rank that will bind it: nothing else gets it while the
 * socket that is returned stays open. -1 with errno. */
int hk_port_hold(int *port);

/* Writes text to a new temporary file and returns its path, to be unlinked and freed; NULL with
 * errno. */
char *hk_temporary_text(const char *text);

/* A pipe that programs started from here do not inherit; false with errno, and both ends -1. */
bool hk_pipe_make(int fds[2]);

/* The command's own standard descriptors may be closed; a pipe must not take their numbers. */
void hk_fill_standard_fds(void);

/* Closes it where it is one, and leaves -1. */
void hk_fd_close(int *fd);

/* A temporary file, made and open for reading and writing, close-on-exec. *path is to be freed. -1
 * with errno. */
int hk_temporary_file(char **path);

/* Writes all of it; false with errno. */
bool hk_write_all(int fd, const char *bytes, size_t length);

#endif
