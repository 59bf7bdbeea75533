/* Cases of quantised matrices: what the real library made of a weight, byte by byte, on the host and on the device. */
#include "golden.h"
#include "ops.h"

#include <stdlib.h>
#include <string.h>

static double share_of_different(const void *a, const void *b, size_t n, size_t size)
{
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) bad += memcmp((const char *)a + i * size, (const char *)b + i * size, size) != 0;
    return n ? (double)bad / (double)n : 0;
}

static void compare_bytes(const char *layer, const char *who, const tn_qmatrix *got, const tn_qmatrix *want)
{
    char at[200];
    const tn_qshape *s = &want->s;
    snprintf(at, sizeof at, "%s codes (%s)", layer, who);
    note(CODES, at, share_of_different(got->packed, want->packed, tn_qpacked_bytes(s), 1));
    snprintf(at, sizeof at, "%s scales (%s)", layer, who);
    if (want->absmax) note(CODES, at, share_of_different(got->absmax, want->absmax, want->n_blocks, 4));
    else note(CODES, at, share_of_different(got->scale_q, want->scale_q, want->n_blocks, 1));
    if (!s->nested) return;
    snprintf(at, sizeof at, "%s nested_absmax (%s)", layer, who);
    note(CODES, at, share_of_different(got->nested_absmax, want->nested_absmax, tn_qnested_count(s), 4));
    snprintf(at, sizeof at, "%s nested_offset (%s)", layer, who);
    note(CODES, at, got->offset != want->offset);
}

static void compare_values(const char *layer, const char *who, const float *got, const float *want, size_t n)
{
    char at[200];
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) bad += !(got[i] == want[i]);
    snprintf(at, sizeof at, "%s (%s)", layer, who);
    note(VALUES, at, (double)bad / (double)n);
}

/* Quantised by the device from the weight, and unpacked by it from the library's bytes. */
static int on_device(tn_dev *d, const char *layer, const tn_qmatrix *want, const float *w, const float *back, float *got,
                     tn_error *err)
{
    tn_ctx c;
    tn_qtensor q;
    tn_tensor out = {0};
    tn_qmatrix made = {0};
    const size_t n = (size_t)want->s.rows * (size_t)want->s.cols;
    tn_ctx_init(&c, d);
    TN_TRY(tn_qtensor_new(&q, d, &want->s, NULL, err));
    int rc = tn_qtensor_quantize(&c, &q, w, layer, err);
    if (!rc) rc = tn_qtensor_get(&q, d, &made, err);
    if (!rc) compare_bytes(layer, "device", &made, want);
    if (!rc) rc = tn_qtensor_set(&q, d, want, err);
    if (!rc) rc = tn_tensor_new(&out, d, TN_F32, want->s.rows, want->s.cols, layer, err);
    if (!rc) rc = tn_tensor_poison(d, &out, err);
    if (!rc) rc = tn_unpack(&c, &q, &out, err);
    if (!rc) rc = tn_tensor_get(d, &out, got, err);
    if (!rc) compare_values(layer, "device", got, back, n);
    tn_tensor_free(d, &out);
    tn_qmatrix_free(&made);
    tn_qtensor_free(&q, d);
    return rc;
}

static int one_layer(tn_dev *d, const tn_st_file *golden, const tn_st_file *model, const tn_st_tensor *t, tn_error *err)
{
    char *layer = tn_strf("%.*s", (int)(strlen(t->name) - strlen(".weight")), t->name), *dq = tn_strf("%s.dequantized", layer);
    const tn_st_tensor *packed = tn_st_find(model, t->name);
    tn_qmatrix want = {0}, host = {0};
    size_t n = 0;
    float *w = values_of(golden, t->name, &n, err), *back = w ? values_of(golden, dq, NULL, err) : NULL;
    float *got = calloc(n + 1, sizeof *got);
    int rc = !got ? tn_oom(err) : !back ? err->status : 0;
    if (!rc && !packed) rc = tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' is missing", model->path, t->name);
    if (!rc) rc = tn_qfile_read(&want, model, packed, NULL, err);
    if (!rc) rc = tn_quantize(&host, w, &want.s, layer, err);
    if (!rc) {
        compare_bytes(layer, "host", &host, &want);
        tn_dequantize(&want, got);
        compare_values(layer, "host", got, back, n);
        rc = on_device(d, layer, &want, w, back, got, err);
    }
    tn_qmatrix_free(&host);
    tn_qmatrix_free(&want);
    free(w);
    free(back);
    free(got);
    free(dq);
    free(layer);
    return rc;
}

int run_quantized(tn_dev *d, const tn_st_file *golden, const tn_st_file *model, tn_error *err)
{
    for (int i = 0; i < golden->n; i++)
        if (tn_ends(golden->t[i].name, ".weight")) TN_TRY(one_layer(d, golden, model, &golden->t[i], err));
    return 0;
}
