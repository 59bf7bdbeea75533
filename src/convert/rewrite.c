#include "rewrite.h"
#include "files.h"
#include "folder.h"
#include "names.h"
#include "scope.h"
#include "text.h"
#include "watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum { COPY, FLOAT, QUANT } action;

typedef struct {
    const tn_rewrite *w;
    tn_hf_dir *hf;
    json_t *map; /* weight_map of the result */
    long long total_bytes;
    int done, total, quantised;
} rewrite_run;

static int tell(const rewrite_run *r, const char *name, tn_error *err)
{
    const tn_watch w = {r->w->o->progress, r->w->o->user};
    return tn_watch_tell(&w, r->w->phase, name, r->done, r->total, err);
}

/* ---- what becomes of a tensor ---- */

static bool is_matrix(const tn_st_file *f, const tn_st_tensor *t)
{
    return tn_qfile_is_packed(f, t) || (t->ndim == 2 && tn_ends(t->name, ".weight"));
}

static bool is_skipped(const rewrite_run *r, const char *name)
{
    const tn_quantize_options *o = r->w->o;
    if (strstr(name, "classifier") || strstr(name, "embeddings")) return true; /* transformers keeps the head in float */
    for (int i = 0; i < o->n_skip; i++)
        if (strstr(name, o->skip[i])) return true;
    return false;
}

static bool is_changed(const rewrite_run *r, const tn_st_tensor *t)
{
    return r->w->changes && r->w->changes(r->w->user, t->name);
}

static action action_of(const rewrite_run *r, const tn_st_file *f, const tn_st_tensor *t, int cols, const char **state)
{
    *state = "kept";
    const bool matrix = is_matrix(f, t);
    if (r->w->quantize && matrix) {
        *state = is_skipped(r, t->name)                               ? "skipped"
                 : tn_qdivides(r->w->type, r->w->o->block_size, cols) ? "quantised"
                                                                      : "not divisible";
        if ((*state)[0] == 'q') return QUANT;
    }
    return tn_qfile_is_packed(f, t) || is_changed(r, t) ? FLOAT : COPY;
}

/* ---- one tensor as float32 ---- */

typedef struct {
    float *v;
    int rows, cols;
    char dtype[16]; /* "float32", "float16", "bfloat16": what it was before any quantisation */
} rewrite_values;

/* Sizes and dtype without the values; with q (freed by the caller) also a packed tensor's matrix. */
static int measure_into(rewrite_values *x, tn_qmatrix *q, const tn_st_file *f, const tn_st_tensor *t, tn_error *err)
{
    *x = (rewrite_values){0};
    if (tn_qfile_is_packed(f, t)) {
        TN_TRY(tn_qfile_read(q, f, t, x->dtype, err));
        x->rows = q->s.rows, x->cols = q->s.cols;
        return 0;
    }
    x->rows = t->ndim ? (int)t->shape[0] : 1;
    x->cols = x->rows ? (int)(t->count / x->rows) : 0;
    snprintf(x->dtype, sizeof x->dtype, "%s",
             !strcmp(t->dtype, "F16")    ? "float16"
             : !strcmp(t->dtype, "BF16") ? "bfloat16"
                                         : "float32");
    return 0;
}

static int rewrite_measure(rewrite_values *x, const tn_st_file *f, const tn_st_tensor *t, tn_error *err)
{
    tn_qmatrix q = {0};
    int rc = measure_into(x, &q, f, t, err);
    tn_qmatrix_free(&q);
    return rc;
}

static int read_values(rewrite_values *x, const rewrite_run *r, const tn_st_file *f, const tn_st_tensor *t, tn_error *err)
{
    tn_qmatrix q = {0};
    TN_TRY(measure_into(x, &q, f, t, err));
    x->v = malloc(sizeof *x->v * (size_t)x->rows * (size_t)x->cols + 4);
    int rc = x->v ? 0 : tn_oom(err);
    if (!rc && q.packed) tn_dequantize(&q, x->v);
    else if (!rc) rc = tn_st_read_f32(f, t, x->v, err);
    tn_qmatrix_free(&q);
    if (!rc && is_changed(r, t)) rc = r->w->change(r->w->user, t->name, x->v, x->rows, x->cols, err);
    if (rc) free(x->v);
    if (rc) x->v = NULL;
    return rc;
}

static tn_qshape shape_of(const rewrite_run *r, int rows, int cols)
{
    tn_qshape s = {.type = r->w->type, .rows = rows, .cols = cols};
    s.nested = r->w->o->double_quant && tn_qformats[s.type].nestable;
    tn_error ignored;
    if (tn_qblock(&s.block, s.type, r->w->o->block_size, cols, "", &ignored)) s.block = 0;
    return s;
}

