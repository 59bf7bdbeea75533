/** What the ways to run deformable attention share, on their own folder's behalf. */
#ifndef TN_DEFORM_H
#define TN_DEFORM_H
#include "ops.h"

/** A checked call and the sizes that follow from it. A pair is a query and one of its heads; each: samples of a pair. */
typedef struct tn_deform_call {
    const tn_deform *f;
    int cells, batch, width, hd, each, pairs; /* cells: of a sample; width: of all heads; hd: of one */
    tn_dtype act;
    tn_options sizes; /* what cl/shared/levels.h and deform.h ask for */
} tn_deform_call;

/** Images whose gradient of the value is made at once where one takes `bytes` of workspace. */
static inline int tn_deform_images(const tn_deform_call *k, size_t bytes)
{
    const size_t most = (size_t)160 << 20;
    return (int)TN_MAX((size_t)1, TN_MIN((size_t)k->batch, most / bytes));
}

/* ---- anywhere (deform_portable.c) ---- */
int tn_deform_portable_forward(tn_ctx *c, const tn_deform_call *k, tn_tensor *o, tn_error *err);
int tn_deform_portable_dsamples(tn_ctx *c, const tn_deform_call *k, const tn_tensor *d_o, tn_tensor *dsamples, tn_error *err);
int tn_deform_portable_dvalue(tn_ctx *c, const tn_deform_call *k, const tn_tensor *d_o, tn_tensor *dvalue, tn_error *err);

/* ---- on CPU devices (deform_cpu.c) ---- */
bool tn_deform_cpu_can(const tn_ctx *c, const tn_deform_call *k);
int tn_deform_cpu_forward(tn_ctx *c, const tn_deform_call *k, tn_tensor *o, tn_error *err);
int tn_deform_cpu_dsamples(tn_ctx *c, const tn_deform_call *k, const tn_tensor *d_o, tn_tensor *dsamples, tn_error *err);
int tn_deform_cpu_dvalue(tn_ctx *c, const tn_deform_call *k, const tn_tensor *d_o, tn_tensor *dvalue, tn_error *err);
#endif
