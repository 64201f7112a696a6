/* The one table of environment variables: `hocket help environment` and hocket(7) print it, and
 * tests/manual.sh holds it against the sources. One name a line, so that it can. */
#include "command.h"

#include <stddef.h>

static const hk_term world[] = {
    {"HOCKET_RANK", "this rank's number, from 0; `hocket run` sets it"},
    {"HOCKET_WORLD_SIZE", "how many ranks there are; `hocket run` sets it"},
    {"HOCKET_COORDINATOR",
     "host:port or [v6]:port where rank 0 listens while the ranks meet, the same on all ranks; "
     "`hocket run` sets it"},
    {"HOCKET_HOSTFILE",
     "MLX's hostfile, which gives the number of ranks and, as its first address, the coordinator; "
     "`hocket run` removes it"},
    {"HOCKET_HOST",
     "takes the place of this host's name where ranks find out which of them share a host: for "
     "containers of one machine that can map each other's memory, or to keep ranks apart"},
    {NULL, NULL},
};

static const hk_term ways[] = {
    {"HOCKET_BACKEND",
     "what carries the data (any); `hocket doctor` lists the names. `hocket run` sets it"},
    {"HOCKET_TIMEOUT", "the deadline of each call in seconds, or inf (300)"},
    {"HOCKET_TUNE",
     "a file with rows of one's own for the table of choices, which `hocket bench --tune` writes; "
     "rank 0 reads it and hands it to all"},
    {NULL, NULL},
};

static const hk_term secrets[] = {
    {"HOCKET_SECRET_FILE",
     "a file with the job's secret, 16 characters or more, or fd:N for an inherited descriptor; "
     "`hocket run` makes a secret for each job and sets it"},
    {"HOCKET_SECRET",
     "the secret itself, where HOCKET_SECRET_FILE is not set. Others on the host may be able to "
     "read it, so a file is better. `hocket run` removes it"},
    {"HOCKET_INSECURE", "1: without a secret, listen and connect beyond loopback all the same"},
    {"HOCKET_ENCRYPT",
     "1 on any rank: all that travels on sockets between ranks is sealed. Needs a secret that "
     "was given, not one that rank 0 tells by its launcher's store"},
    {NULL, NULL},
};

static const hk_term faults[] = {
    {"HOCKET_LOG", "what goes to standard error: error, warn (the default), info or debug"},
    {"HOCKET_TRACE",
     "writes to this path, with .RANK.json after it, who waited for whom; for Perfetto or "
     "about:tracing"},
    {"HOCKET_FAULT",
     "\"seed=7,hold=0.1,delay_us=500\" keeps back that fraction of the messages; skip=, short=, "
     "lose= and on= are explained in hocket.h"},
    {NULL, NULL},
};

static const hk_term mlx[] = {
    {"HOCKET_MLX_LIB", "the library to load for MLX, instead of libhocket-mlx beside libhocket"},
    {"HOCKET_MLX_KERNELS",
     "mlx: leave all operations to MLX, also those that libhocket's own kernels do better"},
    {"HOCKET_BLAS", "reference: leave MLX the BLAS that it was built with; openblas: do not put "
                    "libhocket-blas before OpenBLAS. Linux only"},
    {"LD_PRELOAD",
     "`hocket run --mlx` adds libhocket-blas and OpenBLAS, where that is installed. Linux "
     "only"},
    {"PYTHONUNBUFFERED", "`hocket run --mlx` sets it to 1, unless set already"},
    {"PATH", "where the device mlx looks for g++, with which MLX fuses kernels for the cpu"},
    {"HOCKET_MPI_LIB", "the file of hocket's own module for the MPI of the process"},
    {"MLX_MPI_LIBNAME",
     "the MPI that MLX loads, for mlx:mpi; `hocket run --mlx` sets it to libhocket-mpi"},
    {NULL, NULL},
};