static int quantise(tn_qmatrix *q, const rewrite_run *r, const rewrite_values *x, const char *name, tn_error *err)
{
    const tn_qshape s = shape_of(r, x->rows, x->cols);
    return tn_quantize(q, x->v, &s, name, err);
}

/* ---- the layout of one file ---- */

typedef struct {
    tn_st_entry *e;
    int n, cap;
} rewrite_layout;

static int lay(rewrite_layout *l, const tn_st_entry *e, tn_error *err)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 256;
        tn_st_entry *v = realloc(l->e, sizeof *v * (size_t)l->cap);
        if (!v) return tn_oom(err);
        l->e = v;
    }
    char name[TN_ST_NAME];
    tn_unwrapped_name(name, sizeof name, e->name);
    l->e[l->n] = *e;
    l->e[l->n].data = NULL;
    return (l->e[l->n++].name = strdup(name)) ? 0 : tn_oom(err);
}

static void layout_free(rewrite_layout *l)
{
    for (int i = 0; i < l->n; i++) free((void *)l->e[i].name);
    free(l->e);
}

static tn_st_entry entry_of(const tn_st_tensor *t)
{
    tn_st_entry e = {.name = t->name, .dtype = t->dtype, .ndim = t->ndim, .bytes = t->bytes};
    memcpy(e.shape, t->shape, sizeof e.shape);
    return e;
}

static const char *file_dtype(const char *torch)
{
    return !strcmp(torch, "float16") ? "F16" : !strcmp(torch, "bfloat16") ? "BF16" : "F32";
}

/* A state's text tells an offset whose digits are known only once the matrix was quantised. */
static int lay_quant(rewrite_layout *l, const rewrite_run *r, const tn_st_file *f, const tn_st_tensor *t,
                     const rewrite_values *size, tn_error *err)
{
    tn_qparts p;
    tn_qmatrix q = {.s = shape_of(r, size->rows, size->cols)};
    rewrite_values x = *size;
    q.n_blocks = tn_qblocks(&q.s);
    const bool ahead = q.s.nested || q.s.type == TN_Q_NVFP4;
    int rc = 0;
    if (ahead) {
        rc = read_values(&x, r, f, t, err);
        if (!rc) rc = quantise(&q, r, &x, t->name, err);
        free(x.v);
    }
    if (rc) return rc;
    rc = tn_qparts_make(&p, t->name, &q, size->dtype, err);
    for (int i = 0; !rc && i < p.n; i++) rc = lay(l, &p.e[i], err);
    tn_qparts_free(&p);
    if (ahead) tn_qmatrix_free(&q);
    return rc;
}

static bool is_dropped(const tn_st_tensor *t)
{
    return tn_qfile_is_part(t->name);
}

static int lay_file(rewrite_layout *l, const rewrite_run *r, const tn_st_file *f, tn_error *err)
{
    for (int i = 0; i < f->n; i++) {
        const tn_st_tensor *t = &f->t[i];
        const char *state;
        rewrite_values x;
        if (is_dropped(t)) continue;
        TN_TRY(rewrite_measure(&x, f, t, err));
        tn_st_entry e = entry_of(t);
        switch (action_of(r, f, t, x.cols, &state)) {
        case QUANT:
            TN_TRY(tell(r, t->name, err));
            TN_TRY(lay_quant(l, r, f, t, &x, err));
            break;
        case FLOAT:
            if (tn_qfile_is_packed(f, t)) {
                e.dtype = file_dtype(x.dtype);
                e.ndim = 2, e.shape[0] = x.rows, e.shape[1] = x.cols;
                e.bytes = (size_t)x.rows * (size_t)x.cols * (e.dtype[0] == 'F' && e.dtype[1] == '3' ? 4 : 2);
            }
            TN_TRY(lay(l, &e, err));
            break;
        default: TN_TRY(lay(l, &e, err));
        }
    }
    return 0;
}

/* ---- writing it ---- */

static int put(tn_st_writer *out, const char *stored, const void *data, tn_error *err)
{
    char name[TN_ST_NAME];
    tn_unwrapped_name(name, sizeof name, stored);
    return tn_st_put(out, name, data, err);
}

