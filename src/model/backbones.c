#include "backbones.h"
#include "names.h"

#include <string.h>

/* The table: a family is a file and a row here. */
#define BACKBONES(X)                                                                                                               \
    X(tn_family_dinov3)                                                                                                            \
    X(tn_family_dinov2)                                                                                                            \
    X(tn_family_dinov2_registers)                                                                                                  \
    X(tn_family_vit)                                                                                                               \
    X(tn_family_timm)                                                                                                              \
    X(tn_family_dinov3_convnext)                                                                                                   \
    X(tn_family_convnext)                                                                                                          \
    X(tn_family_convnextv2)

#define DECLARED(b) extern const tn_family b;
#define LISTED(b)   &(b),
BACKBONES(DECLARED)
static const tn_family *const families[] = {BACKBONES(LISTED) NULL};

const tn_family *tn_family_find(const char *type)
{
    for (int i = 0; families[i]; i++)
        if (!strcmp(families[i]->model_type, type)) return families[i];
    return NULL;
}

void tn_module_path(char *out, size_t n, const tn_family *b, const char *module)
{
    snprintf(out, n, "%s", module);
    for (int i = 0; b->spelling && b->spelling[i][0]; i++) {
        const char *from = b->spelling[i][0], *at = from[0] == '^' ? (tn_starts(out, from + 1) ? out : NULL) : strstr(out, from);
        if (!at) continue;
        char rest[200];
        const size_t head = (size_t)(at - out), skip = strlen(from) - (from[0] == '^');
        snprintf(rest, sizeof rest, "%s", at + skip);
        snprintf(out + head, n - head, "%s%s", b->spelling[i][1], rest);
    }
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
void tn_spell_name(char *out, size_t n, const tn_family *family, const char *common, bool v5)
{
    const char *const *names = family->names;
    int at[2] = {0};
    if (sscanf(common, "layer.%d.", &at[0]) != 1) sscanf(common, "stages.%d.layers.%d.", &at[0], &at[1]);
    snprintf(out, n, "%s", common);
    for (int i = 0; i < family->n_names; i++) {
        char mine[320], theirs[320];
        if (!names[i]) continue;
        snprintf(mine, sizeof mine, names[i], at[0], at[1]);
        tn_common_name(theirs, sizeof theirs, mine);
        const size_t k = strlen(theirs);
        if (strncmp(theirs, common, k) || (common[k] && common[k] != '.')) continue;
        snprintf(out, n, "%s%s", mine, common + k);
        break;
    }
    if (!v5) return;
    char path[320];
    tn_module_path(path, sizeof path, family, out);
    snprintf(out, n, "%s", path);
}
#pragma GCC diagnostic pop

int tn_backbone_configure(tn_backbone *b, const json_t *config, const char *where, tn_error *err)
{
    const char *type = tn_json_str(config, "model_type", json_object_get(config, "architecture") ? "timm" : "");
    *b = (tn_backbone){.family = tn_family_find(type)};
    if (!b->family) {
        tn_text known = {0};
        for (int i = 0; families[i]; i++) tn_text_addf(&known, "%s%s", i ? ", " : "", families[i]->model_type);
        int rc = tn_fail(err, TN_ERR_FORMAT, "%s: model_type '%s' is not built; these are: %s", where, type, known.s);
        tn_text_free(&known);
        return rc;
    }
    if (b->family->configure(b, config, err)) return tn_fail_in(err, where);
    b->channels = (int)tn_json_int(config, "num_channels", tn_json_int(json_object_get(config, "model_args"), "in_chans", 3));
    b->whole = true;
    b->family->architecture->states(b);
    return 0;
}

static int bad_states(const tn_backbone *b, const int *states, int n, tn_error *err)
{
    tn_text list = {0};
    for (int i = 0; i < n; i++) tn_text_addf(&list, "%s%d", i ? ", " : "", states[i]);
    int rc =
        tn_fail(err, TN_ERR_CONFIG,
                "model.backbone.return_stages [%s]: this %s has hidden states %d to %d; give at most %d of them, ascending, and "
                "not 0 alone",
                list.s ? list.s : "", b->family->model_type, b->first_state, b->last_state, TN_MAX_FEATURES);
    tn_text_free(&list);
    return rc;
}

int tn_backbone_return(tn_backbone *b, const int *states, int n, tn_error *err)
{
    if (!n) return 0;
    bool good = n <= TN_MAX_FEATURES && states[0] >= b->first_state && states[n - 1] >= 1 && states[n - 1] <= b->last_state;
    for (int i = 1; i < n; i++) good = good && states[i - 1] < states[i];
    if (!good) return bad_states(b, states, n, err);
    memcpy(b->returned, states, sizeof *states * (size_t)n);
    b->n_returned = n;
    b->whole = states[n - 1] == b->last_state;
    if (!b->whole) b->family->architecture->end(b, states[n - 1]);
    return 0;
}
