#include "backbones.h"
#include "names.h"

#include <string.h>

/* The table: a family is a file and a row here. */
#define BACKBONES(X)                                                                                                               \
    X(tn_family_dinov3)                                                                                                            \
    X(tn_family_dinov2)                                                                                                            \
    X(tn_family_dinov2_registers)                                                                                                  \
    X(tn_family_vit)                                                                                                               \
    X(tn_family_timm)

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
    int layer = 0;
    sscanf(common, "layer.%d.", &layer);
    snprintf(out, n, "%s", common);
    for (int i = 0; i < family->n_names; i++) {
        char mine[320], theirs[320];
        if (!names[i]) continue;
        snprintf(mine, sizeof mine, names[i], layer);
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
    return 0;
}
