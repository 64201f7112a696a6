/* The transports that hocket_init opens on every machine, through the conformance suite.
 * `test_conformance tcp` tries one alone. */
#include "conformance.h"

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 0; harness_backends[i] != NULL; i++)
        if (argc < 2 || strcmp(argv[1], harness_backends[i]->name) == 0)
            failed += conformance_run(harness_backends[i]);
    return failed > 0;
}
