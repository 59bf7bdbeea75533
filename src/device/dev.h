/** One open OpenCL device: its context, queue, buffers and built kernels. Only device/, tensor/ and ops/ see cl.h. */
#ifndef TN_DEV_H
#define TN_DEV_H
#define CL_TARGET_OPENCL_VERSION 120
#include "fail.h"
#include "log.h"
#include <CL/cl.h>
#include <stdint.h>
#include <tracknet/device.h>

enum { TN_QUIRK_OWN_CACHE = 1, TN_QUIRK_NO_FILL = 2 };

/** What a kernel variant may need of a device (variant.h). */
enum {
    TN_CAP_CPU = 1 << 0,  /* a CPU device: one work-item a tile is fastest */
    TN_CAP_AVX2 = 1 << 1, /* of the host's processor, when the device is it */
    TN_CAP_AVX512 = 1 << 2,
    TN_CAP_AMX_BF16 = 1 << 3,
    TN_CAP_NV_PTX = 1 << 4,   /* takes inline PTX */
    TN_CAP_NV_MMA80 = 1 << 5, /* mma.sync of bf16: compute capability 8.0 on */
    TN_CAP_NV_WGMMA = 1 << 6, /* 9.0 */
    TN_CAP_DPAS8 = 1 << 7,    /* Intel's dpas with sub-groups of 8 (Xe-HPG) */
    TN_CAP_DPAS16 = 1 << 8,   /* of 16 (Xe-HPC, Xe2) */
    TN_CAP_WMMA11 = 1 << 9,   /* AMD gfx11 */
    TN_CAP_WMMA12 = 1 << 10,  /* AMD gfx12 */
    TN_CAP_MFMA90A = 1 << 11, /* AMD gfx90a */
    TN_CAP_MFMA942 = 1 << 12, /* AMD gfx942 */
};

typedef struct tn_kernel {
    char *key; /* file|entry|options */
    char *entry;
    cl_kernel k;
    size_t max_wg;
} tn_kernel;

typedef struct tn_program {
    char *key;
    cl_program p;
} tn_program;

typedef struct tn_dev {
    tn_device_info info;
    cl_platform_id platform;
    cl_device_id id;
    cl_context ctx;
    cl_command_queue queue;
    const tn_log *log;
    unsigned quirk_flags;
    unsigned caps;                        /* TN_CAP_* */
    size_t align;                         /* of sub-buffers, bytes */
    size_t allocated, peak, memory_limit; /* bytes; limit 0: none */
    int row_wg;                           /* work-items that share one row in reductions; 1 on a CPU */
    const char *variants;                 /* kernel variants asked for: "gemm=portable,attention=cpu"; NULL: measured choice */
    char *variants_read;                  /* the same from the environment, owned */
    void *tuning;                         /* owned by ops/tuning.c */
    void (*tuning_free)(void *);
    void (*on_close)(void); /* libraries that keep our context let go of it here */
    tn_program *programs;
    int n_programs;
    tn_kernel **kernels;
    int n_kernels;
    bool untouched; /* leave new buffers unwritten: oclgrind 21.10 takes a host write for the last word on a buffer */
    long long launches;
} tn_dev;

/** Opens device `index` of tn_device_list. memory_limit 0: what the device has. `log` may be NULL and must outlive it. */
int tn_dev_open(tn_dev **out, int index, size_t memory_limit, const tn_log *log, tn_error *err);
void tn_dev_close(tn_dev *d);
/** Waits for everything enqueued. */
int tn_dev_finish(tn_dev *d, tn_error *err);

/** Device buffer, made resident now so that a refusal comes here: TN_ERR_MEMORY. */
int tn_buffer_new(cl_mem *out, tn_dev *d, size_t bytes, const char *what, tn_error *err);
void tn_buffer_free(tn_dev *d, cl_mem m, size_t bytes);
int tn_buffer_write(tn_dev *d, cl_mem m, size_t offset, const void *src, size_t bytes, tn_error *err);
int tn_buffer_read(tn_dev *d, cl_mem m, size_t offset, void *dst, size_t bytes, tn_error *err);
int tn_buffer_fill(tn_dev *d, cl_mem m, size_t offset, size_t bytes, uint32_t pattern, tn_error *err);
int tn_buffer_copy(tn_dev *d, cl_mem src, size_t src_off, cl_mem dst, size_t dst_off, size_t bytes, tn_error *err);
/** Region of a buffer; offset must be a multiple of d->align. Release with clReleaseMemObject. */
int tn_buffer_sub(cl_mem *out, tn_dev *d, cl_mem parent, size_t offset, size_t bytes, tn_error *err);

/** Kernel `entry` of cl/<file>, built with `options` (built once, then found again). Borrowed. */
int tn_kernel_get(tn_kernel **out, tn_dev *d, const char *file, const char *entry, const char *options, tn_error *err);

typedef struct tn_arg {
    size_t size;
    union {
        cl_mem mem;
        cl_int i;
        cl_uint u;
        cl_float f;
    } v;
} tn_arg;
#define TN_BUF(x)  ((tn_arg){sizeof(cl_mem), {.mem = (x)}})
#define TN_INT(x)  ((tn_arg){sizeof(cl_int), {.i = (cl_int)(x)}})
#define TN_UINT(x) ((tn_arg){sizeof(cl_uint), {.u = (cl_uint)(x)}})
#define TN_FLT(x)  ((tn_arg){sizeof(cl_float), {.f = (cl_float)(x)}})

/** Sets the arguments and enqueues. `global` is rounded up to `local` (kernels guard their bounds). local may be NULL. */
int tn_launch(tn_dev *d, tn_kernel *k, const tn_arg *args, int n_args, int dims, const size_t *global, const size_t *local,
              tn_error *err);

const char *tn_cl_error(int code);

/** Embedded sources (generated): "portable/gemm.cl" and so on, includes already resolved. */
typedef struct tn_cl_source {
    const char *file, *text;
} tn_cl_source;
extern const tn_cl_source tn_cl_sources[];
#endif
