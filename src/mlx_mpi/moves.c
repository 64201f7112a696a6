/* What moves data. Buffers are MLX's own and go to the group as they are. */
#include "mlx_mpi/mpi.h"

/* MPI's tags tell messages apart that MLX does not: it sends with 0 and receives any. */
enum { TAG = 0 };

/* MLX's counts come from a size_t: of 2^31 elements and more the int is negative, or, from 2^32 on,
 * may be anything. */
static size_t elements(const char *function, int count, MPI_Datatype type, hocket_group *group)
{
    hk_mpi_check_type(function, type, group);
    if (count < 0)
        hk_mpi_end_refused(group,
                           "%s of %d elements: MLX hands the count to MPI as an int, which ends at "
                           "2147483647; use smaller arrays",
                           function, count);
    return (size_t)count * type->count;
}

int MPI_Allreduce(const void *send, void *recv, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm)
{
    static const char self[] = "MPI_Allreduce";
    hocket_group *group = hk_mpi_group(self, comm);
    hk_mpi_reduction as = hk_mpi_meaning(op, type, group);
    hk_mpi_need(group, hocket_all_reduce(group, send == MPI_IN_PLACE ? recv : send, recv,
                                         elements(self, count, type, group), as.dtype, as.reduce));
    return MPI_SUCCESS;
}

int MPI_Allgather(const void *send, int send_count, MPI_Datatype send_type, void *recv,
                  int recv_count, MPI_Datatype recv_type, MPI_Comm comm)
{
    static const char self[] = "MPI_Allgather";
    hocket_group *group = hk_mpi_group(self, comm);
    size_t count = elements(self, recv_count, recv_type, group);
    if (send == MPI_IN_PLACE) {
        size_t bytes = (size_t)recv_count * recv_type->size;
        send = (unsigned char *)recv + (size_t)comm->rank * bytes;
    } else if (elements(self, send_count, send_type, group) != count ||
               send_type->dtype != recv_type->dtype) {
        hk_mpi_end_refused(group, "%s: it sends %d of %s and receives %d of %s from each", self,
                           send_count, hocket_dtype_name(send_type->dtype), recv_count,
                           hocket_dtype_name(recv_type->dtype));
    }
    hk_mpi_need(group, hocket_all_gather(group, send, recv, count, recv_type->dtype));
    return MPI_SUCCESS;
}

int MPI_Send(const void *send, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm)
{
    static const char self[] = "MPI_Send";
    hocket_group *group = hk_mpi_group(self, comm);
    size_t bytes = elements(self, count, type, group) * hocket_dtype_size(type->dtype);
    if (tag != TAG)
        hk_mpi_end_refused(group, "%s with tag %d: only %d is served", self, tag, TAG);
    hk_mpi_need(group, hocket_send_bytes(group, to, TAG, send, bytes));
    return MPI_SUCCESS;
}

/* MLX does not look at how much has come, so it must be what was asked for. */
int MPI_Recv(void *recv, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm,
             MPI_Status *status)
{
    static const char self[] = "MPI_Recv";
    (void)status;
    hocket_group *group = hk_mpi_group(self, comm);
    size_t bytes = elements(self, count, type, group) * hocket_dtype_size(type->dtype), length = 0;
    if (tag != MPI_ANY_TAG && tag != TAG)
        hk_mpi_end_refused(group, "%s with tag %d: only %d and any are served", self, tag, TAG);
    if (from == HOCKET_ANY_RANK)
        hk_mpi_end_refused(group, "%s from any rank: a rank must be named", self);
    hocket_status got = hocket_recv_into(group, from, TAG, recv, bytes, &length);
    if ((got == HOCKET_OK && length < bytes) || (got == HOCKET_ERR_INVALID && length > bytes))
        hk_mpi_end_refused(group,
                           "%s: rank %d of %d waits for %zu bytes of rank %d, which sent %zu", self,
                           comm->rank, comm->size, bytes, from, length);
    hk_mpi_need(group, got);
    return MPI_SUCCESS;
}
