/* A prompt as the conversation that the model was trained on. */
#ifndef LLM_CHAT_H
#define LLM_CHAT_H

#include <stdbool.h>

/* The prompt as the user's turn, followed by the start of the assistant's, when the template (the
 * file's tokenizer.chat_template, or NULL) is ChatML; with the system's turn that the template has
 * where nobody gives another. Otherwise the prompt as it is, and *known is false. *text is the
 * caller's to free. */
bool chat_format(const char *template, const char *prompt, char **text, bool *known);

#endif