static int rewrite_report(rewrite_run *r, const tn_st_tensor *t, const char *state, const rewrite_values *x, const tn_qmatrix *q,
                          tn_error *err)
{
    r->done++;
    TN_TRY(tell(r, t->name, err));
    if (!r->w->o->layer) return 0;
    tn_layer_report p = {.name = t->name, .state = state, .rows = x->rows, .cols = x->cols, .sqnr = INFINITY};
    p.bits = !strcmp(x->dtype, "float32") ? 32 : 16;
    if (q) {
        const size_t n = (size_t)x->rows * (size_t)x->cols;
        float *back = malloc(n * sizeof *back + 4);
        double signal = 0, noise = 0;
        if (!back) return tn_oom(err);
        tn_dequantize(q, back);
        for (size_t i = 0; i < n; i++) {
            const double d = (double)x->v[i] - back[i];
            signal += (double)x->v[i] * x->v[i];
            noise += d * d;
            p.max_error = fmax(p.max_error, fabs(d));
        }
        free(back);
        p.bits = 8.0 * (double)tn_qbytes(&q->s) / (double)n;
        if (noise > 0) p.sqnr = 10 * log10(signal / noise);
    }
    return TN_CALLBACK(r->w->o->layer(r->w->o->user, &p, r->done, r->total)) ? tn_cancelled(r->w->phase, err) : 0;
}

static int put_quant(rewrite_run *r, tn_st_writer *out, const tn_st_file *f, const tn_st_tensor *t, tn_error *err)
{
    rewrite_values x;
    tn_qmatrix q = {0};
    tn_qparts p = {0};
    TN_TRY(read_values(&x, r, f, t, err));
    int rc = quantise(&q, r, &x, t->name, err);
    if (!rc) rc = tn_qparts_make(&p, t->name, &q, x.dtype, err);
    for (int i = 0; !rc && i < p.n; i++) rc = put(out, p.e[i].name, p.e[i].data, err);
    r->quantised++;
    if (!rc) rc = rewrite_report(r, t, "quantised", &x, &q, err);
    tn_qparts_free(&p);
    tn_qmatrix_free(&q);
    free(x.v);
    return rc;
}

static int rewrite_put_float(rewrite_run *r, tn_st_writer *out, const tn_st_file *f, const tn_st_tensor *t, const char *state,
                             tn_error *err)
{
    rewrite_values x;
    TN_TRY(read_values(&x, r, f, t, err));
    const size_t n = (size_t)x.rows * (size_t)x.cols;
    const tn_dtype dt = !strcmp(x.dtype, "float16") ? TN_F16 : !strcmp(x.dtype, "bfloat16") ? TN_BF16 : TN_F32;
    void *bytes = malloc(n * tn_dtype_size(dt) + 4);
    if (bytes) tn_from_f32(bytes, x.v, dt, n);
    int rc = bytes ? put(out, t->name, bytes, err) : tn_oom(err);
    if (!rc && is_matrix(f, t)) rc = rewrite_report(r, t, state, &x, NULL, err);
    free(bytes);
    free(x.v);
    return rc;
}

static int put_copy(rewrite_run *r, tn_st_writer *out, const tn_st_file *f, const tn_st_tensor *t, const char *state, tn_error *err)
{
    rewrite_values x;
    void *bytes = malloc(t->bytes + 1);
    int rc = bytes ? tn_st_read(f, t, bytes, err) : tn_oom(err);
    if (!rc) rc = put(out, t->name, bytes, err);
    if (!rc && is_matrix(f, t) && !(rc = rewrite_measure(&x, f, t, err))) rc = rewrite_report(r, t, state, &x, NULL, err);
    free(bytes);
    return rc;
}

static int put_file(rewrite_run *r, tn_st_writer *out, const tn_st_file *f, tn_error *err)
{
    for (int i = 0; i < f->n; i++) {
        const tn_st_tensor *t = &f->t[i];
        const char *state;
        rewrite_values x;
        if (is_dropped(t)) continue;
        TN_TRY(rewrite_measure(&x, f, t, err));
        switch (action_of(r, f, t, x.cols, &state)) {
        case QUANT: TN_TRY(put_quant(r, out, f, t, err)); break;
        case FLOAT: TN_TRY(rewrite_put_float(r, out, f, t, state, err)); break;
        default: TN_TRY(put_copy(r, out, f, t, state, err));
        }
    }
    return 0;
}

/* The result is safetensors, whatever the input's files are called. */
static char *output_name(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (!tn_ends(base, ".bin")) return strdup(base);
    if (tn_starts(base, "pytorch_")) base += strlen("pytorch_");
    return tn_strf("%.*s.safetensors", (int)(strlen(base) - strlen(".bin")), base);
}

/* Two files of one name, or two tensors that were one name in two wrappers, would overwrite each other. */
static int enter(rewrite_run *r, const rewrite_layout *l, const char *file, const char *path, tn_error *err)
{
    if (tn_is_file(path)) return tn_fail(err, TN_ERR_FORMAT, "'%s' has two files that would both become '%s'", r->hf->path, file);
    for (int i = 0; i < l->n; i++) {
        if (json_object_get(r->map, l->e[i].name))
            return tn_fail(err, TN_ERR_FORMAT, "'%s' holds tensor '%s' twice, wrapped and plain or in two files", r->hf->path,
                           l->e[i].name);
        json_object_set_new(r->map, l->e[i].name, json_string(file));
        r->total_bytes += (long long)l->e[i].bytes;
    }
    return 0;
}

