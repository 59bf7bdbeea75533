/* KEY=VALUE, from the command line or a call, as a node. */
#include "values.h"

#include <stdlib.h>
#include <string.h>

static bool is_quoted(const char *s)
{
    const size_t n = strlen(s);
    return n > 1 && (s[0] == '\'' || s[0] == '"') && s[n - 1] == s[0];
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
    case TN_S_NAMES: return text[0] != '[' && !tn_starts(text, "- ") && !means_null(k, text);
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
