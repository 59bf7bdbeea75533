/**
 * One open OpenCL device: its queues, buffers, events and built kernels. Nothing here shows an OpenCL type: cl.h is seen by
 * device/ (dev_cl.h) and by the two files that call CLBlast.
 *
 * A device is used by one host thread at a time; two devices, or the same one opened twice, are independent.
 */
#ifndef TN_DEV_H
#define TN_DEV_H
#include "fail.h"
#include "log.h"
#include "watch.h"
#include <stdbool.h>
#include <stdint.h>
#include <tracknet/device.h>

/** OBJECTS: programs are compiled, kept and linked, since the binary of a whole one costs a compilation of every kernel. GROUPS:
 * what a kernel is said to take in a group is less than it takes. NO_VECTORS: the compiler does not take cl/cpu. UNTRIED: nobody
 * here has seen it take cl/cpu, so that a row for it is tried in a process of its own, and what has no rows runs as on any device.
 * DECLARES: it reads the declarations of OpenCL C's functions anew for every program, and takes ours instead (source.c).
 */
enum {
    TN_QUIRK_OWN_CACHE = 1,
    TN_QUIRK_NO_FILL = 2,
    TN_QUIRK_OBJECTS = 4,
    TN_QUIRK_GROUPS = 8,
    TN_QUIRK_NO_VECTORS = 16,
    TN_QUIRK_UNTRIED = 32,
    TN_QUIRK_DECLARES = 64,
};

/** What a kernel variant may need of a device (variant.h). */
enum {
    TN_CAP_CPU = 1 << 0,  /* a CPU device: one work-item a tile is fastest */
    TN_CAP_AVX2 = 1 << 1, /* of the host's processor, when the device is it */
    TN_CAP_AVX512 = 1 << 2,
    TN_CAP_AMX_BF16 = 1 << 3, /* tiles, and the system lets this process use them (amx.h) */
    TN_CAP_NV_PTX = 1 << 4,   /* takes inline PTX */
    TN_CAP_NV_MMA80 = 1 << 5, /* mma.sync of bf16: compute capability 8.0 on */
    TN_CAP_NV_WGMMA = 1 << 6, /* 9.0 */
    TN_CAP_DPAS8 = 1 << 7,    /* Intel's dpas with sub-groups of 8 (Xe-HPG) */
    TN_CAP_DPAS16 = 1 << 8,   /* of 16 (Xe-HPC, Xe2) */
    TN_CAP_WMMA11 = 1 << 9,   /* AMD gfx11 */
    TN_CAP_WMMA12 = 1 << 10,  /* AMD gfx12 */
    TN_CAP_MFMA90A = 1 << 11, /* AMD gfx90a */
    TN_CAP_MFMA942 = 1 << 12, /* AMD gfx942, gfx950 */
    TN_CAP_AVX512_BF16 = 1 << 13,
    TN_CAP_BLOCK_2D = 1 << 14, /* Intel's 2D block reads, beside dpas */
    TN_CAP_VECTORS = 1 << 15,  /* a CPU device whose compiler may take cl/cpu: its rows need this */
};

typedef struct tn_kernel tn_kernel;
typedef struct tn_buffer tn_buffer;
typedef struct tn_event tn_event;
typedef struct tn_tape tn_tape;

