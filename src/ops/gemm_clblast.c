/* CLBlast multiplies float32 matrices; everything else is the tail's. */
#include "gemm.h"

#include <clblast_c.h>

bool tn_gemm_clblast_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    return g->A.dtype == TN_F32 && g->B.dtype == TN_F32 && g->K > 0;
}

/* CLBlast's caches are process-wide and keep our context alive past main(), where drivers are gone (CLBlast#44). */
static void forget(void)
{
    (void)CLBlastClearCache();
}

/* A plan without buffers does not show whether there is a bias: what its tail would take is counted always. */
static int clblast_count(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    const size_t mark = c->ws_used;
    tn_tensor P;
    TN_TRY(tn_ws_take(c, &P, TN_F32, g->M, g->N, err));
    c->ws_used = mark;
    return 0;
}

int tn_gemm_clblast(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    if (!tn_gemm_is_plain(g) || g->C.dtype != TN_F32) return tn_gemm_tail(c, g, tn_gemm_clblast, err);
    if (c->dry) return g->C.ld == g->N ? 0 : clblast_count(c, g, err);
    c->dev->on_close = forget;
    CLBlastStatusCode s = CLBlastSgemm(CLBlastLayoutRowMajor, g->ta ? CLBlastTransposeYes : CLBlastTransposeNo,
                                       g->tb ? CLBlastTransposeYes : CLBlastTransposeNo, (size_t)g->M, (size_t)g->N, (size_t)g->K,
                                       g->alpha, g->A.mem, g->A.off, (size_t)g->A.ld, g->B.mem, g->B.off, (size_t)g->B.ld, g->beta,
                                       g->C.mem, g->C.off, (size_t)g->C.ld, &c->dev->queue, NULL);
    if (s != CLBlastSuccess)
        return tn_fail(err, TN_ERR_DEVICE,
                       "device '%s': CLBlast's product %d x %d x %d failed (%d); TRACKNET_GEMM=portable "
                       "avoids it",
                       c->dev->info.name, g->M, g->N, g->K, (int)s);
    return 0;
}
