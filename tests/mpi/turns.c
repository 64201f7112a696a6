/* A program that uses MPI by itself, and hocket over sockets, whose ranks meet by the launcher's
 * store: turns WHEN... Each WHEN is a turn:
 *
 *   hocket     hocket_init, a sum, hocket_free
 *   hold       hocket_init; the group lives on, and is used in each later turn
 *   init       MPI_Init
 *   mpi        MPI_Allreduce
 *   finalize   MPI_Finalize
 *   refused    hocket_init fails, since MPI has been finalised
 *   child      a child that ends by exit, as programs do
 */
#include <hocket/hocket.h>

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static hocket_group *held;

static int fail(const char *turn)
{
    fprintf(stderr, "turns: %s: %s\n", turn, hocket_last_error());
    exit(1);
}

static hocket_group *begin(const char *turn)
{
    hocket_config config = {.size = sizeof config, .strict = true, .init_timeout_s = 30};
    hocket_group *group = NULL;
    if (hocket_init(&config, &group) != HOCKET_OK)
        fail(turn);
    return group;
}

static void add_up(hocket_group *group, const char *turn)
{
    float sum = 1;
    if (hocket_all_sum(group, &sum, 1) != HOCKET_OK || sum != (float)hocket_world_size(group))
        fail(turn);
}

static void take(const char *turn)
{
    int one = 1, sum = 0, size = 0;
    if (strcmp(turn, "hocket") == 0) {
        hocket_group *group = begin(turn);
        add_up(group, turn);
        hocket_free(group);
    } else if (strcmp(turn, "hold") == 0) {
        held = begin(turn);
    } else if (strcmp(turn, "init") == 0) {
        MPI_Init(NULL, NULL);
    } else if (strcmp(turn, "mpi") == 0) {
        MPI_Comm_size(MPI_COMM_WORLD, &size);
        MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        if (sum != size || size < 2)
            fail(turn);
    } else if (strcmp(turn, "finalize") == 0) {
        MPI_Finalize();
    } else if (strcmp(turn, "refused") == 0) {
        hocket_group *group;
        if (hocket_init(NULL, &group) != HOCKET_ERR_INVALID ||
            strstr(hocket_last_error(), "MPI has been finalised") == NULL)
            fail(turn);
    } else if (strcmp(turn, "child") == 0) {
        pid_t child = fork();
        if (child == 0)
            exit(0);
        waitpid(child, NULL, 0);
    } else {
        fail(turn);
    }
    if (held != NULL)
        add_up(held, turn);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        take(argv[i]);
    hocket_free(held);
    printf("all %d turns\n", argc - 1);
    return 0;
}
