/* CLBlast multiplies float32 matrices; everything else is the tail's. */
#include "clblast.h"
#include "dev_cl.h"
#include "gemm.h"

#include <clblast_c.h>
#include <pthread.h>

bool tn_gemm_clblast_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    return g->A.dtype == TN_F32 && g->B.dtype == TN_F32 && g->K > 0;
}

/* CLBlast's caches are process-wide and keep our context alive past main(), where drivers are gone (CLBlast#44). They are
 * emptied when the last device that used them closes: emptied earlier, other threads' products would build again. */
static pthread_mutex_t users_lock = PTHREAD_MUTEX_INITIALIZER;
static int users;

static void forget(void)
{
    pthread_mutex_lock(&users_lock);
    if (!--users) (void)CLBlastClearCache();
    pthread_mutex_unlock(&users_lock);
}

/* Before the device's first product. */
static void remember(tn_dev *d)
{
    if (d->on_close) return;
    if (!d->library_set) tn_clblast_apply_known(d);
    d->library_set = true;
    pthread_mutex_lock(&users_lock);
    users++;
    pthread_mutex_unlock(&users_lock);
    d->on_close = forget;
}

/* What a call needs, copied when it is recorded. */
typedef struct {
    tn_gemm_args g;
} clblast_call;

static int clblast_run(tn_dev *d, const void *args, tn_error *err)
{
    const tn_gemm_args *g = &((const clblast_call *)args)->g;
    CLBlastStatusCode s = CLBlastSgemm(CLBlastLayoutRowMajor, g->ta ? CLBlastTransposeYes : CLBlastTransposeNo,
                                       g->tb ? CLBlastTransposeYes : CLBlastTransposeNo, (size_t)g->M, (size_t)g->N, (size_t)g->K,
                                       g->alpha, g->A.mem->mem, g->A.off, (size_t)g->A.ld, g->B.mem->mem, g->B.off, (size_t)g->B.ld,
                                       g->beta, g->C.mem->mem, g->C.off, (size_t)g->C.ld, &d->cl->queue[TN_QUEUE_MAIN], NULL);
    if (s == CLBlastSuccess) return 0;
    return tn_fail(err, TN_ERR_DEVICE, "device '%s': CLBlast's product %d x %d x %d failed (%d); --gemm portable avoids it",
                   d->info.name, g->M, g->N, g->K, (int)s);
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
    if (g->e.turn.heads) return tn_gemm_turned(c, g, tn_gemm_clblast, err);
    if (!tn_gemm_is_plain(g) || g->C.dtype != TN_F32) return tn_gemm_tail(c, g, tn_gemm_clblast, err);
    if (c->dry) return g->C.ld == g->N ? 0 : clblast_count(c, g, err);
    remember(c->dev);
    const clblast_call call = {*g};
    return c->tape ? tn_tape_call(c->tape, "CLBlastSgemm", clblast_run, &call, sizeof call, err) : clblast_run(c->dev, &call, err);
}
