/* hocket run: starts the ranks of a program, here or on many hosts. */
#include "backends.h"
#include "run/engines.h"
#include "run/launch.h"
#include "options.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define RANK_FDS 8 /* descriptors that an agent or front needs for a rank, at most */

typedef struct run_options {
    int n;
    const char *backend;
    bool tag_output;
    int on_failure; /* index into "stop|keep" */
    double timeout_s;
    hk_list env;
    const char *cwd;
    const char *stdin_rank;
    hk_hosts_options where;
    const char *output_dir;
    bool mlx;
} run_options;

#define FIELD(name) offsetof(run_options, name)

static const hk_option options[] = {
    {.name = "n",
     .kind = HK_OPTION_INT,
     .field = FIELD(n),
     .least = 1,
     .most = HK_RANKS_MAX,
     .value = "RANKS",
     .help = "how many ranks to start on each host (1, or what the hostfile says)"},
    HK_HOSTS_OPTIONS(run_options, where, " (localhost)"),
    {.name = "backend",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(backend),
     .value = "BACKEND",
     .help = "what carries the data (HOCKET_BACKEND, else any); `hocket doctor` lists them"},
    {.name = "mlx",
     .kind = HK_OPTION_FLAG,
     .field = FIELD(mlx),
     .help = "the program is one on MLX, as mlx_lm.server: its mx.distributed runs over hocket"},
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
     .help = "change to this folder before the program starts (the one we are in, on other hosts "
             "where there is such a one)"},
    {.name = "stdin",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(stdin_rank),
     .value = "RANK|all|none",
     .help = "the rank that reads standard input (0), or all; the others find it empty. A rank on "
             "another host that is named so, or is the only one, has a terminal there where there "
             "is one here"},
    {.name = "output-dir",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(output_dir),
     .value = "FOLDER",
     .help = "write what each rank says into rank-N.txt there, too"},
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
    {"MLX_RANK, MLX_HOSTFILE", "with the backends ring, mlx, mlx:any and mlx:ring, without --mlx"},
    {"MLX_RANK, MLX_IBV_DEVICES, MLX_JACCL_COORDINATOR, MLX_JACCL_RING",
     "with the backends jaccl and mlx:jaccl, where the hostfile has \"rdma\""},
    {"MLX_MPI_LIBNAME", "with --mlx: libhocket-mpi, which MLX takes for its backend mpi"},
    {"LD_PRELOAD", "with --mlx, on Linux, where OpenBLAS is installed: that, which is faster than "
                   "the BLAS in MLX's wheel, behind libhocket-blas, which is faster still for the "
                   "steps of a language model"},
    {"PYTHONUNBUFFERED", "with --mlx: 1, so that what a rank has printed is not lost with it"},
    {"MLX_WORLD_SIZE, NCCL_HOST_IP, NCCL_PORT",
     "with --mlx: removed, as MLX_RANK and MLX_HOSTFILE are, since MLX would take its own nccl or "
     "ring"},
    {"HOCKET_...",
     "what is set here is set on the other hosts; of other variables those of --env are"},
    {NULL, NULL},
};

static const hk_term statuses[] = {
    {"0", "every rank exited with 0"},
    {"N", "the status of the rank that failed first"},
    {"128+N", "that rank, or hocket itself, was ended by signal N"},
    {"70", "with --mlx: that rank was ended by libhocket-mpi, which has said why"},
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
    if (strcmp(text, "none") == 0 || strcmp(text, "all") == 0) {
        *rank = text[0] == 'a' ? HK_STDIN_ALL : HK_STDIN_NONE;
        return true;
    }
    long number = strtol(text, &end, 10);
    if (end == text || *end || number < 0 || number >= world_size) {
        hk_complain("run", "--stdin needs a rank from 0 to %d, 'all' or 'none', not '%s'.",
                    world_size - 1, text);
        return false;
    }
    *rank = (int)number;
    return true;
}

/* --backend, else a HOCKET_BACKEND from --env, the hostfile's, a HOCKET_BACKEND from the
 * environment, else any. */
static bool choose_backend(const run_options *given, hk_launch *launch)
{
    static const char variable[] = "HOCKET_BACKEND=";
    const char *name = given->backend;
    for (int i = 0; !name && i < given->env.count; i++) {
        if (strncmp(given->env.items[i], variable, sizeof variable - 1) == 0)
            name = given->env.items[i] + sizeof variable - 1;
    }
    if (!name)
        name = launch->hosts.backend;
    if (!name)
        name = getenv("HOCKET_BACKEND");
    if (name && strcmp(name, "jaccl-ring") == 0) { /* what mlx.launch calls it */
        launch->jaccl_ring = true;
        name = "jaccl";
    }
    launch->backend = hk_backend_find("run", name && *name ? name : "any");
    return launch->backend && hk_engine_check(launch);
}

/* --hosts, --hostfile, or this host alone. */
static bool choose_hosts(const run_options *given, hk_launch *launch)
{
    if (!hk_hosts_choose("run", &given->where, &launch->hosts))
        return false;
    long ranks = hk_hosts_fill(&launch->hosts, given->n);
    if (ranks > HK_RANKS_MAX)
        hk_complain("run", "These hosts have %ld ranks together; a job has at most %d.", ranks,
                    HK_RANKS_MAX);
    launch->world_size = (int)ranks;
    return ranks <= HK_RANKS_MAX;
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
        .command = "run",
        .tag_output = given->tag_output,
        .keep_going = given->on_failure == 1,
        .timeout_s = given->timeout_s,
        .env = given->env,
        .cwd = given->cwd,
        .stdin_named = given->stdin_rank != NULL,
        .terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO),
        .program = program,
        .ssh = given->where.ssh ? given->where.ssh : "ssh",
        .hocket = given->where.hocket,
        .output_dir = given->output_dir,
        .mlx = given->mlx,
    };
    int status = HK_EXIT_USAGE;
    if (choose_hosts(given, &launch) && choose_backend(given, &launch) && check_env(&given->env) &&
        parse_stdin(given->stdin_rank, launch.world_size, &launch.stdin_rank)) {
        hk_fill_standard_fds();
        allow_descriptors(launch.world_size);
        status = hk_job_run(&launch);
    }
    hk_hosts_free(&launch.hosts);
    return status;
}

static int run(const hk_command *self, int argc, char **argv)
{
    run_options given = {.n = 0};
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
    .summary = "start the ranks of a program, on this machine or on many",
    .description =
        "Starts RANKS processes of PROGRAM on each host and tells each who it is. Their output is "
        "passed on line by line. Ctrl-C and SIGTERM are passed on too. When a rank fails, the "
        "others get 2 seconds to say what they saw and are ended then. No process of a rank "
        "outlives this command, on no host.",
    .options = options,
    .sections = sections,
    .run = run,
};
