#define PCRE2_CODE_UNIT_WIDTH 8
#include "match.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

bool tn_match_suffix(const char *module, const char *item)
{
    const size_t m = strlen(module), n = strlen(item);
    return m >= n && !strcmp(module + m - n, item) && (m == n || module[m - n - 1] == '.');
}

bool tn_match_component(const char *path, const char *item)
{
    const size_t n = strlen(item);
    for (const char *s = path; (s = strstr(s, item)); s++)
        if ((s == path || s[-1] == '.') && (!s[n] || s[n] == '.')) return true;
    return false;
}

static int compile(pcre2_code **code, const char *pattern, uint32_t anchors, const char *key, tn_error *err)
{
    int number;
    size_t at;
    *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, anchors, &number, &at, NULL);
    if (*code) return 0;
    PCRE2_UCHAR text[160];
    pcre2_get_error_message(number, text, sizeof text);
    return tn_fail(err, TN_ERR_CONFIG, "%s: '%s' is no regular expression: %s at character %zu", key, pattern, (char *)text, at);
}

int tn_match_full(bool *hit, const char *pattern, const char *module, const char *key, tn_error *err)
{
    pcre2_code *code;
    TN_TRY(compile(&code, pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED, key, err));
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    *hit = data && pcre2_match(code, (PCRE2_SPTR)module, strlen(module), 0, 0, data, NULL) >= 0;
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return 0;
}

int tn_match_pattern(bool *hit, const char *pattern, const char *module, const char *key, tn_error *err)
{
    char *full = tn_strf("(.*\\.)?(%s)", pattern);
    int rc = full ? tn_match_full(hit, full, module, key, err) : tn_oom(err);
    free(full);
    return rc;
}

/* What the group "idx" is of a match from the path's beginning; *fits: whether there is a match. */
static int index_in(int *index, bool *fits, const char *pattern, const char *module, const char *key, tn_error *err)
{
    pcre2_code *code;
    PCRE2_UCHAR *text = NULL;
    PCRE2_SIZE n;
    TN_TRY(compile(&code, pattern, PCRE2_ANCHORED, key, err));
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    *fits = data && pcre2_match(code, (PCRE2_SPTR)module, strlen(module), 0, 0, data, NULL) >= 0;
    if (*fits && !pcre2_substring_get_byname(data, (PCRE2_SPTR) "idx", &text, &n)) *index = atoi((char *)text);
    pcre2_substring_free(text);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return 0;
}

int tn_match_layer(int *layer, const tn_strs *patterns, const char *module, const char *key, tn_error *err)
{
    bool fits = false;
    *layer = -1;
    if (!patterns->n) return index_in(layer, &fits, ".*?\\.[^.]*\\.(?P<idx>\\d+)\\.", module, key, err);
    for (int i = 0; i < patterns->n && !fits; i++) {
        char *whole = tn_strf("(?:^|.*?\\.)%s\\.(?P<idx>\\d+)\\.", patterns->v[i]);
        const int rc = whole ? index_in(layer, &fits, whole, module, key, err) : tn_oom(err);
        free(whole);
        TN_TRY(rc);
    }
    return 0;
}