static const hk_term rdma[] = {
    {"HOCKET_VERBS_DEVICES", "which RDMA devices to use: rxe1,rxe2 of each host, or a file (with a "
                             "/ in its name) with MLX's "
                             "matrix of devices (every device with an active port)"},
    {"HOCKET_VERBS_RING", "anything: RDMA to neighbours alone (r - 1 and r + 1); TCP to others"},
    {"HOCKET_VERBS_KIND",
     "rc or uc: the kind of queue pair (reliable where both devices have it, else unreliable)"},
    {"HOCKET_VERBS_LIBRARY", "the library to load for RDMA, instead of libibverbs.so.1 or librdma"},
    {"HOCKET_VERBS_PROFILE",
     "apple: take any RDMA device for one of Apple's, with their limits; for tests"},
    {"MLX_IBV_DEVICES",
     "mlx.launch: the file with the matrix of devices: which of each rank's faces which rank"},
    {"JACCL_IBV_DEVICES", "the same, looked at first"},
    {"MLX_JACCL_RING", "the same as HOCKET_VERBS_RING"},
    {"JACCL_RING", "the same"},
    {"MLX_JACCL_COORDINATOR", "mlx.launch: where rank 0 listens"},
    {"JACCL_COORDINATOR", "the same"},
    {"JACCL_RANK", "this rank's number, without mlx.launch"},
    {NULL, NULL},
};

static const hk_term launchers[] = {
    {"MLX_RANK", "mlx.launch: the rank. `hocket run` sets it for the backends on MLX's ring"},
    {"MLX_HOSTFILE",
     "mlx.launch: the ring's hostfile. `hocket run` sets it for the backends on MLX's ring"},
    {"MLX_WORLD_SIZE", "mlx.launch: the number of ranks, with NCCL"},
    {"NCCL_HOST_IP", "mlx.launch: rank 0's host, with NCCL"},
    {"NCCL_PORT", "mlx.launch: rank 0's port, with NCCL"},
    {"OMPI_COMM_WORLD_RANK", "Open MPI: the rank"},
    {"OMPI_COMM_WORLD_SIZE", "Open MPI: the number of ranks"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE", "Open MPI: how many of them are on this host"},
    {"PMIX_NAMESPACE", "Open MPI, PMIx: the job, whose store tells several hosts where to meet"},
    {"PMIX_RANK", "PMIx: the rank"},
    {"PMI_RANK", "MPICH: the rank"},
    {"PMI_SIZE", "MPICH: the number of ranks"},
    {"MPI_LOCALNRANKS", "MPICH: how many of them are on this host"},
    {"PMI_JOBID", "MPICH: the job"},
    {"PMI_PORT", "MPICH: where its launcher listens, which tells jobs apart"},
    {"PMI_FD",
     "MPICH: the connection to its launcher, which tells jobs apart, and several hosts where to "
     "meet"},
    {"RANK", "torchrun: the rank"},
    {"WORLD_SIZE", "torchrun: the number of ranks"},
    {"MASTER_ADDR", "torchrun: rank 0's host"},
    {"MASTER_PORT", "torchrun: the port of its own meeting; hocket's is derived from it"},
    {"LOCAL_WORLD_SIZE", "torchrun: how many ranks are on this host"},
    {"TORCHELASTIC_RUN_ID", "torchrun: the job"},
    {"TORCHELASTIC_RESTART_COUNT", "torchrun: how often it was started again"},
    {"SLURM_PROCID", "srun: the rank"},
    {"SLURM_NTASKS", "srun: the number of ranks"},
    {"SLURM_STEP_NODELIST", "srun: the hosts of its step, the first of which is rank 0's"},
    {"SLURM_JOB_NODELIST", "srun: the hosts of the job"},
    {"SLURM_NODELIST", "the same, by its older name"},
    {"SLURM_JOB_ID", "srun: the job"},
    {"SLURM_STEP_ID", "srun: the step of the job"},
    {"SLURM_JOBID", "the job, by its older name"},
    {"SLURM_STEPID", "the step, by its older name"},
    {NULL, NULL},
};

static const hk_term command[] = {
    {"HOCKET_TERMINAL",
     "`hocket run` sets it to 1 for the rank that reads standard input, if both that and standard "
     "error are a terminal; `hocket bench` then shows how far it is"},
    {"OMP_NUM_THREADS",
     "`hocket run` sets it to the rank's share of the cores, unless set already"},
    {"OPENBLAS_NUM_THREADS", "the same"},
    {"MKL_NUM_THREADS", "the same"},
    {"VECLIB_MAXIMUM_THREADS", "the same"},
    {"TMPDIR", "where `hocket run` makes the small files of a job (/tmp)"},
    {NULL, NULL},
};

const hk_section hk_variables[] = {
    {"Who and where", world},
    {"Ways and limits", ways},
    {"Secrets", secrets},
    {"Finding faults", faults},
    {"MLX", mlx},
    {"Devices for RDMA", rdma},
    {"Set by other launchers", launchers},
    {"The command", command},
    {NULL, NULL},
};
