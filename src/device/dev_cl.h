/** What a device is made of in OpenCL's types: for device/ itself, and for CLBlast. */
#ifndef TN_DEV_CL_H
#define TN_DEV_CL_H
#define CL_TARGET_OPENCL_VERSION 120
#include "dev.h"
#include <CL/cl.h>

typedef struct tn_program {
    char *key;
    cl_program p;
    bool bare; /* its kernels take addresses for buffers (address.h) */
} tn_program;

struct tn_kernel {
    char *key; /* file|entry|options */
    char *entry;
    tn_dev *dev;
    cl_program program;
    bool bare; /* as the program */
    cl_kernel k;
    size_t max_wg; /* work-items this kernel takes in a group */
};

struct tn_buffer {
    tn_dev *dev;
    unsigned long long id; /* of no other buffer of the device */
    cl_mem mem;
    cl_ulong address;     /* 0: nobody asked yet (address.h) */
    size_t bytes, offset; /* offset: of a sub-buffer */
    tn_buffer *parent;
    bool counted;        /* in dev->allocated: neither a region nor in the host's own memory */
    tn_buffer **regions; /* of this buffer, in the order in which they were made */
    int n_regions, room;
    bool freed; /* a region that waits for those made after it */
};

struct tn_event {
    tn_dev *dev;
    cl_event e;
};

typedef struct tn_dev_cl {
    cl_platform_id platform;
    cl_device_id id;
    cl_context ctx;
    cl_command_queue queue[2]; /* tn_queue */
    tn_program *programs;
    int n_programs;
    tn_kernel **kernels;
    int n_kernels;
    unsigned long long buffers; /* made so far */
    cl_mem answer;              /* to address.c's questions, or NULL */
    struct tn_tensor_maps *maps;
    void (*maps_free)(struct tn_tensor_maps *); /* set with maps */
} tn_dev_cl;

/** A sentence for OpenCL's code; marks the device lost where the code says so. `waiting`: the call waited for earlier commands,
 * whose failure it may be. Returns the status. */
int tn_dev_failed(tn_dev *d, const char *what, size_t bytes, int code, bool waiting, tn_error *err);
/** Fails with the first cause when the device is lost. */
int tn_dev_usable(const tn_dev *d, tn_error *err);

/** Enqueues a kernel whose arguments are set, in slices where the device wants them. event may be NULL. */
int tn_enqueue(tn_dev *d, cl_command_queue q, cl_kernel k, const char *name, const tn_range *r, cl_event *event, tn_error *err);
/** Items from..end, whole groups, of the slowest dimension alone. */
int tn_enqueue_part(tn_dev *d, cl_command_queue q, cl_kernel k, const char *name, const tn_range *r, size_t from, size_t end,
                    tn_error *err);
/** Fails where a kernel takes smaller groups than the range has, and tells the device (tn_dev.narrow). */
int tn_launch_fits(tn_dev *d, const tn_kernel *k, const tn_range *r, tn_error *err);
/** Of `k`, which is of->k or another object of the same kernel. */
int tn_set_args(const tn_kernel *of, cl_kernel k, const tn_arg *args, int n_args, tn_error *err);
/** What the compiler said about a program. Caller frees; NULL when memory ran out. */
char *tn_build_log(const tn_dev *d, cl_program p);
/** A program's binary as the driver hands it out, *n bytes and a zero behind them; NULL where it has none, or memory ran out.
 * Caller frees. */
unsigned char *tn_binary_of(cl_program p, size_t *n);
/** A program of it, not built yet. OpenCL's status; *out may be there also where that is not CL_SUCCESS. */
cl_int tn_program_of_binary(cl_program *out, const tn_dev *d, const unsigned char *binary, size_t n);
/** Is a program there, or in the cache? */
bool tn_program_is_built(const tn_dev *d, const char *file, const char *options);
/** Releases built programs and kernels. */
void tn_programs_free(tn_dev *d);
#endif
