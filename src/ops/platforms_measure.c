/* What is measured of a device that two platforms offer. */
#include "clock.h"
#include "gemm.h"
#include "platforms.h"
#include "tuning.h"

#include <math.h>
#include <stdio.h>

/* A layer's product in bfloat16, as QLoRA stores activations. */
enum { ROWS = 512, WIDTH = 384, COPY_BYTES = 32 << 20, MOST_TRIES = 5, MOST_LAUNCHES = 16 };
#define SHORT 0.005 /* seconds: below that, launches are measured together */

typedef struct {
    tn_ctx c;
    tn_gemm_args product;
    tn_buffer *from, *to;
} trial;

static int run_product(trial *t, tn_error *err)
{
    tn_ws_reset(&t->c);
    return tn_gemm_run(&t->c, &t->product, err);
}

static int run_copy(trial *t, tn_error *err)
{
    return tn_op_copy(&t->c, t->from, t->to, 0, COPY_BYTES, err);
}

/* Seconds of one launch: the best of a few times. The first time builds. */
static int least_seconds(double *out, trial *t, int (*run)(trial *, tn_error *), tn_error *err)
{
    int launches = 1;
    *out = INFINITY;
    for (int i = 0; i <= MOST_TRIES; i++) {
        const double begin = tn_now();
        for (int k = 0; k < launches; k++) TN_TRY(run(t, err));
        TN_TRY(tn_dev_finish(t->c.dev, err));
        const double each = (tn_now() - begin) / launches;
        if (!i) continue;
        *out = TN_MIN(*out, each);
        if (each < SHORT) launches = MOST_LAUNCHES;
    }
    return 0;
}

static int prepare(trial *t, tn_dev *d, tn_error *err)
{
    tn_gemm_args like = {.tb = true, .alpha = 1};
    tn_gemm_args full;
    like.A = tn_view(NULL, TN_BF16, ROWS, WIDTH);
    like.B = tn_view(NULL, TN_BF16, WIDTH, WIDTH);
    like.C = tn_view(NULL, TN_BF16, ROWS, WIDTH);
    TN_TRY(tn_gemm_check(&full, &like, err));
    TN_TRY(tn_gemm_make(&t->product, &t->c, &full, err));
    TN_TRY(tn_buffer_new(&t->from, d, COPY_BYTES, "a copy that is measured", err));
    TN_TRY(tn_buffer_new(&t->to, d, COPY_BYTES, "a copy that is measured", err));
    t->c.dry = true;
    TN_TRY(run_product(t, err));
    t->c.dry = false;
    return tn_ctx_reserve(&t->c, t->c.ws_peak, err);
}

int tn_rate_measure(tn_rate_answer *out, tn_dev *d, tn_error *err)
{
    trial t = {.from = NULL};
    double product = 0, copy = 0;
    tn_ctx_init(&t.c, d);
    int rc = prepare(&t, d, err);
    if (!rc) rc = least_seconds(&product, &t, run_product, err);
    if (!rc) rc = least_seconds(&copy, &t, run_copy, err);
    if (!rc) *out = (tn_rate_answer){.product = 2.0 * ROWS * WIDTH * WIDTH / product, .copy = COPY_BYTES / copy};
    tn_gemm_release(&t.product, &t.c);
    tn_buffer_free(t.from);
    tn_buffer_free(t.to);
    tn_ctx_free(&t.c);
    return rc;
}

void tn_rate_stamp(char *out, size_t n)
{
    snprintf(out, n, "tracknet-rate-1 %zu %016llx", sizeof(tn_rate_request), tn_cl_sources_hash());
}
