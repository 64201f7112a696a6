/* The command line. */
#ifndef LLM_OPTIONS_H
#define LLM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { RANKS_MAX = 256 };

typedef enum llm_parallel { PARALLEL_TP, PARALLEL_PP, PARALLEL_BOTH } llm_parallel;
typedef enum llm_weights { WEIGHTS_F32, WEIGHTS_Q4 } llm_weights;

typedef struct options {
    const char *model, *prompt;
    int tokens;
    llm_parallel parallel;
    int stages; /* with PARALLEL_BOTH; 0: the least number of them that makes a grid */
    const char *device;
    llm_weights weights;
    double shares[RANKS_MAX]; /* of the first share_count ranks; without any all are alike */
    int share_count;
    double temperature, top_p;
    uint64_t seed;
    bool raw;           /* the prompt as it is: no conversation around it */
    bool json;          /* figures as one line of JSON */
    const char *logits; /* a file for the first step's logits; NULL: none */
} options;

/* False when the command line is wrong; fault_text() says what. *help: it asked for help. */
bool options_parse(int argc, char **argv, options *chosen, bool *help);
/* What can be asked for, as text for a terminal. */
const char *options_usage(void);

#endif
