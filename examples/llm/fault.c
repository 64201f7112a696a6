#include "fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char sentence[1024];

bool fault(const char *format, ...)
{
    char text[sizeof sentence]; /* an argument may be the old sentence */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(sentence, text, sizeof sentence);
    return false;
}

const char *fault_text(void)
{
    return sentence;
}

void fault_tell(int rank)
{
    static bool told;
    if (!told)
        fprintf(stderr, "llm: rank %d: %s\n", rank, sentence);
    told = true;
}
