/* Which variants a device uses: every candidate runs on random data, is checked against src/ref and timed; the
 * winner of each shape class is kept in memory and in the cache folder, with the figures that decided. */
#include "clock.h"
#include "files.h"
#include "gemm.h"
#include "jsonio.h"
#include "ops.h"
#include "ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TUNING_FORMAT 7

static const struct {
    bool ta, tb;
    int M, N, K;
} probes[TN_SHAPES] = {
    [TN_SHAPE_DENSE] = {false, true, 581, 384, 384},
    [TN_SHAPE_SKINNY] = {false, true, 1162, 16, 384},
    [TN_SHAPE_TALL_K] = {true, false, 64, 64, 16384},
};

typedef struct {
    tn_ctx ctx;
    tn_gemm_args g;
    float *a, *b, *got, *want;
} probe;

static void probe_free(probe *p)
{
    tn_dev *d = p->ctx.dev;
    tn_tensor_free(d, &p->g.A);
    tn_tensor_free(d, &p->g.B);
    tn_tensor_free(d, &p->g.C);
    tn_ctx_free(&p->ctx);
    free(p->a);
    free(p->b);
    free(p->got);
    free(p->want);
}

/* Only some rows are computed by the reference: the check must not cost more than the measurement. */
enum { CHECK_ROWS = 7 };

static int probe_new(probe *p, tn_dev *d, int s, tn_error *err)
{
    memset(p, 0, sizeof *p);
    tn_ctx_init(&p->ctx, d, TN_F32);
    tn_gemm_args *g = &p->g;
    *g = (tn_gemm_args){.ta = probes[s].ta, .tb = probes[s].tb, .alpha = 1, .M = probes[s].M, .N = probes[s].N, .K = probes[s].K};
    size_t na = (size_t)g->M * (size_t)g->K, nb = (size_t)g->N * (size_t)g->K, nc = (size_t)g->M * (size_t)g->N;
    p->a = malloc(na * 4);
    p->b = malloc(nb * 4);
    p->got = malloc(nc * 4);
    p->want = malloc(nc * 4);
    if (!p->a || !p->b || !p->got || !p->want) return tn_oom(err);
    tn_rng r = tn_rng_named(1, "tuning");
    for (size_t i = 0; i < na; i++) p->a[i] = (float)tn_rng_normal(&r);
    for (size_t i = 0; i < nb; i++) p->b[i] = (float)tn_rng_normal(&r);
    TN_TRY(tn_tensor_new(&g->A, d, TN_F32, g->ta ? g->K : g->M, g->ta ? g->M : g->K, "tuning", err));
    TN_TRY(tn_tensor_new(&g->B, d, TN_F32, g->tb ? g->N : g->K, g->tb ? g->K : g->N, "tuning", err));
    TN_TRY(tn_tensor_new(&g->C, d, TN_F32, g->M, g->N, "tuning", err));
    TN_TRY(tn_tensor_set(d, &g->A, p->a, err));
    TN_TRY(tn_tensor_set(d, &g->B, p->b, err));
    const float *a = g->ta ? p->a + (g->M - CHECK_ROWS) : p->a + (size_t)(g->M - CHECK_ROWS) * (size_t)g->K;
    tn_ref_gemm(g->ta, g->tb, CHECK_ROWS, g->N, g->K, 1, a, g->A.ld, p->b, g->B.ld, 0, p->want, g->N, NULL);
    return 0;
}

/* Relative error of the checked rows; the output is poisoned first. */
static int check(probe *p, const tn_variant *v, double *error, tn_error *err)
{
    tn_dev *d = p->ctx.dev;
    const tn_gemm_args *g = &p->g;
    const size_t tail = (size_t)CHECK_ROWS * (size_t)g->N;
    p->ctx.dry = true;
    TN_TRY(v->run(&p->ctx, g, err));
    p->ctx.dry = false;
    TN_TRY(tn_ctx_reserve(&p->ctx, p->ctx.ws_peak, err));
    TN_TRY(tn_tensor_poison(d, &g->C, err));
    TN_TRY(v->run(&p->ctx, g, err));
    TN_TRY(tn_tensor_get(d, &g->C, p->got, err));
    *error = tn_relative_error(p->got + tn_tensor_count(&g->C) - tail, p->want, tail, 0);
    return 0;
}

