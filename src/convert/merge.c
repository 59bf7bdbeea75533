/* An adapter added to its base. */
#include "entry.h"
#include "names.h"
#include "rewrite.h"
#include "start.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct {
    tn_adapter *a;
    tn_hf_dir *base;
    tn_loftq_start loftq;
} merger;

/* "X.weight" or "X.bias" -> the adapter's module X. */
static const tn_adapter_module *module_of(const tn_adapter *a, const char *tensor, const char *suffix)
{
    char common[320];
    tn_common_name(common, sizeof common, tensor);
    if (!tn_ends(common, suffix)) return NULL;
    common[strlen(common) - strlen(suffix)] = 0;
    return tn_adapter_find(a, common);
}

static const tn_adapter_module *biased(const tn_adapter *a, const char *tensor)
{
    return a->lora_bias ? module_of(a, tensor, ".bias") : NULL;
}

static const tn_st_tensor *whole_of(const tn_adapter *a, const char *tensor)
{
    char common[320];
    tn_common_name(common, sizeof common, tensor);
    return tn_adapter_other(a, common);
}

static bool changes(void *user, const char *name)
{
    const merger *m = user;
    return module_of(m->a, name, ".weight") || biased(m->a, name) || whole_of(m->a, name);
}

/* A base that is stored quantised was quantised again after the start was taken out, and trained against so. */
static int quantise_again(const merger *m, const tn_adapter_module *x, float *w, tn_error *err)
{
    char name[330];
    const tn_st_file *f;
    tn_qmatrix q;
    snprintf(name, sizeof name, "%s.weight", x->common);
    const tn_st_tensor *t = tn_hf_find(m->base, name, &f);
    if (!t || !tn_qfile_is_packed(f, t)) return 0;
    TN_TRY(tn_qfile_read(&q, f, t, NULL, err));
    const tn_qshape shape = q.s;
    tn_qmatrix_free(&q);
    TN_TRY(tn_quantize(&q, w, &shape, x->path, err));
    tn_dequantize(&q, w);
    tn_qmatrix_free(&q);
    return 0;
}

/* PiSSA and OLoRA trained against W - s B0 A0. */
static int take_start(const merger *m, const tn_adapter_module *x, float *w, tn_error *err)
{
    float scale;
    if (!tn_start_is_low_rank(m->a)) return 0;
    const size_t nb = (size_t)x->out * (size_t)x->r, na = (size_t)x->in * (size_t)x->r;
    float *B = malloc(sizeof *B * (nb + na));
    if (!B) return tn_oom(err);
    float *A = B + nb;
    int rc = tn_start_factors(B, A, &scale, m->a, x, w, err);
    if (!rc) tn_matmul_add(w, -scale, B, A, x->out, x->r, x->in);
    free(B);
    return rc ? rc : quantise_again(m, x, w, err);
}

/* LoftQ trained against the base as its alternations left it quantised. */
static int take_loftq(const merger *m, const tn_adapter_module *x, float *w, tn_error *err)
{
    if (!m->loftq.iterations || !tn_adapter_loftq_has(m->a, x)) return 0;
    tn_qshape s = {.type = m->loftq.type, .rows = x->out, .cols = x->in, .nested = m->loftq.nested};
    TN_TRY(tn_qblock(&s.block, s.type, m->loftq.block, s.cols, x->path, err));
    const tn_loftq_spec how = {.shape = s, .r = x->r, .iterations = m->loftq.iterations, .scale = x->scale};
    return tn_loftq_base(w, &how, err);
}

static int merge_module(const merger *m, const tn_adapter_module *x, float *w, tn_error *err)
{
    float *A = tn_adapter_values(m->a, x->a, err), *B = A ? tn_adapter_values(m->a, x->b, err) : NULL;
    float *mag = B && x->magnitude ? tn_adapter_values(m->a, x->magnitude, err) : NULL;
    int rc = B && (!x->magnitude || mag) ? take_start(m, x, w, err) : err->status;
    if (!rc) rc = take_loftq(m, x, w, err);
    if (!rc) {
        tn_matmul_add(w, x->scale, B, A, x->out, x->r, x->in);
        if (mag) tn_rows_to_norms(w, mag, x->out, x->in);
    }
    free(A);
    free(B);
    free(mag);
    return rc;
}

/* bias += s lora_B.bias */
static int merge_bias(const merger *m, const tn_adapter_module *x, float *v, tn_error *err)
{
    float *b = tn_adapter_values(m->a, x->bias, err);
    for (int i = 0; b && i < x->out; i++) v[i] += x->scale * b[i];
    free(b);
    return b ? 0 : err->status;
}

