/* Several adapters of one base made into one, as PEFT's add_weighted_adapter does. */
#include "bundle.h"
#include "entry.h"
#include "files.h"
#include "folder.h"
#include "names.h"
#include "start.h"
#include "svd.h"
#include <tracknet/convert.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BASE "base_model_name_or_path"
enum { MOST = 16 };

typedef struct {
    const tn_adapter_average *o;
    tn_adapter *a[MOST];
    bool svd;
    int rank; /* svd: of every module; linear: the largest */
    const char *dtype;
    json_t *targets, *ranks; /* modules by their paths; ranks other than the largest */
    const tn_adapter *named; /* the first that says which base it was made for */
    tn_bundle out;
} average;

/* A module as one adapter has it; times: its scale and the adapter's weight. */
typedef struct {
    const tn_adapter *a;
    const tn_adapter_module *m;
    double times;
} average_part;

/* ---- what can be averaged ---- */

static int unfit(const tn_adapter *a, const char *why, const char *which, tn_error *err)
{
    return tn_fail(err, TN_ERR_CONFIG, "adapter '%s' cannot become part of an average: %s%s", a->dir, why, which);
}

static int check_adapter(const tn_adapter *a, tn_error *err)
{
    if (a->dora) return unfit(a, "DoRA's magnitudes do not add up; merge it into its base", "", err);
    if (a->lora_bias) return unfit(a, "its lora_B have biases (lora_bias)", "", err);
    if (!strcasecmp(tn_adapter_init(a), "loftq")) return unfit(a, "LoftQ changed its base; merge it into that", "", err);
    if (tn_start_is_low_rank(a))
        return unfit(a, "its start changed the base; make it plain with 'tracknet adapter convert --plain'", "", err);
    for (int i = 0; i < a->file->n; i++)
        if (!strstr(a->common.v[i], ".lora_")) return unfit(a, "it holds more than LoRA's factors: ", a->file->t[i].name, err);
    return 0;
}

/* NULL where the configuration does not say. */
static const char *base_of(const tn_adapter *a)
{
    const char *name = tn_json_str(a->config, BASE, NULL);
    return name && name[0] ? name : NULL;
}

/* What a base is called wherever it lies: the last part of a hub id or of a path, of the hub cache's folders the one that has the
 * name (models--ORG--NAME/snapshots/...). Borrowed; *n: its length. */
static const char *last_part(const char *base, size_t *n)
{
    const char *snapshots = strstr(base, "/snapshots/"), *end = snapshots ? snapshots : base + strlen(base);
    while (end > base + 1 && end[-1] == '/') end--;
    const char *part = end;
    while (part > base && part[-1] != '/') part--;
    for (const char *dashes; snapshots && (dashes = strstr(part, "--")) && dashes < end;) part = dashes + 2;
    *n = (size_t)(end - part);
    return part;
}

static bool is_hub_id(const char *base)
{
    const char *slash = strchr(base, '/');
    return slash && slash > base && !strchr(".~", base[0]) && !strchr(slash + 1, '/') && !tn_is_dir(base);
}

/* A model and its copy in a folder of its name are one; two hub ids are one only as a whole. */
static bool same_base(const char *a, const char *b)
{
    size_t na, nb;
    if (is_hub_id(a) && is_hub_id(b)) return !strcmp(a, b);
    const char *pa = last_part(a, &na), *pb = last_part(b, &nb);
    return na == nb && !memcmp(pa, pb, na);
}

/* Shapes tell bases of two sizes apart, not two models of one size. */
static int check_base_name(average *v, const tn_adapter *a, tn_error *err)
{
    if (!base_of(a)) return 0;
    if (!v->named) v->named = a;
    if (same_base(base_of(v->named), base_of(a))) return 0;
    return tn_fail(err, TN_ERR_CONFIG,
                   "'%s/adapter_config.json' names the base '%s' and '%s/adapter_config.json' the base '%s', and adapters of two "
                   "bases do not add up; merge each into its own, or give both files one " BASE " if that is one "
                   "model under two names",
                   v->named->dir, base_of(v->named), a->dir, base_of(a));
}

static int check_options(const tn_adapter_average *o, tn_error *err)
{
    if (!o->out) return tn_fail(err, TN_ERR_ARGUMENT, "give --out");
    if (!o->adapters || o->n < 1 || o->n > MOST)
        return tn_fail(err, TN_ERR_ARGUMENT, "an average is of 1 to %d adapters, not of %d", MOST, o->n);
    if (!o->method || (strcmp(o->method, "linear") && strcmp(o->method, "svd")))
        return tn_fail(err, TN_ERR_ARGUMENT, "the method of an average is linear or svd, not '%s'", o->method ? o->method : "NULL");
    if (o->rank < 0 || (o->rank && strcmp(o->method, "svd")))
        return tn_fail(err, TN_ERR_ARGUMENT, "a rank goes with --method svd; linear keeps the adapters' own");
    for (int i = 0; i < o->n; i++) {
        TN_TRY(tn_required(o->adapters[i], "each adapter of tn_average_adapters", err));
        if (o->weights && !isfinite(o->weights[i])) return tn_fail(err, TN_ERR_ARGUMENT, "weight %d is no finite number", i + 1);
    }
    return 0;
}

