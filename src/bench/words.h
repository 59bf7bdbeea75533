/** Lists of words, "links,work". */
#ifndef TN_WORDS_H
#define TN_WORDS_H
#include <stdbool.h>
#include <stddef.h>

/** The word at *list, which moves on; false at its end. */
bool tn_next_word(const char **list, char *word, size_t size);
bool tn_has_word(const char *list, const char *wanted);
/** Word i; "" behind the last. */
const char *tn_word_at(char word[64], const char *list, int i);
int tn_count_words(const char *list);
#endif
