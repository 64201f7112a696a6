/* The manual pages, in man(7), from the same tables as the help. */
#ifndef HK_TOOL_MANUAL_H
#define HK_TOOL_MANUAL_H

#include "command.h"

#include <stdio.h>

void hk_manual_command(FILE *out, const hk_command *command); /* hocket-NAME.1 */
void hk_manual_all(FILE *out);                                /* hocket.1 */
void hk_manual_environment(FILE *out);                        /* hocket.7 */

#endif
