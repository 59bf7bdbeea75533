#include "address.h"

#include <stdio.h>

static cl_int set_arg(const tn_kernel *of, cl_kernel k, int i, const tn_arg *a, cl_ulong address)
{
    cl_mem m = !a->size && a->v.mem ? a->v.mem->mem : NULL;
    if (a->size) return clSetKernelArg(k, (cl_uint)i, a->size, a->size > sizeof a->v ? a->v.data : &a->v);
    if (of->bare) return clSetKernelArg(k, (cl_uint)i, sizeof address, &address);
    return clSetKernelArg(k, (cl_uint)i, sizeof m, &m);
}

int tn_set_args(const tn_kernel *of, cl_kernel k, const tn_arg *args, int n_args, tn_error *err)
{
    for (int i = 0; i < n_args; i++) {
        cl_ulong address = 0;
        if (of->bare && !args[i].size) TN_TRY(tn_buffer_address(&address, args[i].v.mem, err));
        const cl_int e = set_arg(of, k, i, &args[i], address);
        if (e)
            return tn_fail_cl(err, TN_ERR_DEVICE, e, "device '%s', kernel %s: argument %d refused (%s)", of->dev->info.name,
                              of->entry, i, tn_cl_error(e));
    }
    return 0;
}

/* A kernel that was made for one size of group has said all the same how many items it takes. */
static void learn_group(tn_dev *d, cl_kernel k, const tn_range *r)
{
    size_t most = 0, items = 1;
    for (int i = 0; i < r->dims; i++) items *= r->local[i];
    clGetKernelWorkGroupInfo(k, d->cl->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL);
    if (most && most < items) d->narrow = d->narrow ? TN_MIN(d->narrow, most) : most;
}

static int refused(tn_dev *d, const char *name, const size_t *g, cl_int e, tn_error *err)
{
    char what[160];
    snprintf(what, sizeof what, "kernel %s over %zu x %zu x %zu", name, g[0], g[1], g[2]);
    return tn_dev_failed(d, what, 0, e, false, err);
}

/* Work-groups of the slowest dimension that one piece takes: what lies below it counts for every one of them. */
static size_t piece(const tn_dev *d, int dims, const size_t *g, const size_t *l)
{
    size_t groups = 1;
    for (int i = 0; i < dims - 1; i++) groups *= g[i] / l[i];
    return TN_MAX(d->slice_groups / groups, (size_t)1) * l[dims - 1];
}

/* The range with a global size that groups fill; false: there is nothing to launch. */
static bool whole_groups(size_t g[3], const tn_range *r)
{
    for (int i = 0; i < r->dims; i++) {
        g[i] = r->local[0] ? TN_ROUND_UP(r->global[i], r->local[i]) : r->global[i];
        if (!g[i]) return false;
    }
    return true;
}

/* A launch, and whole groups as its global size. */
typedef struct {
    cl_command_queue q;
    cl_kernel k;
    const char *name;
    const tn_range *r;
    size_t g[3];
} launch;

/* From item `from` of the slowest dimension to `end`. */
static int enqueue_piece(tn_dev *d, const launch *l, size_t from, size_t end, cl_event *event, tn_error *err)
{
    const tn_range *r = l->r;
    const size_t *g = l->g;
    const int last = r->dims - 1;
    size_t at[3] = {0, 0, 0}, n[3] = {g[0], g[1], g[2]};
    at[last] = from;
    n[last] = end - from;
    const cl_int e = clEnqueueNDRangeKernel(l->q, l->k, (cl_uint)r->dims, at, n, r->local[0] ? r->local : NULL, 0, NULL, event);
    if (e == CL_INVALID_WORK_GROUP_SIZE || e == CL_OUT_OF_RESOURCES) learn_group(d, l->k, r);
    if (e) return refused(d, l->name, g, e, err);
    d->launches++;
    return 0;
}

int tn_enqueue(tn_dev *d, cl_command_queue q, cl_kernel k, const char *name, const tn_range *r, cl_event *event, tn_error *err)
{
    launch l = {q, k, name, r, {1, 1, 1}};
    if (!whole_groups(l.g, r)) return 0;
    const size_t all = l.g[r->dims - 1], step = d->slice_groups && r->local[0] ? piece(d, r->dims, l.g, r->local) : all;
    for (size_t at = 0; at < all; at += step) {
        const size_t end = TN_MIN(at + step, all);
        TN_TRY(enqueue_piece(d, &l, at, end, end == all ? event : NULL, err));
    }
    return 0;
}

int tn_enqueue_part(tn_dev *d, cl_command_queue q, cl_kernel k, const char *name, const tn_range *r, size_t from, size_t end,
                    tn_error *err)
{
    launch l = {q, k, name, r, {1, 1, 1}};
    return whole_groups(l.g, r) ? enqueue_piece(d, &l, from, end, NULL, err) : 0;
}

/* A kernel compiled into more registers than its group can have is refused by name, not by a driver's code. */
int tn_launch_fits(tn_dev *d, const tn_kernel *k, const tn_range *r, tn_error *err)
{
    size_t items = 1;
    for (int i = 0; r->local[0] && i < r->dims; i++) items *= r->local[i];
    if (items <= k->max_wg) return 0;
    d->narrow = d->narrow ? TN_MIN(d->narrow, k->max_wg) : k->max_wg;
    return tn_fail(err, TN_ERR_DEVICE, "device '%s': kernel %s takes groups of %zu work-items, and %zu are asked for", d->info.name,
                   k->entry, k->max_wg, items);
}

int tn_launch(tn_dev *d, tn_kernel *k, const tn_arg *args, int n_args, const tn_range *r, tn_error *err)
{
    TN_TRY(tn_dev_usable(d, err));
    TN_TRY(tn_launch_fits(d, k, r, err));
    TN_TRY(tn_set_args(k, k->k, args, n_args, err));
    return tn_enqueue(d, d->cl->queue[TN_QUEUE_MAIN], k->k, k->entry, r, NULL, err);
}