static int measure(probe *p, const tn_variant *v, double *seconds, tn_error *err)
{
    double best = 1e30, begin = tn_now();
    for (int i = 0; i < 20 && (i < 3 || tn_now() - begin < 0.05); i++) {
        double t = tn_now();
        TN_TRY(v->run(&p->ctx, &p->g, err));
        TN_TRY(tn_dev_finish(p->ctx.dev, err));
        best = TN_MIN(best, tn_now() - t);
    }
    *seconds = best;
    return 0;
}

static int tune_shape(tn_gemm_tuning *t, tn_dev *d, int s, tn_error *err)
{
    probe p;
    int rc = probe_new(&p, d, s, err);
    t->best[s] = TN_GEMM_PORTABLE;
    for (int v = 0; !rc && v < TN_GEMM_VARIANTS; v++) {
        const tn_variant *row = &tn_gemm_op.rows[v];
        t->seconds[s][v] = 0;
        if (!tn_variant_can(&p.ctx, row, &p.g)) continue;
        if (row->slow_to_build && d->info.type == TN_DEVICE_CPU && !t->with_slow) continue;
        tn_error why = {0};
        double e = NAN, sec = 0;
        if (check(&p, row, &e, &why) || !(e < 1e-5) || measure(&p, row, &sec, &why)) {
            tn_logf(d->log, TN_LOG_WARN, "device '%s': gemm variant %s is not used (error %.3g; %s)", d->info.name, row->name, e,
                    why.message);
            continue;
        }
        t->seconds[s][v] = sec;
        t->error[s][v] = e;
        if (t->seconds[s][t->best[s]] == 0 || sec < t->seconds[s][t->best[s]]) t->best[s] = v;
    }
    probe_free(&p);
    return rc;
}

/* The CPU attention against the reference, on a size that fills no tile. */
static bool attention_agrees(tn_gemm_tuning *t, tn_dev *d)
{
    enum { B = 1, N = 37, H = 2, W = 32, D = H * W };
    if (d->info.type != TN_DEVICE_CPU) return false;
    float qkv[N * 3 * D], want[N * D], got[N * D];
    tn_rng r = tn_rng_named(2, "tuning");
    for (int i = 0; i < N * 3 * D; i++) qkv[i] = (float)tn_rng_normal(&r);
    tn_ref_attention(qkv, B, N, H, W, want, NULL);
    tn_ctx c;
    tn_error err = {0};
    tn_ctx_init(&c, d, TN_F32);
    tn_tensor x = {0}, o = {0}, l = {0};
    t->attention_cpu_ok = true; /* so that the CPU's row is what runs */
    bool ok = !tn_tensor_new(&x, d, TN_F32, N, 3 * D, "tuning", &err) && !tn_tensor_new(&o, d, TN_F32, N, D, "tuning", &err) &&
              !tn_tensor_new(&l, d, TN_F32, H, N, "tuning", &err) && !tn_tensor_set(d, &x, qkv, &err) &&
              !tn_tensor_poison(d, &o, &err) && !tn_attention_forward(&c, &x, B, H, &o, &l, &err) &&
              !tn_tensor_get(d, &o, got, &err);
    double worst = 0;
    for (int i = 0; ok && i < N * D; i++) {
        double e = fabs((double)got[i] - want[i]);
        worst = e > worst || isnan(e) ? e : worst;
    }
    tn_tensor_free(d, &x);
    tn_tensor_free(d, &o);
    tn_tensor_free(d, &l);
    return ok && worst < 1e-5;
}

static char *cache_file(const tn_dev *d)
{
    unsigned long long h = TN_HASH0;
    const char *parts[] = {d->info.platform, d->info.name, d->info.driver, d->info.version};
    for (size_t i = 0; i < TN_COUNT(parts); i++) h = tn_hash(h, parts[i], strlen(parts[i]) + 1);
    for (const tn_cl_source *s = tn_cl_sources; s->file; s++) h = tn_hash(h, s->text, strlen(s->text));
    char *dir = tn_cache_dir(), *p = dir ? tn_strf("%s/tuning-%016llx.json", dir, h) : NULL;
    free(dir);
    return p;
}