typedef struct tn_dev {
    tn_device_info info;
    struct tn_dev_cl *cl; /* dev_cl.h */
    const tn_log *log;
    unsigned quirk_flags;
    unsigned caps;                        /* TN_CAP_* */
    size_t align;                         /* of sub-buffers, bytes */
    size_t allocated, peak, memory_limit; /* bytes; limit 0: none */
    size_t host_free;                     /* bytes that the host had left when the device was opened; 0: not known */
    int row_wg;                           /* work-items that share one row in reductions; 1 on a CPU */
    bool flushes_denormals;
    char *variants;       /* "gemm=portable,attention=cpu": rows to run instead of the measured choice; NULL: none */
    char *cache_dir;      /* of binaries and measurements; NULL: none are kept */
    char *helper;         /* the command whose processes build kernels ahead, and try rows that may hang; NULL: none */
    double trial_seconds; /* that such a trial may take */
    int index;            /* of tn_device_list */
    tn_watch watch;
    void *tuning; /* owned by ops/tuning.c */
    void (*tuning_free)(void *);
    void (*on_close)(void); /* libraries that keep our context let go of it here */
    bool untouched;         /* leave new buffers unwritten: oclgrind 21.10 takes a host write for the last word on a buffer */
    bool hasty;             /* build programs without the compiler's passes: tests of what the device would not be given */
    double slice_seconds;   /* what a launch of a tape may take before it is cut (slices.h); 0: any time */
    double nice;            /* seconds of rest after each such slice */
    double queued;          /* seconds of work that wait, as far as they were measured */
    double prepared;        /* seconds that building programs, checking and measuring variants took so far */
    size_t slice_groups;    /* launches are cut into pieces of about so many work-groups; 0: never */
    long long launches;     /* kernels enqueued */
    long long blocking;     /* calls that waited for the device */
    bool library_set;       /* CLBlast has the parameters that are known for the device */
    size_t narrow;          /* work-items of a group that a kernel takes at most, where it was asked for more; 0: none was */
    bool bare;              /* programs are built to take addresses for buffers (address.h) */
    bool lost;              /* the device failed for good; every later call repeats the first cause */
    tn_error cause;
    char failure[240]; /* the cause without advice */
} tn_dev;

/** What a device is opened with; zeros are the defaults. Texts are copied. */
typedef struct tn_dev_options {
    size_t memory_limit; /* 0: what the device has */
    const tn_log *log;   /* may be NULL and must outlive the device */
    tn_watch watch;
    const char *variants, *cache, *helper; /* as in tn_run_options */
    int nice;                              /* the same, milliseconds */
} tn_dev_options;

/** Opens device `index` of tn_device_list. o may be NULL. */
int tn_dev_open(tn_dev **out, int index, const tn_dev_options *o, tn_error *err);
/** Waits for the queues. Buffers of the device must be freed before. */
void tn_dev_close(tn_dev *d);
/** From here on groups have so many work-items at most, rounded down to a power of two. For plans that are not made yet. */
void tn_dev_narrow(tn_dev *d, size_t items);
/** What tells the device from the others of its host, whatever list it is found in: info.hardware, where its driver says anything;
 * else its platform, name and index. */
void tn_dev_identity(const tn_dev *d, char *out, size_t size);
/** Waits for everything enqueued on both queues. */
int tn_dev_finish(tn_dev *d, tn_error *err);
/** The same whatever comes of it, also on a device that is lost: commands that are under way may yet write to the host's memory. */
void tn_dev_rest(tn_dev *d);
/** Hands what is enqueued to the driver without waiting. */
int tn_dev_flush(tn_dev *d, tn_error *err);

/* ---- buffers (buffer.c). A buffer knows its device and size; every function fails with a sentence that names both ---- */

/** A buffer of `bytes` (rounded up to 4), made resident now so that a refusal comes here: TN_ERR_MEMORY. `what` is for errors. */
int tn_buffer_new(tn_buffer **out, tn_dev *d, size_t bytes, const char *what, tn_error *err);
/** A region of a buffer; offset must be a multiple of d->align. Free it before its parent. */
int tn_buffer_sub(tn_buffer **out, tn_buffer *parent, size_t offset, size_t bytes, tn_error *err);
/** NULL is allowed. */
void tn_buffer_free(tn_buffer *b);
size_t tn_buffer_size(const tn_buffer *b);
tn_dev *tn_buffer_device(const tn_buffer *b);

/** These two wait. */
int tn_buffer_write(tn_buffer *b, size_t offset, const void *src, size_t bytes, tn_error *err);
int tn_buffer_read(tn_buffer *b, size_t offset, void *dst, size_t bytes, tn_error *err);
/** These do not; commands of the main queue run in order. */
int tn_buffer_fill(tn_buffer *b, size_t offset, size_t bytes, uint32_t pattern, tn_error *err);
int tn_buffer_copy(tn_buffer *src, size_t src_off, tn_buffer *dst, size_t dst_off, size_t bytes, tn_error *err);

/* ---- transfers beside the computation ---- */

typedef enum tn_queue { TN_QUEUE_MAIN, TN_QUEUE_COPY } tn_queue;
/** `src` and `dst` must stay as they are until the event is done: host memory of tn_staging, which is pinned where the driver
 * has such memory. `after` (may be NULL) is waited for on the device first. *done (may be NULL) is the caller's. */
