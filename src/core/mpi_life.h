/* The MPI that a program uses by itself, seen from outside: hocket links none. */
#ifndef HK_CORE_MPI_LIFE_H
#define HK_CORE_MPI_LIFE_H

typedef enum hk_mpi_life {
    HK_MPI_NONE,   /* none is in this process */
    HK_MPI_ASLEEP, /* it has not been initialised */
    HK_MPI_RUNNING,
    HK_MPI_OVER /* it has been finalised, and can never run again */
} hk_mpi_life;

/* Any thread, at any time. One that is linked statically, without its names, is not seen. */
hk_mpi_life hk_mpi_look(void);

#endif