static bool load(tn_gemm_tuning *t, const tn_dev *d)
{
    const char *off = getenv("TRACKNET_CACHE");
    char *path = off && !strcmp(off, "off") ? NULL : cache_file(d);
    tn_error ignored;
    json_t *j = NULL;
    bool ok = path && tn_is_file(path) && !tn_json_read(&j, path, &ignored) && tn_json_int(j, "format", 0) == TUNING_FORMAT;
    for (int s = 0; ok && s < TN_SHAPES; s++) {
        json_t *row = json_array_get(json_object_get(j, "gemm"), (size_t)s), *sec = json_object_get(row, "seconds");
        long long best = tn_json_int(row, "best", -1);
        ok = best >= 0 && best < TN_GEMM_VARIANTS;
        t->best[s] = (int)best;
        for (size_t v = 0; v < TN_GEMM_VARIANTS; v++) t->seconds[s][v] = json_number_value(json_array_get(sec, v));
    }
    if (ok) {
        t->attention_cpu_ok = tn_json_bool(j, "attention_cpu", 0);
        t->with_slow = tn_json_bool(j, "with_slow", 0);
        t->unpack = (int)tn_json_int(j, "unpack", 0);
        t->qgemv = (int)tn_json_int(j, "qgemv", 0);
        t->qgemv_rows = (int)tn_json_int(j, "qgemv_rows", 0);
        ok = t->unpack >= 0 && t->unpack < TN_QV_COUNT && t->qgemv >= 0 && t->qgemv < TN_QV_COUNT;
        t->with_quant = ok && tn_json_bool(j, "with_quant", 0);
    }
    json_decref(j);
    free(path);
    return ok;
}

static void save(const tn_gemm_tuning *t, const tn_dev *d)
{
    const char *off = getenv("TRACKNET_CACHE");
    char *dir = tn_cache_dir(), *path = off && !strcmp(off, "off") ? NULL : cache_file(d);
    tn_error ignored;
    json_t *rows = json_array();
    for (int s = 0; s < TN_SHAPES; s++) {
        json_t *sec = json_array();
        for (int v = 0; v < TN_GEMM_VARIANTS; v++) json_array_append_new(sec, json_real(t->seconds[s][v]));
        json_array_append_new(rows,
                              json_pack("{s:i, s:s, s:[i,i,i], s:o}", "best", t->best[s], "name", tn_gemm_op.rows[t->best[s]].name,
                                        "shape", probes[s].M, probes[s].N, probes[s].K, "seconds", sec));
    }
    json_t *j = json_pack("{s:i, s:s, s:s, s:o, s:b, s:b, s:b, s:i, s:i, s:i}", "format", TUNING_FORMAT, "device", d->info.name,
                          "driver", d->info.driver, "gemm", rows, "attention_cpu", t->attention_cpu_ok, "with_slow", t->with_slow,
                          "with_quant", t->with_quant, "unpack", t->unpack, "qgemv", t->qgemv, "qgemv_rows", t->qgemv_rows);
    if (j && path && dir && !tn_mkdirs(dir, &ignored)) (void)tn_json_write(j, path, &ignored);
    json_decref(j);
    free(dir);
    free(path);
}

int tn_tuning_get(tn_gemm_tuning **out, tn_dev *d, bool with_slow, tn_error *err)
{
    tn_gemm_tuning *t = d->tuning;
    *out = t;
    if (t && (t->with_slow || !with_slow)) return 0;
    if (!t) {
        t = *out = d->tuning = calloc(1, sizeof *t);
        d->tuning_free = free;
        if (!t) return tn_oom(err);
        if (load(t, d) && (t->with_slow || !with_slow)) return 0;
    }
    t->with_slow = with_slow;
    for (int s = 0; s < TN_SHAPES; s++) TN_TRY(tune_shape(t, d, s, err));
    t->attention_cpu_ok = attention_agrees(t, d);
    save(t, d);
    return 0;
}

int tn_tuning_get_quant(tn_gemm_tuning **out, tn_dev *d, tn_error *err)
{
    TN_TRY(tn_tuning_get(out, d, false, err));
    tn_gemm_tuning *t = *out;
    if (t->with_quant) return 0;
    t->with_quant = true; /* from here on: the measuring itself reads quantised matrices */
    const int rc = tn_tune_quant(t, d, err);
    t->with_quant = !rc;
    if (!rc) save(t, d);
    return rc;
}
