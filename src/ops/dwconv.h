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

/** What cl/gpu/dwconv.h is told of the device. */
static inline const char *tn_dwconv_device(const tn_ctx *c)
{
    return c->dev->caps & TN_CAP_NV_MMA80 ? " -DPACKS=1" : "";
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
/** Items of a group, and its lanes along the channels, of `lanes` in all: 32 or the fewer that leave fewer idle. */
int tn_dwconv_group(const tn_ctx *c);
int tn_dwconv_tile(const tn_ctx *c, int lanes);
/** a's dw and, where there are more lines than taps and db has rows, db += the sums of partial [parts * lines, C]. */
int tn_dwconv_sum(tn_ctx *c, const tn_tensor *partial, int parts, int lines, const tn_dwconv_grad_args *a, tn_error *err);

/* dwdouble_gpu.c: of maps that are enlarged on the way */
bool tn_dwdouble_gpu_can(const tn_ctx *c, const void *args);
bool tn_dwdouble_grad_gpu_can(const tn_ctx *c, const void *args);
int tn_dwdouble_gpu(tn_ctx *c, const void *args, tn_error *err);
int tn_dwdouble_grad_gpu(tn_ctx *c, const void *args, tn_error *err);
extern const tn_tunable tn_dwdouble_gpu_tunables[];

/* dwconv.c: what the registry asks of both operations' arguments, be the map doubled or not. */
void tn_dwconv_kind(char *out, size_t n, const void *args);
void tn_dwconv_grad_kind(char *out, size_t n, const void *args);
void tn_dwconv_key(char *out, size_t n, const void *args);
void tn_dwconv_grad_key(char *out, size_t n, const void *args);
double tn_dwconv_work(const void *args);
double tn_dwconv_grad_work(const void *args);
void tn_dwconv_shrink(void *args, double most);
void tn_dwconv_grad_shrink(void *args, double most);
int tn_dwconv_make(void *copy, tn_ctx *c, const void *args, tn_error *err);
int tn_dwconv_grad_make(void *copy, tn_ctx *c, const void *args, tn_error *err);
void tn_dwconv_release(void *copy, tn_ctx *c);
void tn_dwconv_grad_release(void *copy, tn_ctx *c);
#endif
