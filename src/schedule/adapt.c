#include "adapt.h"
#include "loftq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool tn_adapt_sets(const tn_store *st, int adapter_slot)
{
    char name[200];
    const char *full = st->m->slots[adapter_slot].name, *part = strstr(full, ".lora_");
    if (!part || st->m->lora.init < TN_LORA_PISSA) return false;
    snprintf(name, sizeof name, "%.*s.weight", (int)(part - full), full);
    return st->m->lora.init != TN_LORA_LOFTQ || st->s[tn_model_slot(st->m, name)].place == TN_PLACE_QUANT;
}

typedef struct {
    int rows, cols, r;
    float scale, *A, *B;
} adapt_split;

/* W becomes W - s B A, which is what is then stored. */
static int take_part(const adapt_split *x, const tn_lora *l, float *w, uint64_t seed, tn_error *err)
{
    const tn_low_rank_of whole = {w, x->rows, x->cols, x->r, l->iterations, seed};
    TN_TRY(l->init == TN_LORA_OLORA ? tn_leading_qr(&whole, x->B, x->A, err)
                                    : tn_low_rank_scaled(&whole, x->scale, x->B, x->A, err));
    tn_matmul_add(w, -x->scale, x->B, x->A, x->rows, x->r, x->cols);
    return 0;
}

int tn_adapt_base(tn_store *st, int slot, float *w, uint64_t seed, tn_error *err)
{
    const tn_slot *s = &st->m->slots[slot];
    const tn_lora *l = &st->m->lora;
    if (!l->enabled || !s->linear) return 0;
    const int a_slot = tn_model_beside(st->m, s, "lora_A.weight"), b_slot = tn_model_beside(st->m, s, "lora_B.weight");
    if (a_slot < 0 || !tn_adapt_sets(st, a_slot)) return 0;
    adapt_split x = {.rows = s->rows, .cols = s->cols, .r = st->m->slots[a_slot].rows, .scale = st->m->slots[a_slot].lora_scale};
    x.A = malloc(sizeof(float) * (size_t)x.r * (size_t)x.cols);
    x.B = malloc(sizeof(float) * (size_t)x.r * (size_t)x.rows);
    const tn_loftq_spec loftq = {.shape = st->s[slot].q.s, .r = x.r, .iterations = l->iterations, .scale = x.scale};
    int rc = !x.A || !x.B ? tn_oom(err) : 0;
    if (!rc) rc = l->init == TN_LORA_LOFTQ ? tn_loftq(w, &loftq, x.B, x.A, err) : take_part(&x, l, w, seed, err);
    if (!rc) rc = tn_store_set(st, a_slot, x.A, err);
    if (!rc) rc = tn_store_set(st, b_slot, x.B, err);
    free(x.A);
    free(x.B);
    return rc;
}

/* Row norms of W + s B A, W as it is stored. Beside a convolution of several groups B A is what PEFT takes it for: B's values in
 * their order as [rows / groups, r], and the product's as the kernel's. */
static int set_magnitude(tn_store *st, int mag, tn_error *err)
{
    char name[200];
    const char *full = st->m->slots[mag].name;
    const int n = (int)(strlen(full) - strlen(".lora_magnitude_vector"));
    snprintf(name, sizeof name, "%.*s.weight", n, full);
    const int w_slot = tn_model_slot(st->m, name);
    const tn_slot *w = &st->m->slots[w_slot];
    const int a_slot = tn_model_beside(st->m, w, "lora_A.weight"), b_slot = tn_model_beside(st->m, w, "lora_B.weight");
    const int r = st->m->slots[a_slot].rows;
    const int rows = w->rows / tn_slot_groups(w), cols = st->m->slots[a_slot].cols;
    const size_t R = (size_t)w->rows, C = (size_t)w->cols;
    float *v = malloc(sizeof *v * (R * C + (size_t)(rows + cols) * (size_t)r + R));
    if (!v) return tn_oom(err);
    float *A = v + R * C, *B = A + (size_t)cols * (size_t)r, *norm = B + (size_t)rows * (size_t)r;
    int rc = tn_store_get(st, w_slot, v, err);
    if (!rc) rc = tn_store_get(st, a_slot, A, err);
    if (!rc) rc = tn_store_get(st, b_slot, B, err);
    if (!rc) {
        tn_matmul_add(v, st->m->slots[a_slot].lora_scale, B, A, rows, r, cols);
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
