#include "qfile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_bnb(tn_qtype t)
{
    return t == TN_Q_NF4 || t == TN_Q_FP4;
}

static const tn_st_tensor *state_tensor(const tn_st_file *f, const char *weight, tn_qtype *type, bool *bnb)
{
    for (int i = 0; i < TN_Q_TYPES; i++)
        for (int own = 0; own < 2; own++) {
            char name[TN_ST_NAME + 64];
            snprintf(name, sizeof name, "%s.quant_state.%s__%s", weight, own ? "tracknet" : "bitsandbytes", tn_qformats[i].name);
            const tn_st_tensor *t = tn_st_find(f, name);
            if (!t) continue;
            *type = (tn_qtype)i;
            *bnb = !own;
            return t;
        }
    return NULL;
}

static bool has_absmax(const tn_st_file *f, const char *weight)
{
    char name[TN_ST_NAME + 16];
    snprintf(name, sizeof name, "%s.absmax", weight);
    return tn_st_find(f, name) != NULL;
}

bool tn_qfile_is_packed(const tn_st_file *f, const tn_st_tensor *t)
{
    tn_qtype type;
    bool bnb;
    if (!tn_ends(t->name, ".weight")) return false;
    return !strcmp(t->dtype, "U8") || !strcmp(t->dtype, "I8") || has_absmax(f, t->name) || state_tensor(f, t->name, &type, &bnb);
}

bool tn_qfile_is_part(const char *name)
{
    static const char *const ends[] = {".SCB",
                                       ".weight_format",
                                       ".weight.absmax",
                                       ".weight.quant_map",
                                       ".weight.nested_absmax",
                                       ".weight.nested_quant_map",
                                       ".weight.scale",
                                       ".weight.zero_point"};
    for (size_t i = 0; i < TN_COUNT(ends); i++)
        if (tn_ends(name, ends[i])) return true;
    return strstr(name, ".weight.quant_state.") != NULL;
}

/* ---- reading ---- */

typedef struct {
    const tn_st_file *f;
    const tn_st_tensor *t;
    tn_error *err;
} qfile_reader;

static int disagrees(const qfile_reader *r, const char *what)
{
    return tn_fail(r->err, TN_ERR_FORMAT,
                   "%s: tensor '%s': its quant_state disagrees with its shapes (%s); the checkpoint is "
                   "damaged, quantise it again",
                   r->f->path, r->t->name, what);
}

static const tn_st_tensor *part(const qfile_reader *r, const char *suffix)
{
    char name[320];
    snprintf(name, sizeof name, "%s%s", r->t->name, suffix);
    return tn_st_find(r->f, name);
}

/* Reads a part of exactly `bytes` into dst. */
static int read_part(const qfile_reader *r, const char *suffix, const char *dtype, void *dst, size_t bytes)
{
    const tn_st_tensor *t = part(r, suffix);
    char what[96];
    snprintf(what, sizeof what, "%s is %s", suffix + 1, t ? "of another size" : "missing");
    if (!t || strcmp(t->dtype, dtype) || t->bytes != bytes) return disagrees(r, what);
    return tn_st_read(r->f, t, dst, r->err);
}

static json_t *state_of(const qfile_reader *r, const tn_st_tensor *t)
{
    json_t *j = NULL;
    tn_error unread;
    char *text = malloc(t->bytes + 1);
    if (text && !tn_st_read(r->f, t, text, &unread)) (void)tn_json_parse(&j, text, t->bytes, r->f->path, &unread);
    free(text);
    return j;
}

/* Scales of a map that is not ours are expanded here, so that nothing downstream needs a second map. */
static int expand_scales(tn_qmatrix *q, const float map[256], tn_error *err)
{
    float *absmax = malloc(q->n_blocks * sizeof *absmax + 4);
    if (!absmax) return tn_oom(err);
    for (size_t b = 0; b < q->n_blocks; b++) absmax[b] = tn_qmatrix_scale(q, map, b);
    free(q->scale_q);
    free(q->nested_absmax);
    q->scale_q = NULL;
    q->nested_absmax = NULL;
    q->absmax = absmax;
    q->s.nested = false;
    q->offset = 0;
    return 0;
}

