/* hocket run: starts the ranks of a program on this machine. */
#include "backends.h"
#include "launch.h"
#include "options.h"
#include "platform.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define RANK_FDS 8 /* descriptors that the launcher needs for a rank, at most */

typedef struct run_options {
    int n;
    const char *backend;
    bool tag_output;
    int on_failure; /* index into "stop|keep" */
    double timeout_s;
    hk_list env;
    const char *cwd;
    const char *stdin_rank;
} run_options;

#define FIELD(name) offsetof(run_options, name)

static const hk_option options[] = {
    {.name = "n",
     .kind = HK_OPTION_INT,
     .field = FIELD(n),
     .least = 1,
     .most = HK_RANKS_MAX,
     .value = "RANKS",
     .help = "how many ranks to start (1)"},
    {.name = "backend",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(backend),
     .value = "BACKEND",
     .help = "what carries the data (HOCKET_BACKEND, else any); `hocket doctor` lists them"},
    {.name = "tag-output",
     .kind = HK_OPTION_FLAG,
     .field = FIELD(tag_output),
     .help = "put \"[rank] \" before each line of output"},
    {.name = "on-failure",
     .kind = HK_OPTION_CHOICE,
     .field = FIELD(on_failure),
     .value = "stop|keep",
     .help = "when a rank fails, end the others after 2 seconds (stop, the default) or let them go "
             "on (keep)"},
    {.name = "timeout",
     .kind = HK_OPTION_SECONDS,
     .field = FIELD(timeout_s),
     .value = "SECONDS",
     .help = "end the job after so long, with status 124"},
    {.name = "env",
     .kind = HK_OPTION_LIST,
     .field = FIELD(env),
     .value = "NAME=VALUE",
     .help = "set a variable for every rank; may come again"},
    {.name = "cwd",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(cwd),
     .value = "FOLDER",
     .help = "change to this folder before the program starts"},
    {.name = "stdin",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(stdin_rank),
     .value = "RANK|none",
     .help = "the rank that reads standard input (0); the others find it empty"},
    {.name = NULL},
};

static const hk_term variables[] = {
    {"HOCKET_RANK", "the rank's number, from 0"},
    {"HOCKET_WORLD_SIZE", "how many ranks there are"},
    {"HOCKET_COORDINATOR", "where rank 0 listens while the ranks meet"},
    {"HOCKET_BACKEND", "as --backend says"},
    {"HOCKET_SECRET_FILE", "a file with the job's secret, made for this job alone"},
    {"HOCKET_TERMINAL",
     "1 for the rank that reads standard input, if both that and standard error are a terminal"},
    {"OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, MKL_NUM_THREADS, VECLIB_MAXIMUM_THREADS",
     "the rank's share of the cores, unless set already"},
    {"MLX_RANK, MLX_HOSTFILE", "with the backends mlx, mlx:any and mlx:ring"},
    {NULL, NULL},
};

static const hk_term statuses[] = {
    {"0", "every rank exited with 0"},
    {"N", "the status of the rank that failed first"},
    {"128+N", "that rank, or hocket itself, was ended by signal N"},
    {"124", "the time of --timeout was over"},
    {"125", "the launcher could not do its work"},
    {"126, 127", "the program cannot be started, is not there"},
    {"2", "the command line makes no sense"},
    {NULL, NULL},
};

static const hk_section sections[] = {
    {"Each rank's environment", variables},
    {"Exit status", statuses},
    {NULL, NULL},
};

/* === The plan ================================================================================= */

static bool check_env(const hk_list *env)
{
    for (int i = 0; i < env->count; i++) {
        const char *equals = strchr(env->items[i], '=');
        if (!equals || equals == env->items[i]) {
            hk_complain("run", "--env needs NAME=VALUE, not '%s'.", env->items[i]);
            return false;
        }
    }
    return true;
}

static bool parse_stdin(const char *text, int world_size, int *rank)
{
    char *end;
    *rank = 0;
    if (!text)
        return true;
    if (strcmp(text, "none") == 0) {
        *rank = HK_STDIN_NONE;
        return true;
    }
    long number = strtol(text, &end, 10);
    if (end == text || *end || number < 0 || number >= world_size) {
        hk_complain("run", "--stdin needs a rank from 0 to %d or 'none', not '%s'.", world_size - 1,
                    text);
        return false;
    }
    *rank = (int)number;
    return true;
}