int tn_buffer_write_async(tn_buffer *b, tn_queue q, size_t offset, const void *src, size_t bytes, const tn_event *after,
                          tn_event **done, tn_error *err);
int tn_buffer_read_async(tn_buffer *b, tn_queue q, size_t offset, void *dst, size_t bytes, const tn_event *after, tn_event **done,
                         tn_error *err);
int tn_buffer_copy_async(tn_buffer *src, tn_buffer *dst, tn_queue q, size_t bytes, const tn_event *after, tn_event **done,
                         tn_error *err);
/** Everything enqueued on `q` from now on runs after the event. */
int tn_queue_wait(tn_dev *d, tn_queue q, const tn_event *e, tn_error *err);
/** An event for all that `q` holds now. */
int tn_queue_mark(tn_dev *d, tn_queue q, tn_event **done, tn_error *err);
/** Waits on the host. NULL is done. */
int tn_event_wait(const tn_event *e, tn_error *err);
/** The same for a thread that is not the one of the event's device. */
int tn_event_join(const tn_event *e, tn_error *err);
/** Without waiting: has it happened (1), not yet (0), or failed (negative status)? */
int tn_event_done(const tn_event *e, tn_error *err);
void tn_event_free(tn_event *e);

/** Host memory that the device reaches fast (CL_MEM_ALLOC_HOST_PTR, mapped for good). On a device that shares memory with
 * the host it is the device's own memory; elsewhere it is the host's and no part of d->allocated. */
typedef struct tn_staging {
    void *host;
    size_t bytes;
    tn_buffer *buffer;
} tn_staging;
int tn_staging_new(tn_staging *s, tn_dev *d, size_t bytes, tn_error *err);
void tn_staging_free(tn_staging *s);
/** The buffer's memory seen by the host until tn_buffer_unmap: without a copy on devices with unified memory. Waits. */
int tn_buffer_map(tn_buffer *b, size_t offset, size_t bytes, bool for_writing, void **host, tn_error *err);
int tn_buffer_unmap(tn_buffer *b, void *host, tn_error *err);

/* ---- kernels (program.c, launch.c) ---- */

/** Kernel `entry` of cl/<file>, built with `options` (built once, then found again). Borrowed. */
int tn_kernel_get(tn_kernel **out, tn_dev *d, const char *file, const char *entry, const char *options, tn_error *err);

typedef struct tn_arg {
    size_t size; /* 0: a buffer */
    union {
        tn_buffer *mem;
        int32_t i;
        uint32_t u;
        float f;
        const void *data; /* of more than 8 bytes, read at the launch */
    } v;
} tn_arg;
#define TN_BUF(x)  ((tn_arg){0, {.mem = (x)}})
#define TN_INT(x)  ((tn_arg){sizeof(int32_t), {.i = (int32_t)(x)}})
#define TN_UINT(x) ((tn_arg){sizeof(uint32_t), {.u = (uint32_t)(x)}})
#define TN_FLT(x)  ((tn_arg){sizeof(float), {.f = (float)(x)}})
#define TN_DATA(x) ((tn_arg){sizeof(x), {.data = &(x)}}) /* a struct or an array by value */

/** How a kernel is started. `global` is rounded up to `local` (kernels guard their bounds); local[0] 0: the driver's choice. */
typedef struct tn_range {
    int dims;
    size_t global[3], local[3];
} tn_range;

/** Sets the arguments and enqueues. An empty range is no launch. Kernels find their place by get_global_id alone, so that a
 * launch can be cut into slices (d->slice_groups) that begin at a global offset. */
int tn_launch(tn_dev *d, tn_kernel *k, const tn_arg *args, int n_args, const tn_range *r, tn_error *err);

const char *tn_cl_error(int code);
/** As tn_fail, for a failed OpenCL call: `code` goes into err->opencl. */
int tn_fail_cl(tn_error *err, int status, int code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/** Embedded sources (generated): "portable/gemm.cl" and so on, includes already resolved. */
typedef struct tn_cl_source {
    const char *file, *text;
} tn_cl_source;
extern const tn_cl_source tn_cl_sources[];
/** Of all of them: what was built or measured with other sources holds no more. */
unsigned long long tn_cl_sources_hash(void);
#endif