static int read_nested(const qfile_reader *r, tn_qmatrix *q, const json_t *state)
{
    float map[256], ours[256];
    if (tn_json_int(state, "nested_blocksize", 0) != TN_NESTED_BLOCK) return disagrees(r, "nested_blocksize is not 256");
    TN_TRY(read_part(r, ".absmax", "U8", q->scale_q, q->n_blocks));
    TN_TRY(read_part(r, ".nested_absmax", "F32", q->nested_absmax, 4 * tn_qnested_count(&q->s)));
    TN_TRY(read_part(r, ".nested_quant_map", "F32", map, sizeof map));
    q->offset = (float)tn_json_num(state, "nested_offset", 0);
    tn_dynamic_map(ours);
    return memcmp(map, ours, sizeof map) ? expand_scales(q, map, r->err) : 0;
}

static int read_own(const qfile_reader *r, tn_qmatrix *q, const json_t *state)
{
    void *scales = q->absmax ? (void *)q->absmax : q->scale_q;
    TN_TRY(read_part(r, ".scale", q->absmax ? "F32" : "U8", scales, tn_qscale_bytes(&q->s)));
    if (q->zero) TN_TRY(read_part(r, ".zero_point", "U8", q->zero, tn_qzero_bytes(&q->s)));
    q->offset = (float)tn_json_num(state, "tensor_scale", 0);
    return 0;
}

static int read_state(const qfile_reader *r, tn_qmatrix *q, const json_t *state, tn_qtype type, bool bnb)
{
    const json_t *shape = json_object_get(state, "shape");
    const long long rows = json_integer_value(json_array_get(shape, 0)), cols = json_integer_value(json_array_get(shape, 1));
    tn_qshape s = {.type = type, .nested = json_object_get(state, "nested_offset") != NULL};
    if (json_array_size(shape) != 2 || rows < 1 || cols < 1 || rows > 1 << 24 || cols > 1 << 24)
        return disagrees(r, "shape is no pair of sizes");
    s.rows = (int)rows, s.cols = (int)cols;
    if (strcmp(tn_json_str(state, "quant_type", ""), tn_qformats[type].name)) return disagrees(r, "quant_type is another one");
    tn_error reason = {0};
    if (tn_qblock(&s.block, type, (int)tn_json_int(state, "blocksize", 0), s.cols, "blocksize", &reason))
        return disagrees(r, reason.message);
    if (s.nested && !tn_qformats[type].nestable) return disagrees(r, "this format has no double quantisation");
    if (r->t->bytes != tn_qpacked_bytes(&s)) return disagrees(r, "the codes are of another size");
    TN_TRY(tn_qmatrix_new(q, &s, r->err));
    TN_TRY(tn_st_read(r->f, r->t, q->packed, r->err));
    if (!bnb) return read_own(r, q, state);
    return s.nested ? read_nested(r, q, state) : read_part(r, ".absmax", "F32", q->absmax, tn_qscale_bytes(&s));
}

static int read_int8(const qfile_reader *r, tn_qmatrix *q)
{
    char scb[320];
    snprintf(scb, sizeof scb, "%.*sSCB", (int)(strlen(r->t->name) - strlen("weight")), r->t->name);
    const tn_st_tensor *t = tn_st_find(r->f, scb);
    if (r->t->ndim != 2 || !t || strcmp(t->dtype, "F32") || t->count != r->t->shape[0])
        return disagrees(r, "SCB is missing or of another size");
    tn_qshape s = {.type = TN_Q_INT8, .rows = (int)r->t->shape[0], .cols = (int)r->t->shape[1], .block = (int)r->t->shape[1]};
    TN_TRY(tn_qmatrix_new(q, &s, r->err));
    TN_TRY(tn_st_read(r->f, r->t, q->packed, r->err));
    return tn_st_read(r->f, t, q->absmax, r->err);
}

int tn_qfile_read(tn_qmatrix *q, const tn_st_file *f, const tn_st_tensor *t, char *dtype, tn_error *err)
{
    const qfile_reader r = {f, t, err};
    tn_qtype type;
    bool bnb;
    *q = (tn_qmatrix){0};
    if (dtype) snprintf(dtype, 16, "float32");
    const tn_st_tensor *described = state_tensor(f, t->name, &type, &bnb);
    int rc;
    if (!described && !strcmp(t->dtype, "I8") && !has_absmax(f, t->name)) {
        rc = read_int8(&r, q);
    } else {
        json_t *state = described ? state_of(&r, described) : NULL;
        rc = state ? read_state(&r, q, state, type, bnb) : disagrees(&r, "there is none, or it is no JSON");
        if (!rc && dtype) snprintf(dtype, 16, "%s", tn_json_str(state, "dtype", "float32"));
        json_decref(state);
    }
    if (rc) tn_qmatrix_free(q);
    return rc;
}

