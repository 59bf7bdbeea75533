/* What an adapter's start takes from the base weight: PiSSA and LoftQ change both, DoRA's magnitude is a norm of it. */
#include "store.h"
#include "svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int part_slot(const tn_model *m, const tn_slot *weight, const char *suffix)
{
    char name[200];
    snprintf(name, sizeof name, "%.*s.%s", (int)(strlen(weight->name) - strlen(".weight")), weight->name, suffix);
    return tn_model_slot(m, name);
}

typedef struct {
    int rows, cols, r, a_slot, b_slot;
    float scale, *A, *B, *left; /* left: what the factors are taken of */
} split;

/* left ~ scale B A, the scale divided evenly between both factors (PEFT's pissa_init). */
static int factor(split *x, int iterations, uint64_t seed, tn_error *err)
{
    TN_TRY(tn_low_rank(x->left, x->rows, x->cols, x->r, iterations, seed, x->B, x->A, err));
    const float k = 1 / sqrtf(x->scale);
    for (int i = 0; i < x->rows * x->r; i++) x->B[i] *= k;
    for (int i = 0; i < x->cols * x->r; i++) x->A[i] *= k;
    return 0;
}

/* W becomes W - s B A, which is what is then stored. */
static int pissa(const tn_store *st, split *x, float *w, uint64_t seed, tn_error *err)
{
    memcpy(x->left, w, sizeof *w * (size_t)x->rows * (size_t)x->cols);
    TN_TRY(factor(x, st->m->lora.iterations, seed, err));
    tn_matmul_add(w, -x->scale, x->B, x->A, x->rows, x->r, x->cols);
    return 0;
}

/* Alternating: Q = quantised(W - s B A), s B A ~ W - Q (Li et al. 2024). W becomes what is quantised last. */
static int loftq(const tn_store *st, const tn_stored *e, split *x, float *w, uint64_t seed, tn_error *err)
{
    const size_t n = (size_t)x->rows * (size_t)x->cols;
    float *target = malloc(n * sizeof *target);
    if (!target) return tn_oom(err);
    memcpy(target, w, n * sizeof *w);
    int rc = 0;
    for (int i = 0; !rc && i < st->m->lora.iterations; i++) {
        tn_qmatrix q;
        if (i) {
            memcpy(w, target, n * sizeof *w);
            tn_matmul_add(w, -x->scale, x->B, x->A, x->rows, x->r, x->cols);
        }
        rc = tn_quantize(&q, w, &e->q.s, "LoftQ", err);
        if (rc) break;
        tn_dequantize(&q, x->left);
        tn_qmatrix_free(&q);
        for (size_t k = 0; k < n; k++) x->left[k] = target[k] - x->left[k];
        rc = factor(x, 0, seed, err);
    }
    free(target);
    return rc;
}

int tn_adapt_base(tn_store *st, int slot, float *w, uint64_t seed, tn_error *err)
{
    const tn_slot *s = &st->m->slots[slot];
    const tn_lora *l = &st->m->lora;
    if (!l->enabled || !s->linear || (l->init != TN_LORA_PISSA && l->init != TN_LORA_LOFTQ)) return 0;
    split x = {.rows = s->rows, .cols = s->cols, .a_slot = part_slot(st->m, s, "lora_A.weight"),
               .b_slot = part_slot(st->m, s, "lora_B.weight")};
    if (x.a_slot < 0 || (l->init == TN_LORA_LOFTQ && st->s[slot].place != TN_PLACE_QUANT)) return 0;
    x.r = st->m->slots[x.a_slot].rows;
    x.scale = st->m->slots[x.a_slot].lora_scale;
    x.A = malloc(sizeof(float) * (size_t)x.r * (size_t)x.cols);
    x.B = malloc(sizeof(float) * (size_t)x.r * (size_t)x.rows);
    x.left = malloc(sizeof(float) * (size_t)x.rows * (size_t)x.cols);
    int rc = !x.A || !x.B || !x.left        ? tn_oom(err)
             : l->init == TN_LORA_PISSA ? pissa(st, &x, w, seed, err)
                                        : loftq(st, &st->s[slot], &x, w, seed, err);
    if (!rc) rc = tn_store_set(st, x.a_slot, x.A, err);
    if (!rc) rc = tn_store_set(st, x.b_slot, x.B, err);
    free(x.A);
    free(x.B);
    free(x.left);
    return rc;
}

/* Row norms of W + s B A, W as it is stored. */
static int set_magnitude(tn_store *st, int mag, tn_error *err)
{
    char name[200];
    const char *full = st->m->slots[mag].name;
    const int n = (int)(strlen(full) - strlen(".lora_magnitude_vector"));
    snprintf(name, sizeof name, "%.*s.weight", n, full);
    const int w_slot = tn_model_slot(st->m, name);
    const tn_slot *w = &st->m->slots[w_slot];
    const int a_slot = part_slot(st->m, w, "lora_A.weight"), b_slot = part_slot(st->m, w, "lora_B.weight");
    const int r = st->m->slots[a_slot].rows;
    const size_t R = (size_t)w->rows, C = (size_t)w->cols;
    float *v = malloc(sizeof *v * (R * C + (R + C) * (size_t)r + R)), *A = v + R * C, *B = A + C * (size_t)r, *norm = B + R * (size_t)r;
    if (!v) return tn_oom(err);
    int rc = tn_store_get(st, w_slot, v, err);
    if (!rc) rc = tn_store_get(st, a_slot, A, err);
    if (!rc) rc = tn_store_get(st, b_slot, B, err);
    if (!rc) {
        tn_matmul_add(v, st->m->slots[a_slot].lora_scale, B, A, w->rows, r, w->cols);
        for (size_t i = 0; i < R; i++) {
            double s = 0;
            for (size_t c = 0; c < C; c++) s += (double)v[i * C + c] * v[i * C + c];
            norm[i] = (float)sqrt(s);
        }
        rc = tn_store_set(st, mag, norm, err);
    }
    free(v);
    return rc;
}

int tn_adapt_magnitudes(tn_store *st, tn_error *err)
{
    for (int i = 0; i < st->m->n_slots; i++)
        if (tn_ends(st->m->slots[i].name, ".lora_magnitude_vector")) TN_TRY(set_magnitude(st, i, err));
    return 0;
}