static int rewrite_file(rewrite_run *r, const char *dir, const tn_st_file *f, tn_error *err)
{
    rewrite_layout l = {0};
    tn_st_writer *out = NULL;
    char *file = output_name(f->path), *path = file ? tn_path(dir, file) : NULL;
    int rc = path ? lay_file(&l, r, f, err) : tn_oom(err);
    if (!rc) rc = enter(r, &l, file, path, err);
    if (!rc) rc = tn_st_begin(&out, path, l.e, l.n, err);
    if (!rc) {
        rc = put_file(r, out, f, err);
        if (!rc) rc = tn_st_end(out, err);
        else tn_st_abort(out);
    }
    layout_free(&l);
    free(file);
    free(path);
    return rc;
}

/* ---- the folder ---- */

static int write_config(const rewrite_run *r, const char *dir, tn_error *err)
{
    json_t *c = json_deep_copy(r->hf->config);
    char *path = tn_path(dir, "config.json");
    tn_strs skip = {0};
    for (int i = 0; i < r->w->o->n_skip; i++) tn_strs_add(&skip, r->w->o->skip[i]);
    if (r->quantised) tn_strs_add(&skip, "classifier");
    json_object_del(c, "quantization_config");
    if (r->quantised) json_object_set_new(c, "quantization_config", tn_qfile_config_json(r->w->type, r->w->o->double_quant, &skip));
    int rc = c && path ? tn_json_write(c, path, err) : tn_oom(err);
    tn_strs_free(&skip);
    json_decref(c);
    free(path);
    return rc;
}

static int write_index(const rewrite_run *r, const char *dir, tn_error *err)
{
    if (r->hf->n_files < 2) return 0;
    char *path = tn_path(dir, "model.safetensors.index.json");
    json_t *j = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)r->total_bytes, "weight_map", r->map);
    int rc = j && path ? tn_json_write(j, path, err) : tn_oom(err);
    json_decref(j);
    free(path);
    return rc;
}

/* Small companions (preprocessor_config.json, README.md, licences) come along. */
static int copy_others(const rewrite_run *r, const char *dir, tn_error *err)
{
    tn_strs names = {0};
    int rc = tn_list_dir(&names, r->hf->path, err);
    for (int i = 0; !rc && i < names.n; i++) {
        const char *n = names.v[i];
        char *from = tn_path(r->hf->path, n), *to = tn_path(dir, n), *data = NULL;
        size_t len = 0;
        const bool text = tn_ends(n, ".json") || tn_ends(n, ".txt") || tn_ends(n, ".md") || tn_starts(n, "LICENSE");
        if (text && strcmp(n, "config.json") && !tn_ends(n, ".index.json") && from && to && tn_is_file(from)) {
            rc = tn_read_file(&data, &len, from, err);
            if (!rc) rc = tn_write_file(to, data, len, err);
        }
        free(data);
        free(from);
        free(to);
    }
    tn_strs_free(&names);
    return rc;
}

static void count_matrices(rewrite_run *r)
{
    for (int f = 0; f < r->hf->n_files; f++)
        for (int i = 0; i < r->hf->files[f]->n; i++) {
            const tn_st_tensor *t = &r->hf->files[f]->t[i];
            r->total += !is_dropped(t) && is_matrix(r->hf->files[f], t);
        }
}

static int write_folder(rewrite_run *r, const char *dir, tn_error *err)
{
    for (int i = 0; i < r->hf->n_files; i++) TN_TRY(rewrite_file(r, dir, r->hf->files[i], err));
    TN_TRY(write_index(r, dir, err));
    TN_TRY(copy_others(r, dir, err));
    return write_config(r, dir, err);
}

int tn_rewrite_run(const tn_rewrite *w, tn_error *err)
{
    rewrite_run r = {.w = w, .map = json_object()};
    tn_folder out;
    int rc = tn_folder_begin(&out, w->o->out, true, err);
    if (!rc) rc = r.map ? tn_hf_open(&r.hf, w->o->in, true, err) : tn_oom(err);
    if (!rc) tn_hf_warn(r.hf, w->o->log);
    if (!rc) count_matrices(&r);
    if (!rc) rc = write_folder(&r, out.tmp, err);
    if (!rc) rc = tn_folder_commit(&out, err);
    tn_folder_end(&out);
    tn_hf_close(r.hf);
    json_decref(r.map);
    return rc;
}
