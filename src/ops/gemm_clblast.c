/* CLBlast multiplies float32 matrices; the bias is a launch of its own. */
#include "gemm.h"

#include <clblast_c.h>

bool tn_gemm_clblast_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    return g->A.dtype == TN_F32 && g->B.dtype == TN_F32 && g->C.dtype == TN_F32 && g->K > 0;
}

/* CLBlast's caches are process-wide and keep our context alive past main(), where drivers are gone (CLBlast#44). */
static void forget(void)
{
    (void)CLBlastClearCache();
}

int tn_gemm_clblast(tn_ctx *c, const void *args_, tn_error *err)
{
    const tn_gemm_args *g = args_;
    if (c->dry) return 0;
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
    if (!g->bias) return 0;
    tn_arg args[] = {TN_BUF(g->C.mem), TN_UINT(g->C.off), TN_INT(g->C.ld), TN_BUF(g->bias), TN_INT(g->M), TN_INT(g->N)};
    size_t global[] = {(size_t)g->N, (size_t)g->M};
    return tn_op_run(c, "portable/elementwise.cl", "add_bias", "-DVW=1", args, TN_COUNT(args), 2, global, NULL, err);
}
