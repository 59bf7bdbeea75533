#include "backbones.h"
#include "names.h"

#include <string.h>

/* The table: a family is a file and a row here. */
#define BACKBONES(X)                                                                                                               \
    X(tn_backbone_dinov3)                                                                                                          \
    X(tn_backbone_dinov2)                                                                                                          \
    X(tn_backbone_dinov2_registers)                                                                                                \
    X(tn_backbone_vit)                                                                                                             \
    X(tn_backbone_timm)

#define DECLARED(b) extern const tn_backbone b;
#define LISTED(b)   &(b),
BACKBONES(DECLARED)
static const tn_backbone *const backbones[] = {BACKBONES(LISTED) NULL};

const tn_backbone *tn_backbone_find(const char *type)
{
    for (int i = 0; backbones[i]; i++)
        if (!strcmp(backbones[i]->model_type, type)) return backbones[i];
    return NULL;
}

void tn_module_path(char *out, size_t n, const char *model_type, const char *module)
{
    const tn_backbone *b = tn_backbone_find(model_type);
    snprintf(out, n, "%s", module);
    for (int i = 0; b && b->spelling && b->spelling[i][0]; i++) {
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
void tn_spell_name(char *out, size_t n, const tn_backbone *family, const char *common, bool v5)
{
    const char *const *names = (const char *const *)family->names; /* a struct of nothing but strings */
    int layer = 0;
    sscanf(common, "layer.%d.", &layer);
    snprintf(out, n, "%s", common);
    for (size_t i = 0; i < sizeof *family->names / sizeof *names; i++) {
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
    tn_module_path(path, sizeof path, family->model_type, out);
    snprintf(out, n, "%s", path);
}
#pragma GCC diagnostic pop

int tn_vit_configure(tn_vit *v, const json_t *config, const char *where, tn_error *err)
{
    const char *type = tn_json_str(config, "model_type", json_object_get(config, "architecture") ? "timm" : "");
    const tn_backbone *b = tn_backbone_find(type);
    if (!b) {
        tn_text known = {0};
        for (int i = 0; backbones[i]; i++) tn_text_addf(&known, "%s%s", i ? ", " : "", backbones[i]->model_type);
        int rc = tn_fail(err, TN_ERR_FORMAT, "%s: model_type '%s' is not built; these are: %s", where, type, known.s);
        tn_text_free(&known);
        return rc;
    }
    memset(v, 0, sizeof *v);
    strncpy(v->model_type, type, sizeof v->model_type - 1);
    v->names = b->names;
    if (b->configure(v, config, err)) return tn_fail_in(err, where);
    return 0;
}
