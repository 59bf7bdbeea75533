#include "cpu_threads.h"
#include "entry.h"
#include "quirks.h"
#include "rates.h"
#include "select.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void enumerate_text(cl_device_id d, cl_device_info what, char *out, size_t n)
{
    char buf[4096] = "";
    clGetDeviceInfo(d, what, sizeof buf - 1, buf, NULL);
    const char *s = buf;
    while (isspace((unsigned char)*s)) s++;
    snprintf(out, n, "%.*s", (int)n - 1, s);
    for (size_t k = strlen(out); k && isspace((unsigned char)out[k - 1]);) out[--k] = 0;
}

#define SCALAR(d, what, var) clGetDeviceInfo(d, what, sizeof(var), &(var), NULL)

static void enumerate_describe(tn_device_info *o, cl_platform_id p, cl_device_id d)
{
    cl_device_type type = 0;
    cl_ulong mem = 0, alloc = 0, local = 0;
    cl_uint cu = 0, mhz = 0, width = 1;
    cl_bool unified = 0;
    size_t wg = 1;
    char ext[8192] = "";
    enumerate_text(d, CL_DEVICE_NAME, o->name, sizeof o->name);
    enumerate_text(d, CL_DEVICE_VENDOR, o->vendor, sizeof o->vendor);
    enumerate_text(d, CL_DRIVER_VERSION, o->driver, sizeof o->driver);
    enumerate_text(d, CL_DEVICE_VERSION, o->version, sizeof o->version);
    clGetPlatformInfo(p, CL_PLATFORM_NAME, sizeof o->platform - 1, o->platform, NULL);
    SCALAR(d, CL_DEVICE_TYPE, type);
    SCALAR(d, CL_DEVICE_GLOBAL_MEM_SIZE, mem);
    SCALAR(d, CL_DEVICE_MAX_MEM_ALLOC_SIZE, alloc);
    SCALAR(d, CL_DEVICE_LOCAL_MEM_SIZE, local);
    SCALAR(d, CL_DEVICE_MAX_COMPUTE_UNITS, cu);
    SCALAR(d, CL_DEVICE_MAX_CLOCK_FREQUENCY, mhz);
    SCALAR(d, CL_DEVICE_HOST_UNIFIED_MEMORY, unified);
    SCALAR(d, CL_DEVICE_MAX_WORK_GROUP_SIZE, wg);
    SCALAR(d, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, width);
    clGetDeviceInfo(d, CL_DEVICE_EXTENSIONS, sizeof ext - 1, ext, NULL);
    o->type = type & CL_DEVICE_TYPE_GPU ? TN_DEVICE_GPU : type & CL_DEVICE_TYPE_CPU ? TN_DEVICE_CPU : TN_DEVICE_OTHER;
    o->global_memory = mem;
    o->largest_allocation = alloc;
    o->local_memory = local;
    o->compute_units = cu;
    if (o->type == TN_DEVICE_CPU && tn_cpu_threads_limit()) /* Intel's runtime counts what it does not use */
        o->compute_units = TN_MIN(cu, (unsigned)tn_cpu_threads_limit());
    o->clock_mhz = mhz;
    o->float_width = width;
    o->max_work_group = (unsigned)wg;
    o->unified_memory = unified;
    o->half_arithmetic = strstr(ext, "cl_khr_fp16") != NULL;
    tn_quirk_describe(o, d);
    tn_quirk_hardware(o, d);
    tn_rate_fill(o);
}

static int walk_all(int (*fn)(void *, int, cl_platform_id, cl_device_id), void *user)
{
    cl_uint np = 0;
    if (clGetPlatformIDs(0, NULL, &np) || !np) return 0;
    cl_platform_id *ps = calloc(np, sizeof *ps);
    if (!ps) return 0;
    clGetPlatformIDs(np, ps, NULL);
    int index = 0, stop = 0;
    for (cl_uint i = 0; i < np && !stop; i++) {
        cl_uint nd = 0;
        if (clGetDeviceIDs(ps[i], CL_DEVICE_TYPE_ALL, 0, NULL, &nd) || !nd) continue;
        cl_device_id *ds = calloc(nd, sizeof *ds);
        if (!ds) break;
        clGetDeviceIDs(ps[i], CL_DEVICE_TYPE_ALL, nd, ds, NULL);
        for (cl_uint j = 0; j < nd && !stop; j++) stop = fn(user, index++, ps[i], ds[j]);
        free(ds);
    }
    free(ps);
    return stop;
}

/** Calls fn for every device until it returns non-zero. PoCL 3.1 has no device for whoever asks while another thread's first
 * call is still setting them up, so one thread asks at a time. */
static int walk(int (*fn)(void *, int, cl_platform_id, cl_device_id), void *user)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one);
    tn_cpu_threads_seal();
    const int stop = walk_all(fn, user);
    pthread_mutex_unlock(&one);
    return stop;
}

typedef struct {
    tn_device_info **v;
    int n;
} list;

static int enumerate_add(void *user, int index, cl_platform_id p, cl_device_id d)
{
    list *l = user;
    tn_device_info **v = realloc(l->v, sizeof *v * (size_t)(l->n + 2));
    if (v) l->v = v;
    if (!v || !(v[l->n] = calloc(1, sizeof **v))) return 1;
    v[l->n]->index = index;
    enumerate_describe(v[l->n], p, d);
    v[++l->n] = NULL;
    return 0;
}

int tn_device_list(tn_device_info ***out, int *count, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(out, "tn_device_list's list", err));
    TN_TRY(tn_required(count, "tn_device_list's count", err));
    list l = {0};
    walk(enumerate_add, &l);
    for (int i = 0; i < l.n; i++) l.v[i]->duplicate_of = tn_device_twin(l.v, l.n, i);
    *out = l.v;
    *count = l.n;
    if (!l.n)
        return tn_fail(err, TN_ERR_DEVICE,
                       "no OpenCL device found: install your GPU's OpenCL driver, or 'pocl-opencl-icd' for the CPU");
    return 0;
}

void tn_device_list_free(tn_device_info **v)
{
    for (int i = 0; v && v[i]; i++) free(v[i]);
    free(v);
}

typedef struct {
    int want;
    cl_platform_id p;
    cl_device_id d;
} enumerate_find;

static int is_wanted(void *user, int index, cl_platform_id p, cl_device_id d)
{
    enumerate_find *f = user;
    if (index != f->want) return 0;
    f->p = p;
    f->d = d;
    return 1;
}

int tn_find_device(cl_platform_id *p, cl_device_id *d, int index, tn_error *err)
{
    enumerate_find f = {.want = index};
    if (!walk(is_wanted, &f))
        return tn_fail(err, TN_ERR_DEVICE, "there is no OpenCL device %d; 'tracknet devices' lists them", index);
    *p = f.p;
    *d = f.d;
    return 0;
}
