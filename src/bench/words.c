#include "words.h"
#include "fail.h"

#include <stdio.h>
#include <string.h>

bool tn_next_word(const char **list, char *word, size_t size)
{
    *list += strspn(*list, ", ");
    const size_t n = strcspn(*list, ", ");
    snprintf(word, size, "%.*s", (int)TN_MIN(n, size - 1), *list);
    *list += n;
    return n > 0;
}

bool tn_has_word(const char *list, const char *wanted)
{
    char word[64];
    while (tn_next_word(&list, word, sizeof word))
        if (!strcmp(word, wanted)) return true;
    return false;
}

const char *tn_word_at(char word[64], const char *list, int i)
{
    while (tn_next_word(&list, word, 64) && i-- > 0) {
    }
    return word;
}

int tn_count_words(const char *list)
{
    char word[64];
    int n = 0;
    while (tn_next_word(&list, word, sizeof word)) n++;
    return n;
}