/* ---- writing ---- */

static int qfile_add(tn_qparts *p, char *name, const char *dtype, int64_t rows, int64_t cols, const void *data, size_t bytes,
                     tn_error *err)
{
    if (!name) return tn_oom(err);
    tn_st_entry *e = &p->e[p->n++];
    *e = (tn_st_entry){.name = name, .dtype = dtype, .ndim = cols < 0 ? rows < 0 ? 0 : 1 : 2, .data = data, .bytes = bytes};
    e->shape[0] = rows;
    e->shape[1] = cols;
    return 0;
}

/* A float with the fewest digits that read back the same. */
static int digits_of(double v)
{
    char buf[40];
    for (int n = 1; n < 17; n++) {
        snprintf(buf, sizeof buf, "%.*g", n, v);
        if (strtod(buf, NULL) == v) return n;
    }
    return 17;
}

static int make_state(tn_qparts *p, const tn_qmatrix *q, const char *dtype, tn_error *err)
{
    json_t *j = json_pack("{s:s, s:i, s:s, s:[i,i]}", "quant_type", tn_qformats[q->s.type].name, "blocksize", q->s.block, "dtype",
                          dtype, "shape", q->s.rows, q->s.cols);
    if (j && q->s.nested) {
        json_object_set_new(j, "nested_blocksize", json_integer(TN_NESTED_BLOCK));
        json_object_set_new(j, "nested_dtype", json_string("float32"));
        json_object_set_new(j, "nested_offset", json_real(q->offset));
    }
    if (j && q->s.type == TN_Q_NVFP4) json_object_set_new(j, "tensor_scale", json_real(q->offset));
    p->state = j ? json_dumps(j, JSON_REAL_PRECISION(digits_of(q->offset))) : NULL;
    json_decref(j);
    return p->state ? 0 : tn_oom(err);
}

static int bnb_parts(tn_qparts *p, const char *name, const tn_qmatrix *q, tn_error *err)
{
    const int64_t nb = (int64_t)q->n_blocks, nested = (int64_t)tn_qnested_count(&q->s);
    const char *sd = q->s.nested ? "U8" : "F32";
    const void *scales = q->s.nested ? (const void *)q->scale_q : q->absmax;
    memcpy(p->tables, tn_qformats[q->s.type].code, 64);
    tn_dynamic_map(p->tables + 16);
    TN_TRY(qfile_add(p, tn_strf("%s.absmax", name), sd, nb, -1, scales, tn_qscale_bytes(&q->s), err));
    TN_TRY(qfile_add(p, tn_strf("%s.quant_map", name), "F32", 16, -1, p->tables, 64, err));
    if (!q->s.nested) return 0;
    TN_TRY(qfile_add(p, tn_strf("%s.nested_absmax", name), "F32", nested, -1, q->nested_absmax, 4 * (size_t)nested, err));
    return qfile_add(p, tn_strf("%s.nested_quant_map", name), "F32", 256, -1, p->tables + 16, 1024, err);
}

static int own_parts(tn_qparts *p, const char *name, const tn_qmatrix *q, tn_error *err)
{
    const int64_t per_row = q->s.cols / q->s.block;
    const bool f32 = tn_qscale_of(&q->s) == TN_QS_F32;
    const void *scales = f32 ? (const void *)q->absmax : q->scale_q;
    TN_TRY(qfile_add(p, tn_strf("%s.scale", name), f32 ? "F32" : "U8", q->s.rows, per_row, scales, tn_qscale_bytes(&q->s), err));
    if (!tn_qzero_bytes(&q->s)) return 0;
    return qfile_add(p, tn_strf("%s.zero_point", name), "U8", q->s.rows, per_row, q->zero, tn_qzero_bytes(&q->s), err);
}

static int int8_parts(tn_qparts *p, const char *name, const tn_qmatrix *q, tn_error *err)
{
    const int n = (int)(strlen(name) - strlen("weight"));
    TN_TRY(qfile_add(p, strdup(name), "I8", q->s.rows, q->s.cols, q->packed, tn_qpacked_bytes(&q->s), err));
    TN_TRY(qfile_add(p, tn_strf("%.*sSCB", n, name), "F32", q->s.rows, -1, q->absmax, tn_qscale_bytes(&q->s), err));
    return qfile_add(p, tn_strf("%s_format", name), "U8", -1, -1, &p->format, 1, err);
}

