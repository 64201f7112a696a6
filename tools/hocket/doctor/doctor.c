/* hocket doctor: what works here, and why the rest does not. */
#include "backends.h"
#include "command.h"
#include "options.h"
#include "platform.h"
#include "doctor/probe.h"
#include "doctor/survey.h"
#include "words.h"

#include <hocket/hocket.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

typedef struct doctor_options {
    bool promises;
    hk_hosts_options where;
} doctor_options;

static const hk_option options[] = {
    {.name = "promises",
     .kind = HK_OPTION_FLAG,
     .field = offsetof(doctor_options, promises),
     .help = "say instead what hocket promises and which backend keeps it"},
    HK_HOSTS_OPTIONS(doctor_options, where, ""),
    {.name = NULL},
};

static const hk_term statuses[] = {
    {"0", "with --hosts or --hostfile: all is well; without: what there is was shown"},
    {"1", "something is wrong with a host, or between two, and a sentence says what"},
    {"125", "the hosts could not be asked"},
    {"2", "the command line makes no sense"},
    {NULL, NULL},
};

static const hk_section sections[] = {
    {"Exit status", statuses},
    {NULL, NULL},
};

static void show_host(void)
{
    struct utsname system;
    int cores = hk_cores();
    if (uname(&system) < 0)
        memset(&system, 0, sizeof system);
    printf("version   hocket %s\n", hocket_version());
    printf("host      %s: %d %s, %.1f GiB of memory, %s %s on %s\n", system.nodename, cores,
           cores == 1 ? "core" : "cores", (double)hk_memory_bytes() / (1 << 30), system.sysname,
           system.release, system.machine);
}

/* A finding of several lines goes on below its first. */
static void show_finding(const char *name, char *text)
{
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")); name = "")
        printf("%-10s%s\n", name, line);
}

/* What strangers' libraries say comes first: once MLX is loaded, there are threads, and a process
 * is made for each of these. */
static void show_findings(void)
{
    static const struct {
        const char *name;
        hk_probe_fn probe;
        bool apart;
    } findings[] = {
        {"library", hk_probe_library, false}, {"network", hk_probe_addresses, false},
        {"ranks by", hk_probe_route, false},  {"MPI", hk_probe_mpi, true},
        {"RDMA", hk_probe_rdma, true},        {"CUDA", hk_probe_cuda, true},
        {"NCCL", hk_probe_nccl, true},        {"Python", hk_probe_python, true},
        {"MLX", hk_probe_mlx, false},
    };
    for (size_t i = 0; i < sizeof findings / sizeof *findings; i++) {
        char text[HK_PROBE_BYTES] = "";
        if (findings[i].apart)
            hk_probe_apart(findings[i].probe, text, sizeof text);
        else
            findings[i].probe(text, sizeof text);
        show_finding(findings[i].name, text);
    }
}

/* Whether there is one, never what it is. */
static void show_secret(void)
{
    const char *source = getenv("HOCKET_SECRET_FILE") ? "HOCKET_SECRET_FILE"
                         : getenv("HOCKET_SECRET")    ? "HOCKET_SECRET"
                                                      : NULL;
    if (source)
        printf("secret    set by %s\n", source);
    else
        printf("secret    none set here; `hocket run` makes one for each job\n");
}

/* The last error without the words that the line says already. */
static const char *reason(void)
{
    static const char known[] = " is not available: ";
    const char *text = hocket_last_error();
    const char *found = strstr(text, known);
    return found ? found + sizeof known - 1 : text;
}

static void show_backends(void)
{
    printf("\nBackends\n");
    for (const hk_backend *backend = hk_backends; backend->name; backend++) {
        bool available = hocket_is_available(backend->name);
        printf("  %-11s%s%s\n", backend->name,
               available ? "available" : "not here: ", available ? "" : reason());
    }
}

static void show_instead(const char *engine, const char *instead)
{
    if (instead)
        printf("    %-6s%s\n", engine, instead);
}

static void show_promises(void)
{
    printf("Promises, kept by hocket's own transports (local, tcp, shm, jaccl). Where a backend "
           "hands the\nwork to another engine, that engine's manners count:\n");
    for (const hk_promise *promise = hk_promises; promise->text; promise++) {
        printf("  %s\n", promise->text);
        show_instead("mlx", promise->mlx);
        show_instead("mpi", promise->mpi);
        show_instead("nccl", promise->nccl);
    }
}

/* Each pair takes a second or so: with more hosts, that would be many minutes. */
static int show_hosts(const hk_hosts_options *where)
{
    hk_launch launch = {.command = "doctor",
                        .ssh = where->ssh ? where->ssh : "ssh",
                        .hocket = where->hocket};
    int status = HK_EXIT_USAGE;
    if (!where->names && !where->file) {
        hk_complain("doctor", "--ssh and --hocket need --hosts or --hostfile beside them.");
        return HK_EXIT_USAGE;
    }
    if (!hk_hosts_choose("doctor", where, &launch.hosts))
        return HK_EXIT_USAGE;
    if (launch.hosts.count > HK_SURVEY_HOSTS_MAX) {
        hk_complain("doctor", "These are %d hosts; at most %d can be looked at together.",
                    launch.hosts.count, HK_SURVEY_HOSTS_MAX);
    } else {
        hk_fill_standard_fds();
        status = hk_survey_run(&launch);
    }
    hk_hosts_free(&launch.hosts);
    return status;
}

static int run(const hk_command *self, int argc, char **argv)
{
    doctor_options given = {0};
    const hk_hosts_options *where = &given.where;
    int at = hk_options_parse(self, &given, argc, argv);
    if (at < 0)
        return at == HK_OPTIONS_HELP ? 0 : HK_EXIT_USAGE;
    if (at < argc) {
        hk_complain("doctor", "There is no use for '%s' here.", argv[at]);
        return HK_EXIT_USAGE;
    }
    if (where->names || where->file || where->ssh || where->hocket) {
        if (!given.promises)
            return show_hosts(where);
        hk_complain("doctor", "--promises are the same on all hosts: it goes alone.");
        return HK_EXIT_USAGE;
    }
    if (given.promises) {
        show_promises();
        return 0;
    }
    show_host();
    show_findings();
    show_secret();
    show_backends();
    return 0;
}

const hk_command hk_command_doctor = {
    .name = "doctor",
    .synopsis = "[OPTION ...]",
    .summary = "say what works on this machine, and why the rest does not",
    .description = "Shows the version, this host and its network, the engines and devices that are "
                   "found, and each backend with the reason why it is not available, if it is "
                   "not. With --hosts or --hostfile it looks at those instead, from both ends: "
                   "whether ssh reaches each and the same hocket is there, its cores, memory and "
                   "clock; and for each pair whether a connection opens to the address that ranks "
                   "would use, its round trip and its bandwidth.",
    .options = options,
    .sections = sections,
    .run = run,
};