static int open_adapters(average *v, tn_error *err)
{
    v->rank = v->o->rank;
    for (int i = 0; i < v->o->n; i++) {
        TN_TRY(tn_adapter_open(&v->a[i], v->o->adapters[i], err));
        TN_TRY(check_adapter(v->a[i], err));
        TN_TRY(check_base_name(v, v->a[i], err));
        for (int k = 0; k < v->a[i]->n; k++) {
            const tn_adapter_module *m = &v->a[i]->modules[k];
            if (!v->dtype) v->dtype = m->a->dtype;
            if (strcmp(v->dtype, m->a->dtype) || strcmp(v->dtype, m->b->dtype)) v->dtype = "F32"; /* which all go into */
            if (!v->o->rank) v->rank = TN_MAX(v->rank, m->r);
        }
    }
    return 0;
}

/* ---- one module ---- */

static int disagree(const average_part *p, const average_part *q, const char *how, tn_error *err)
{
    return tn_fail(err, TN_ERR_CONFIG, "'%s' of adapter '%s' and '%s' of '%s' %s", p->m->path, p->a->dir, q->m->path, q->a->dir,
                   how);
}

static int check_parts(const average *v, const average_part *p, int n, tn_error *err)
{
    const tn_adapter_module *m = p->m;
    for (int i = 1; i < n; i++) {
        if (p[i].m->in != m->in || p[i].m->out != m->out || p[i].m->groups != m->groups)
            return disagree(p, p + i, "differ in shape: the adapters were made for two bases", err);
        if (strcmp(p[i].m->path, m->path))
            return disagree(p, p + i,
                            "are one module in two spellings; bring both to one with 'tracknet adapter convert --spelling'", err);
        if (!v->svd && p[i].m->r != m->r)
            return disagree(p, p + i, "differ in rank, and linear adds adapters of one rank; use --method svd", err);
    }
    if (v->svd && m->groups > 1)
        return tn_fail(err, TN_ERR_CONFIG,
                       "'%s' of adapter '%s' is a convolution of %d groups, whose adapters add up by linear alone", m->path,
                       p->a->dir, m->groups);
    if (!v->svd || v->rank <= TN_MIN(m->in, m->out)) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "the rank is %d, larger than '%s' [%d, %d]", v->rank, m->path, m->out, m->in);
}

/* Both factors take the root, A the sign. */
static int add_linear(float *B, float *A, const average_part *p, tn_error *err)
{
    const size_t na = (size_t)p->m->a->count, nb = (size_t)p->m->b->count;
    const float root = (float)sqrt(fabs(p->times)), signed_root = p->times < 0 ? -root : root;
    float *a = tn_adapter_values(p->a, p->m->a, err), *b = a ? tn_adapter_values(p->a, p->m->b, err) : NULL;
    for (size_t i = 0; b && i < na; i++) A[i] += signed_root * a[i];
    for (size_t i = 0; b && i < nb; i++) B[i] += root * b[i];
    free(a);
    free(b);
    return b ? 0 : err->status;
}

/* Columns `at` and following of B [out, k] and rows of A [k, in]. */
static int stack(float *B, float *A, int at, int k, const average_part *p, tn_error *err)
{
    const size_t r = (size_t)p->m->r, in = (size_t)p->m->in, out = (size_t)p->m->out;
    float *a = tn_adapter_values(p->a, p->m->a, err), *b = a ? tn_adapter_values(p->a, p->m->b, err) : NULL;
    if (b) memcpy(A + (size_t)at * in, a, sizeof *A * r * in);
    for (size_t i = 0; b && i < out; i++)
        for (size_t j = 0; j < r; j++) B[i * (size_t)k + (size_t)at + j] = (float)(p->times * b[i * r + j]);
    free(a);
    free(b);
    return b ? 0 : err->status;
}

/* sum w s B A, cut to rank r. */
static int cut_sum(float *B, float *A, int r, const average_part *p, int n, tn_error *err)
{
    int k = 0, at = 0, rc = 0;
    for (int i = 0; i < n; i++) k += p[i].m->r;
    const size_t K = (size_t)k, in = (size_t)p->m->in, out = (size_t)p->m->out;
    float *Bs = malloc(sizeof *Bs * K * (in + out));
    if (!Bs) return tn_oom(err);
    float *As = Bs + K * out;
    for (int i = 0; !rc && i < n; at += p[i++].m->r) rc = stack(Bs, As, at, k, &p[i], err);
    if (!rc) rc = tn_cut_product(&(tn_product_of){Bs, As, p->m->out, p->m->in, k}, r, B, A, err);
    free(Bs);
    return rc;
}