int tn_qparts_make(tn_qparts *p, const char *name, const tn_qmatrix *q, const char *dtype, tn_error *err)
{
    memset(p, 0, sizeof *p);
    if (q->s.type == TN_Q_INT8) return int8_parts(p, name, q, err);
    const bool bnb = is_bnb(q->s.type);
    const int64_t n = (int64_t)tn_qpacked_bytes(&q->s);
    TN_TRY(qfile_add(p, strdup(name), "U8", bnb ? n : q->s.rows, bnb ? 1 : q->s.cols / 2, q->packed, (size_t)n, err));
    TN_TRY(bnb ? bnb_parts(p, name, q, err) : own_parts(p, name, q, err));
    TN_TRY(make_state(p, q, dtype, err));
    char *state = tn_strf("%s.quant_state.%s__%s", name, bnb ? "bitsandbytes" : "tracknet", tn_qformats[q->s.type].name);
    return qfile_add(p, state, "U8", (int64_t)strlen(p->state), -1, p->state, strlen(p->state), err);
}

void tn_qparts_free(tn_qparts *p)
{
    for (int i = 0; i < p->n; i++) free((void *)p->e[i].name);
    free(p->state);
    memset(p, 0, sizeof *p);
}

/* ---- config.json ---- */

bool tn_qfile_config(const tn_hf_dir *d, tn_qshape *s)
{
    const json_t *c = json_object_get(d->config, "quantization_config");
    const char *method = tn_json_str(c, "quant_method", "");
    const bool bnb = !strcmp(method, "bitsandbytes"), eight = bnb && tn_json_bool(c, "load_in_8bit", 0);
    if (!bnb && strcmp(method, "tracknet")) return false;
    tn_error ignored;
    const char *type = eight ? "int8" : tn_json_str(c, bnb ? "bnb_4bit_quant_type" : "quant_type", "fp4");
    *s = (tn_qshape){.nested = tn_json_bool(c, "bnb_4bit_use_double_quant", 0)};
    if (tn_qtype_find(&s->type, type, &ignored)) return false;
    for (int f = 0; f < d->n_files; f++)
        for (int i = 0; i < d->files[f]->n; i++) {
            tn_qmatrix q;
            const tn_st_tensor *t = &d->files[f]->t[i];
            if (s->type == TN_Q_INT8 || !tn_qfile_is_packed(d->files[f], t) || tn_qfile_read(&q, d->files[f], t, NULL, &ignored))
                continue;
            s->block = q.s.block;
            tn_qmatrix_free(&q);
            return true;
        }
    return true;
}

int tn_qfile_skipped(tn_strs *out, const tn_hf_dir *d, tn_error *err)
{
    static const char *const keys[] = {"llm_int8_skip_modules", "modules_to_not_convert"};
    for (size_t k = 0; k < TN_COUNT(keys); k++) {
        const json_t *list = json_object_get(json_object_get(d->config, "quantization_config"), keys[k]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *name = json_string_value(json_array_get(list, i));
            if (name && !tn_strs_add(out, name)) return tn_oom(err);
        }
    }
    return 0;
}

json_t *tn_qfile_config_json(tn_qtype type, bool nested, const tn_strs *skip)
{
    json_t *names = json_array();
    for (int i = 0; i < skip->n; i++) json_array_append_new(names, json_string(skip->v[i]));
    if (!is_bnb(type) && type != TN_Q_INT8)
        return json_pack("{s:s, s:s, s:o}", "quant_method", "tracknet", "quant_type", tn_qformats[type].name,
                         "modules_to_not_convert", names);
    const bool eight = type == TN_Q_INT8;
    return json_pack("{s:s, s:b, s:b, s:s, s:b, s:s, s:s, s:o, s:f, s:b, s:b}", "quant_method", "bitsandbytes", "load_in_4bit",
                     !eight, "load_in_8bit", eight, "bnb_4bit_quant_type", eight ? "fp4" : tn_qformats[type].name,
                     "bnb_4bit_use_double_quant", nested && !eight, "bnb_4bit_compute_dtype", "float32", "bnb_4bit_quant_storage",
                     "uint8", "llm_int8_skip_modules", names, "llm_int8_threshold", 6.0, "llm_int8_enable_fp32_cpu_offload", 0,
                     "llm_int8_has_fp16_weight", 0);
}