/* The adapter's first kernel sees all groups: what both make together is no convolution of the groups. */
static int several_groups(const tn_adapter *a, const tn_adapter_module *x, tn_error *err)
{
    return tn_fail(
        err, TN_ERR_CONFIG,
        "adapter '%s': '%s' is a convolution of %d groups, into which an adapter cannot be merged, as in PEFT; use the adapter "
        "beside its base",
        a->dir, x->path, x->groups);
}

static int change(void *user, const char *name, float *w, int rows, int cols, tn_error *err)
{
    merger *m = user;
    const tn_adapter_module *x = module_of(m->a, name, ".weight"), *biases = biased(m->a, name);
    if (x) {
        if (x->out != rows || x->in != cols) return tn_wrong_base(m->a, name, rows, cols, err);
        return merge_module(m, x, w, err);
    }
    const tn_st_tensor *t = whole_of(m->a, name);
    if (t && t->count != (int64_t)rows * cols) return tn_wrong_base(m->a, name, rows, cols, err);
    if (t) TN_TRY(tn_st_read_f32(m->a->file, t, w, err));
    if (!biases) return 0;
    return biases->out == rows * cols ? merge_bias(m, biases, w, err) : tn_wrong_base(m->a, name, rows, cols, err);
}

static int not_in_base(const tn_adapter *a, const char *what, const tn_hf_dir *hf, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': there is no '%s' in '%s'; it was made for another base", a->dir, what,
                   hf->path);
}

static int check_module(const tn_adapter *a, const tn_adapter_module *m, const tn_hf_dir *hf, tn_error *err)
{
    char name[330];
    snprintf(name, sizeof name, "%s.weight", m->common);
    const tn_st_tensor *w = tn_hf_find(hf, name, NULL);
    if (!w) return m->outside ? 0 : not_in_base(a, m->path, hf, err);
    if (m->groups > 1) return several_groups(a, m, err);
    if ((w->ndim == 4) != (m->groups > 0)) return tn_wrong_base(a, w->name, (int)w->shape[0], (int)(w->count / w->shape[0]), err);
    snprintf(name, sizeof name, "%s.bias", m->common);
    if (!a->lora_bias || tn_hf_find(hf, name, NULL)) return 0;
    return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': lora_bias needs a bias in '%s', and '%s' has none there", a->dir, m->path,
                   hf->path);
}

/* Every module and every whole tensor must be in the base before anything is written. */
static int check_base(const tn_adapter *a, const tn_hf_dir *hf, tn_error *err)
{
    for (int i = 0; i < a->n; i++) TN_TRY(check_module(a, &a->modules[i], hf, err));
    for (int i = 0; i < a->file->n; i++)
        if (tn_adapter_whole(a, i) && !tn_hf_find(hf, a->common.v[i], NULL)) return not_in_base(a, a->file->t[i].name, hf, err);
    return 0;
}

static int starts_of(merger *m, tn_error *err)
{
    TN_TRY(tn_adapter_loftq(&m->loftq, m->a, err));
    if (m->loftq.iterations || strcasecmp(tn_adapter_init(m->a), "loftq")) return 0;
    return tn_fail(err, TN_ERR_CONFIG,
                   "adapter '%s' began from LoftQ, and its loftq_config names no quant_type to make its base again; "
                   "merge it in PEFT, with the base that it was trained with",
                   m->a->dir);
}

int tn_merge_adapter(const char *adapter, const tn_quantize_options *o, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_struct(o, TN_QUANTIZE_OPTIONS_VERSION, "tn_quantize_options", err));
    TN_TRY(tn_quantize_skips(o, err));
    merger m = {0};
    tn_rewrite w = {
        .o = o, .quantize = o->quant_type != NULL, .phase = TN_PHASE_MERGING, .changes = changes, .change = change, .user = &m};
    if (!adapter || !o->in || !o->out) return tn_fail(err, TN_ERR_ARGUMENT, "give --adapter, --base and --out");
    if (o->quant_type) TN_TRY(tn_quantize_check(o, &w.type, err));
    TN_TRY(tn_adapter_open(&m.a, adapter, err));
    int rc = starts_of(&m, err);
    if (!rc) rc = tn_hf_open(&m.base, o->in, true, err);
    if (!rc) rc = check_base(m.a, m.base, err);
    if (!rc) tn_adapter_warn(m.a, m.base, o->log);
    if (!rc) rc = tn_rewrite_run(&w, err);
    tn_hf_close(m.base);
    tn_adapter_close(m.a);
    return rc;
}