/* --backend, else a HOCKET_BACKEND from --env or the environment, else any. */
static const hk_backend *choose_backend(const run_options *given)
{
    static const char variable[] = "HOCKET_BACKEND=";
    const char *name = given->backend;
    for (int i = 0; !name && i < given->env.count; i++) {
        if (strncmp(given->env.items[i], variable, sizeof variable - 1) == 0)
            name = given->env.items[i] + sizeof variable - 1;
    }
    if (!name)
        name = getenv("HOCKET_BACKEND");
    const hk_backend *backend = hk_backend_find("run", name && *name ? name : "any");
    if (backend && backend->cannot) {
        hk_complain("run", "The backend '%s' cannot be started here: %s.", backend->name,
                    backend->cannot);
        return NULL;
    }
    return backend;
}

/* === Resources of a job ======================================================================= */

/* The ranks' ports stay reserved as long as these sockets are open. */
typedef struct held_ports {
    int fds[1 + HK_RANKS_MAX];
    int count;
} held_ports;

static int hold(held_ports *held)
{
    int port;
    int fd = hk_port_hold(&port);
    if (fd < 0)
        return -1;
    held->fds[held->count++] = fd;
    return port;
}

static bool hold_ring(hk_launch *launch, held_ports *held)
{
    int ports[HK_RANKS_MAX];
    for (int rank = 0; rank < launch->world_size; rank++) {
        ports[rank] = hold(held);
        if (ports[rank] < 0)
            return false;
    }
    launch->mlx_hostfile = hk_mlx_hostfile_write(ports, launch->world_size);
    return launch->mlx_hostfile != NULL;
}

static size_t groups_size(const hk_launch *launch)
{
    return (size_t)launch->world_size * sizeof *launch->groups;
}

static bool acquire(hk_launch *launch, const hk_backend *backend, held_ports *held)
{
    void *groups =
        mmap(NULL, groups_size(launch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const char *what = "memory";
    bool ok = groups != MAP_FAILED;
    if (ok) {
        launch->groups = groups;
        what = "a port";
        launch->coordinator_port = hold(held);
        ok = launch->coordinator_port > 0;
    }
    if (ok && backend->mlx_ring) {
        what = "MLX's ring";
        ok = hold_ring(launch, held);
    }
    if (!ok)
        hk_complain("run", "There is no %s for the job: %s.", what, strerror(errno));
    return ok;
}

static void release(hk_launch *launch, held_ports *held)
{
    if (launch->mlx_hostfile) {
        unlink(launch->mlx_hostfile);
        free(launch->mlx_hostfile);
    }
    for (int i = 0; i < held->count; i++)
        close(held->fds[i]);
    if (launch->groups)
        munmap((void *)launch->groups, groups_size(launch));
}

/* The launcher's own standard descriptors may be closed; a pipe must not take their numbers. */
static void fill_standard_fds(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static void allow_descriptors(int ranks)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)ranks * RANK_FDS + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed)
        return;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int launch_program(const run_options *given, char **program)
{
    hk_launch launch = {
        .world_size = given->n,
        .tag_output = given->tag_output,
        .keep_going = given->on_failure == 1,
        .timeout_s = given->timeout_s,
        .env = given->env,
        .cwd = given->cwd,
        .terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO),
        .program = program,
        .threads = hk_cores() / given->n,
    };
    if (launch.threads < 1)
        launch.threads = 1;
    const hk_backend *backend = choose_backend(given);
    if (!backend || !check_env(&given->env) ||
        !parse_stdin(given->stdin_rank, given->n, &launch.stdin_rank))
        return HK_EXIT_USAGE;
    launch.backend = backend->name;

    held_ports held = {.count = 0};
    fill_standard_fds();
    allow_descriptors(given->n);
    int status = HK_EXIT_LAUNCHER;
    if (acquire(&launch, backend, &held))
        status = hk_guard(&launch);
    release(&launch, &held);
    return status;
}

static int run(const hk_command *self, int argc, char **argv)
{
    run_options given = {.n = 1};
    int status = HK_EXIT_USAGE;
    int at = hk_options_parse(self, &given, argc, argv);
    if (at == HK_OPTIONS_HELP)
        status = 0;
    else if (at == argc)
        hk_complain("run", "The program is missing: `hocket run %s`.", self->synopsis);
    else if (at > 0)
        status = launch_program(&given, argv + at);
    hk_list_free(&given.env);
    return status;
}

const hk_command hk_command_run = {
    .name = "run",
    .synopsis = "[-n RANKS] [OPTION ...] [--] PROGRAM [ARGUMENT ...]",
    .summary = "start the ranks of a program on this machine",
    .description =
        "Starts RANKS processes of PROGRAM and tells each who it is. Their output is passed on "
        "line "
        "by line. Ctrl-C and SIGTERM are passed on too. When a rank fails, the others get 2 "
        "seconds "
        "to say what they saw and are ended then. No process of a rank outlives this command.",
    .options = options,
    .sections = sections,
    .run = run,
};
