/* The launcher's key-value store: by it ranks that nothing tells where to meet leave each other one
 * word. mpirun and srun keep one for MPI's own start, which a program may use, too: before us,
 * after us or not at all. So hocket begins with the store as MPI would, never ends it while MPI may
 * still come, and ends it when the process exits, where nobody else has: a launcher takes a rank
 * that ends without a farewell for one that crashed, and kills all others. (A rank that calls
 * hocket_init by a store and then leaves by _exit() or exec is such a one.)
 *
 * Who may read the store is the launcher's affair: ranks of this job, by a socket that they inherit
 * or one that only their user can open. Between hosts its daemons pass words on as they do all
 * else, usually in plain text.
 */
#ifndef HK_WIRE_STORE_H
#define HK_WIRE_STORE_H

#include "core/deadline.h"
#include "core/launcher.h"

#define HK_WORD_MAX 480   /* with its NUL; every store takes as much */
#define HK_WORDS_MAX 1000 /* of one job, one after the other */

/* Collective over all ranks of the launcher: rank 0 leaves its word, the others pass NULL, and all
 * get it. A word is of letters, digits and ".:/[]-_!". Words of earlier calls, also those of a
 * program that this process was before, do not matter. UNAVAILABLE: the store cannot be spoken
 * with; TIMEOUT: not all ranks have come; PROTOCOL: it says what no store would. */
hocket_status hk_store_exchange(hk_store_kind kind, int rank, const char *mine, hk_time deadline,
                                char word[HK_WORD_MAX]);

/* "PMI", "PMIx". */
const char *hk_store_name(hk_store_kind kind);

#endif
