/* RDMA through the conformance suite, over the tests' own libibverbs. `test_conformance_verbs uc`
 * tries one variant alone. */
#include "conformance.h"
#include "verbs_help.h"

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 0; verbs_backends[i] != NULL; i++)
        if (argc < 2 || strcmp(argv[1], verbs_backends[i]->variant) == 0)
            failed += conformance_run(verbs_backends[i]);
    return failed > 0;
}