static char *plain_key(const tn_st_tensor *t)
{
    char key[TN_ST_NAME];
    tn_plain_key(key, sizeof key, t->name);
    return strdup(key);
}

static int average_module(average *v, const average_part *p, int n, tn_error *err)
{
    const tn_adapter_module *m = p->m;
    const int r = v->svd ? v->rank : m->r;
    const int each = r / TN_MAX(m->groups, 1), ndim = m->a->ndim;
    const int64_t *k = m->a->shape, sa[] = {r, k[1], k[2], k[3]}, sb[] = {m->out, each, 1, 1};
    TN_TRY(check_parts(v, p, n, err));
    float *A = calloc((size_t)r * (size_t)m->in, sizeof *A), *B = calloc((size_t)each * (size_t)m->out, sizeof *B);
    int rc = A && B ? 0 : tn_oom(err);
    if (!rc && v->svd) rc = cut_sum(B, A, r, p, n, err);
    for (int i = 0; !rc && !v->svd && i < n; i++) rc = add_linear(B, A, &p[i], err);
    if (rc) {
        free(A);
        free(B);
        return rc;
    }
    json_array_append_new(v->targets, json_string(m->path));
    if (r != v->rank) json_object_set_new(v->ranks, m->path, json_integer(r));
    rc = tn_bundle_add(&v->out, plain_key(m->a), v->dtype, ndim, sa, A, err);
    if (!rc) return tn_bundle_add(&v->out, plain_key(m->b), v->dtype, ndim, sb, B, err);
    free(B);
    return rc;
}

/* Every module once, of all adapters that have it. */
static int average_modules(average *v, tn_error *err)
{
    const int n = v->o->n;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < v->a[i]->n; k++) {
            average_part p[MOST];
            int count = 0;
            bool before = false;
            for (int j = 0; j < n; j++) {
                const tn_adapter_module *m = tn_adapter_find(v->a[j], v->a[i]->modules[k].common);
                const double weight = v->o->weights ? v->o->weights[j] : 1.0 / n;
                before |= m && j < i;
                if (m) p[count++] = (average_part){v->a[j], m, weight * m->scale};
            }
            if (!before) TN_TRY(average_module(v, p, count, err));
        }
    return 0;
}

/* ---- the adapter ---- */

/* The first one's, with scale 1 for all modules. */
static int write_config(const average *v, const char *dir, tn_error *err)
{
    static const char *const gone[] = {"layers_to_transform", "layers_pattern", "exclude_modules", "modules_to_save"};
    json_t *c = json_deep_copy(v->a[0]->config);
    char *path = tn_path(dir, "adapter_config.json");
    for (size_t i = 0; c && i < TN_COUNT(gone); i++) json_object_del(c, gone[i]);
    if (v->named) json_object_set(c, BASE, json_object_get(v->named->config, BASE));
    json_object_set(c, "target_modules", v->targets);
    json_object_set(c, "rank_pattern", v->ranks);
    json_object_set(c, "alpha_pattern", v->ranks);
    json_object_set_new(c, "r", json_integer(v->rank));
    json_object_set_new(c, "lora_alpha", json_integer(v->rank));
    json_object_set_new(c, "use_rslora", json_false());
    json_object_set_new(c, "init_lora_weights", json_true());
    json_object_set_new(c, "bias", json_string("none"));
    const int rc = c && path ? tn_json_write(c, path, err) : tn_oom(err);
    json_decref(c);
    free(path);
    return rc;
}

static int write_average(average *v, tn_error *err)
{
    tn_folder out;
    int rc = tn_folder_begin(&out, v->o->out, true, err);
    char *weights = rc ? NULL : tn_path(out.tmp, "adapter_model.safetensors");
    if (!rc) rc = weights ? tn_st_write(weights, v->out.e, v->out.n, err) : tn_oom(err);
    if (!rc) rc = write_config(v, out.tmp, err);
    if (!rc) rc = tn_folder_commit(&out, err);
    tn_folder_end(&out);
    free(weights);
    return rc;
}

int tn_average_adapters(const tn_adapter_average *o, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_struct(o, TN_ADAPTER_AVERAGE_VERSION, "tn_adapter_average", err));
    TN_TRY(check_options(o, err));
    average v = {.o = o, .svd = !strcmp(o->method, "svd"), .targets = json_array(), .ranks = json_object()};
    int rc = v.targets && v.ranks ? open_adapters(&v, err) : tn_oom(err);
    if (!rc) rc = average_modules(&v, err);
    if (!rc) rc = write_average(&v, err);
    tn_bundle_free(&v.out);
    json_decref(v.targets);
    json_decref(v.ranks);
    for (int i = 0; i < o->n; i++) tn_adapter_close(v.a[i]);
    return rc;
}
