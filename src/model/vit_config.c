/* What the families read of config.json alike. */
#include "backbones.h"

#include <string.h>

static int activation(tn_fn *fn, const char *name, tn_error *err)
{
    if (!strcmp(name, "gelu")) return *fn = TN_GELU, 0;
    if (!strcmp(name, "relu")) return *fn = TN_RELU, 0;
    if (!strcmp(name, "silu") || !strcmp(name, "swish")) return *fn = TN_SILU, 0;
    return tn_fail(err, TN_ERR_FORMAT, "config.json: hidden_act '%s' is not known; gelu, relu and silu are", name);
}

int tn_common_config(tn_fn *act, const json_t *c, tn_error *err)
{
    const json_t *eps = json_object_get(c, "layer_norm_eps");
    if (eps && !json_is_null(eps) && !(json_is_number(eps) && json_number_value(eps) >= 0))
        return tn_fail(err, TN_ERR_FORMAT, "config.json: layer_norm_eps must be a number of at least 0");
    return activation(act, tn_json_str(c, "hidden_act", "gelu"), err);
}

int tn_vit_common(tn_backbone *b, const json_t *c, float eps, tn_error *err)
{
    tn_vit *v = &b->vit;
    v->hidden = (int)tn_json_int(c, "hidden_size", 0);
    b->layers = (int)tn_json_int(c, "num_hidden_layers", 0);
    v->heads = (int)tn_json_int(c, "num_attention_heads", 0);
    b->patch = (int)tn_json_int(c, "patch_size", 16);
    v->eps = (float)tn_json_num(c, "layer_norm_eps", eps);
    if (v->hidden < 1 || b->layers < 1 || v->heads < 1 || b->patch < 1 || v->hidden % v->heads || b->layers > 1000 ||
        v->hidden > 65536 || b->patch > 256)
        return tn_fail(err, TN_ERR_FORMAT,
                       "config.json: hidden_size %d, num_hidden_layers %d, num_attention_heads %d and "
                       "patch_size %d make no ViT",
                       v->hidden, b->layers, v->heads, b->patch);
    return tn_common_config(&v->act, c, err);
}

int tn_vit_image_grid(tn_backbone *b, const json_t *c, int dflt, tn_error *err)
{
    tn_vit *v = &b->vit;
    const json_t *s = json_object_get(c, "image_size");
    long long h = dflt, w = dflt;
    if (json_is_integer(s)) h = w = json_integer_value(s);
    if (json_is_array(s)) {
        h = json_integer_value(json_array_get(s, 0));
        w = json_integer_value(json_array_get(s, 1));
    }
    v->pos_h = (int)(h / b->patch);
    v->pos_w = (int)(w / b->patch);
    if (v->pos_h < 1 || v->pos_w < 1 || v->pos_h > 512 || v->pos_w > 512)
        return tn_fail(err, TN_ERR_FORMAT, "config.json: image_size %lld x %lld does not fit patches of %d", h, w, b->patch);
    return 0;
}
