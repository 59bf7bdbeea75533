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
const tn_backbone *const tn_backbones[] = {BACKBONES(LISTED) NULL};

const tn_backbone *tn_backbone_find(const char *type)
{
    for (int i = 0; tn_backbones[i]; i++)
        if (!strcmp(tn_backbones[i]->model_type, type)) return tn_backbones[i];
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

int tn_vit_activation(tn_fn *fn, const char *name, tn_error *err)
{
    if (!strcmp(name, "gelu")) return *fn = TN_GELU, 0;
    if (!strcmp(name, "relu")) return *fn = TN_RELU, 0;
    if (!strcmp(name, "silu") || !strcmp(name, "swish")) return *fn = TN_SILU, 0;
    return tn_fail(err, TN_ERR_FORMAT, "config.json: hidden_act '%s' is not known; gelu, relu and silu are", name);
}

int tn_vit_common(tn_vit *v, const json_t *c, float eps, tn_error *err)
{
    v->hidden = (int)tn_json_int(c, "hidden_size", 0);
    v->layers = (int)tn_json_int(c, "num_hidden_layers", 0);
    v->heads = (int)tn_json_int(c, "num_attention_heads", 0);
    v->patch = (int)tn_json_int(c, "patch_size", 16);
    v->eps = (float)tn_json_num(c, "layer_norm_eps", eps);
    if (v->hidden < 1 || v->layers < 1 || v->heads < 1 || v->patch < 1 || v->hidden % v->heads || v->layers > 1000 ||
        v->hidden > 65536 || v->patch > 256)
        return tn_fail(err, TN_ERR_FORMAT,
                       "config.json: hidden_size %d, num_hidden_layers %d, num_attention_heads %d and "
                       "patch_size %d make no ViT",
                       v->hidden, v->layers, v->heads, v->patch);
    if (tn_json_int(c, "num_channels", 3) != 3)
        return tn_fail(err, TN_ERR_FORMAT, "config.json: num_channels %lld; only 3 (RGB) is known",
                       tn_json_int(c, "num_channels", 3));
    return tn_vit_activation(&v->act, tn_json_str(c, "hidden_act", "gelu"), err);
}

int tn_vit_image_grid(tn_vit *v, const json_t *c, int dflt, tn_error *err)
{
    const json_t *s = json_object_get(c, "image_size");
    long long h = dflt, w = dflt;
    if (json_is_integer(s)) h = w = json_integer_value(s);
    if (json_is_array(s)) {
        h = json_integer_value(json_array_get(s, 0));
        w = json_integer_value(json_array_get(s, 1));
    }
    v->pos_h = (int)(h / v->patch);
    v->pos_w = (int)(w / v->patch);
    if (v->pos_h < 1 || v->pos_w < 1 || v->pos_h > 512 || v->pos_w > 512)
        return tn_fail(err, TN_ERR_FORMAT, "config.json: image_size %lld x %lld does not fit patches of %d", h, w, v->patch);
    return 0;
}

int tn_vit_configure(tn_vit *v, const json_t *config, const char *where, tn_error *err)
{
    const char *type = tn_json_str(config, "model_type", json_object_get(config, "architecture") ? "timm" : "");
    const tn_backbone *b = tn_backbone_find(type);
    if (!b) {
        tn_text known = {0};
        for (int i = 0; tn_backbones[i]; i++) tn_text_addf(&known, "%s%s", i ? ", " : "", tn_backbones[i]->model_type);
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
