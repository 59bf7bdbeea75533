/* What the device can do at best: bytes moved by a copy, flops of a large square product, by its own clock. */
#include "prof.h"
#include "gemm.h"
#include "traffic.h"
#include "tuning.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 11, SMALLEST = 1024, LARGEST = 4096 };
#define LONG_ENOUGH 0.02 /* seconds: a product that takes so long fills the device */

/* The fastest of the rounds, for each entry. *best is the caller's to free(). */
static int fastest(tn_tape *t, double **best, tn_error *err)
{
    const int n = tn_tape_count(t);
    double *now = calloc((size_t)n + 1, sizeof *now), *v = *best = calloc((size_t)n + 1, sizeof *v);
    int rc = now && v ? 0 : tn_oom(err);
    for (int round = 0; !rc && round < ROUNDS; round++) {
        rc = tn_tape_profile(t, now, err);
        for (int i = 0; !rc && i < n; i++) v[i] = round ? TN_MIN(v[i], now[i]) : now[i];
    }
    free(now);
    return rc;
}

static int record_copies(tn_tape *t, tn_dev *d, tn_tensor *from, tn_tensor *to, tn_error *err)
{
    tn_ctx c;
    tn_ctx_init(&c, d);
    c.tape = t;
    int rc = tn_buffer_fill(from->mem, 0, tn_tensor_bytes(from), 0x3f812345u, err);
    if (!rc) rc = tn_copy_by_kernel(&c, from->mem, to->mem, tn_tensor_bytes(from), err);
    tn_ctx_free(&c);
    return rc ? rc : tn_tape_copy(t, from->mem, 0, to->mem, 0, tn_tensor_bytes(from), err);
}

/* PoCL gives clEnqueueCopyBuffer one core, so a kernel is tried beside it. */
static int bandwidth(tn_profile_report *r, tn_dev *d, tn_error *err)
{
    const int floats = d->info.type == TN_DEVICE_CPU ? 1 << 24 : 1 << 26; /* beyond the caches */
    tn_tensor from = {0}, to = {0};
    tn_tape *t = NULL;
    double *best = NULL;
    int rc = tn_tensor_new(&from, d, TN_F32, 1, floats, "a measurement", err);
    if (!rc) rc = tn_tensor_new(&to, d, TN_F32, 1, floats, "a measurement", err);
    if (!rc) rc = tn_tape_new(&t, d, err);
    if (!rc) rc = record_copies(t, d, &from, &to, err);
    if (!rc) rc = fastest(t, &best, err);
    if (!rc) {
        const bool by_kernel = best[0] < best[1];
        r->bandwidth = 2.0 * (double)tn_tensor_bytes(&from) / best[by_kernel ? 0 : 1];
        r->copied_by = by_kernel ? "a kernel" : "clEnqueueCopyBuffer";
    }
    free(best);
    tn_tape_free(t);
    tn_tensor_free(d, &to);
    tn_tensor_free(d, &from);
    return rc;
}

static int random_matrix(tn_tensor *m, tn_dev *d, tn_dtype dt, int n, tn_error *err)
{
    const size_t count = (size_t)n * (size_t)n;
    float *v = malloc(count * sizeof *v);
    if (!v) return tn_oom(err);
    tn_rng r = tn_rng_named(1, "roofline");
    for (size_t i = 0; i < count; i++) v[i] = (float)(2 * tn_rng_uniform(&r) - 1);
    int rc = tn_tensor_new(m, d, dt, n, n, "a measurement", err);
    if (!rc) rc = tn_tensor_set(d, m, v, err);
    free(v);
    return rc;
}

static int record_product(tn_tape *t, tn_ctx *c, const tn_tensor m[3], tn_error *err)
{
    const tn_gemm_args g = {.tb = true, .alpha = 1, .A = m[0], .B = m[1], .C = m[2]};
    tn_wanted wanted = {0};
    c->dry = true;
    c->wanted = &wanted;
    int rc = tn_gemm_run(c, &g, err);
    if (!rc) rc = tn_tune(&wanted, c->dev, err);
    tn_wanted_free(&wanted);
    c->wanted = NULL;
    if (!rc) rc = tn_gemm_run(c, &g, err);
    c->dry = false;
    TN_TRY(rc);
    TN_TRY(tn_ctx_reserve(c, c->ws_peak, err));
    c->tape = t;
    tn_ws_reset(c);
    return tn_gemm_run(c, &g, err);
}

static int keep_product(tn_profile_report *r, const tn_tape *t, const double *best, int n, double *seconds, tn_error *err)
{
    int slowest = 0;
    *seconds = 0;
    for (int i = 0; i < tn_tape_count(t); i++) {
        *seconds += best[i];
        if (best[i] > best[slowest]) slowest = i;
    }
    const tn_note *note;
    const char *kernel = tn_tape_entry(t, slowest, &note);
    const double flops = 2.0 * n * n * n / *seconds;
    if (flops <= r->peak) return 0;
    r->peak = flops;
    r->peak_by = tn_prof_keep(r, note->variant ? note->variant : kernel);
    return r->peak_by ? 0 : tn_oom(err);
}

/* n x n times n x n, by the variant that the tuner found fastest. */
static int product(tn_profile_report *r, tn_dev *d, tn_dtype dt, int n, double *seconds, tn_error *err)
{
    tn_tensor m[3] = {{0}};
    tn_ctx c;
    tn_tape *t = NULL;
    double *best = NULL;
    tn_ctx_init(&c, d);
    int rc = tn_tape_new(&t, d, err);
    for (int i = 0; !rc && i < 3; i++) rc = random_matrix(&m[i], d, dt, n, err);
    if (!rc) rc = record_product(t, &c, m, err);
    if (!rc) rc = fastest(t, &best, err);
    if (!rc) rc = keep_product(r, t, best, n, seconds, err);
    free(best);
    tn_tape_free(t);
    tn_ctx_free(&c);
    for (int i = 2; i >= 0; i--) tn_tensor_free(d, &m[i]);
    return rc;
}

int tn_prof_roofline(tn_profile_report *r, const tn_run_options *o, tn_dtype storage, tn_error *err)
{
    const tn_dev_options x = {.log = o->log, .cache = o->cache}; /* the best row there is, whatever the run is told to take */
    tn_dev *d = NULL;
    int index;
    TN_TRY(tn_device_select(&index, o->device, err));
    TN_TRY(tn_dev_open(&d, index, &x, err));
    int rc = bandwidth(r, d, err);
    double seconds = 0;
    for (int n = SMALLEST; !rc && n <= LARGEST && seconds < LONG_ENOUGH; n *= 2) rc = product(r, d, storage, n, &seconds, err);
    tn_dev_close(d);
    return rc;
}
