/* KEY=VALUE, from the command line or a call, as a node. */
#include "values.h"

#include <stdlib.h>
#include <string.h>

/* From its first character to its last, as 'a' 'b' is not. */
static bool is_quoted(const char *s)
{
    const char quote = s[0];
    if (quote != '\'' && quote != '"') return false;
    for (s++; *s; s++) {
        const bool escaped = quote == '"' && *s == '\\' && s[1], doubled = quote == '\'' && *s == '\'' && s[1] == '\'';
        if (escaped || doubled) s++;
        else if (*s == quote) return !s[1];
    }
    return false;
}

/* [a,b] or - a. A pattern may begin as a list does, but does not end so: [qv]_proj. */
static bool is_list(const tn_key *k, const char *s)
{
    s += strspn(s, " ");
    size_t n = strlen(s);
    while (n && s[n - 1] == ' ') n--;
    return tn_starts(s, "- ") || (s[0] == '[' && (k->type == TN_S_STRS || s[n - 1] == ']'));
}

/* ~ is a null, but of a path it is the home folder. */
static bool means_null(const tn_key *k, const char *text)
{
    const tn_ynode n = {.kind = TN_Y_SCALAR, .text = (char *)text};
    return tn_yaml_is_null(&n) && !(k->type == TN_S_PATH && text[0] == '~');
}

/* A text needs no YAML to be said, and half of all paths would be something else there; a list does. */
static bool is_literal(const tn_key *k, const char *text)
{
    if (!k || is_quoted(text)) return false;
    switch (k->type) {
    case TN_S_STR:
    case TN_S_PATH: return !(k->nullable && means_null(k, text));
    case TN_S_STRS:
    case TN_S_NAMES: return !is_list(k, text) && !means_null(k, text);
    default: return false;
    }
}

int tn_override_value(tn_ynode **out, const tn_key *k, const char *text, tn_error *err)
{
    if (!is_literal(k, text)) {
        TN_TRY(tn_yaml_parse(out, text, strlen(text), TN_COMMAND_LINE, err));
        (*out)->line = 0;
        return 0;
    }
    *out = tn_yaml_new_scalar(text, true, TN_COMMAND_LINE);
    return *out ? 0 : tn_oom(err);
}
