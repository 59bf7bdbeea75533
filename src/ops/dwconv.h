/** Depthwise convolutions: the rows of their tables (dwconv.c) that run on one kind of device. */
#ifndef TN_DWCONV_H
#define TN_DWCONV_H
#include "args.h"
#include "variant.h"

/** Does an output depend on the K x K pixels around its own place, a stride of 1 apart? */
static inline bool tn_dwconv_dense(const tn_conv *s, int kernel)
{
    return s->stride == 1 && s->kernel == kernel && s->pad < kernel;
}

/* dwconv_cpu.c */
bool tn_dwconv_cpu_can(const tn_ctx *c, const void *args);
int tn_dwconv_cpu(tn_ctx *c, const void *args, tn_error *err);
bool tn_dwconv_grad_cpu_can(const tn_ctx *c, const void *args);
int tn_dwconv_grad_cpu(tn_ctx *c, const void *args, tn_error *err);

/* dwconv_gpu.c */
bool tn_dwconv_gpu_can(const tn_ctx *c, const void *args);
int tn_dwconv_gpu(tn_ctx *c, const void *args, tn_error *err);
bool tn_dwconv_near_can(const tn_ctx *c, const void *args);
int tn_dwconv_near(tn_ctx *c, const void *args, tn_error *err);
extern const tn_tunable tn_dwconv_gpu_tunables[], tn_dwconv_near_tunables[];
bool tn_dwconv_grad_gpu_can(const tn_ctx *c, const void *args);
int tn_dwconv_grad_gpu(tn_ctx *c, const void *args, tn_error *err);
#endif
