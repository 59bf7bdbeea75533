/* What the ConvNeXt families read of config.json alike. */
#include "backbones.h"

/* Whole numbers of a list, at most `most`; -1 where it is something else. */
static int list_of(int *v, int most, const json_t *list)
{
    const size_t n = json_array_size(list);
    if (!json_is_array(list) || n > (size_t)most) return -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const long long x = json_integer_value(item);
        if (!json_is_integer(item) || x < 0 || x > 1 << 20) return -1;
        v[i] = (int)x;
    }
    return (int)n;
}

/* As transformers has it where the key is not there. */
static int stages_of(tn_convnext *v, const json_t *c, tn_error *err)
{
    static const int widths[] = {96, 192, 384, 768}, depths[] = {3, 3, 9, 3};
    const json_t *w = json_object_get(c, "hidden_sizes"), *d = json_object_get(c, "depths");
    int n = 4, m = 4;
    for (int i = 0; i < 4; i++) v->width[i] = widths[i], v->depth[i] = depths[i];
    if (w && !json_is_null(w)) n = list_of(v->width, TN_CONVNEXT_STAGES, w);
    if (d && !json_is_null(d)) m = list_of(v->depth, TN_CONVNEXT_STAGES, d);
    if (n < 1 || n != m || tn_json_int(c, "num_stages", n) != n)
        return tn_fail(
            err, TN_ERR_FORMAT,
            "config.json: hidden_sizes and depths must be lists of as many whole numbers, one for each of 1 to %d stages",
            TN_CONVNEXT_STAGES);
    v->n_stages = n;
    return 0;
}

static int patch_of(tn_convnext *v, const json_t *c, tn_error *err)
{
    const json_t *p = json_object_get(c, "patch_size");
    int side[2] = {4, 4};
    if (json_is_integer(p)) side[0] = side[1] = (int)json_integer_value(p);
    const int n = json_is_array(p) ? list_of(side, 2, p) : 2;
    if (n != 2 || side[0] != side[1] || side[0] < 1 || side[0] > 256)
        return tn_fail(err, TN_ERR_FORMAT, "config.json: patch_size must be a whole number from 1 to 256, the same both ways");
    v->patch = side[0];
    return 0;
}

int tn_convnext_common(tn_backbone *b, const json_t *c, tn_error *err)
{
    tn_convnext *v = &b->convnext;
    TN_TRY(stages_of(v, c, err));
    TN_TRY(patch_of(v, c, err));
    for (int s = 0; s < v->n_stages; s++) {
        b->layers += v->depth[s];
        if (v->width[s] < 1 || v->width[s] > 65536 || v->depth[s] < 1 || b->layers > 1000)
            return tn_fail(err, TN_ERR_FORMAT, "config.json: stage %d of width %d and depth %d makes no ConvNeXt", s + 1,
                           v->width[s], v->depth[s]);
    }
    v->scale_init = (float)tn_json_num(c, "layer_scale_init_value", 1e-6);
    return tn_common_config(&v->act, c, err);
}
