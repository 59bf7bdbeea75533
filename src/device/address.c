#include "address.h"

#define ADDRESS "nvidia/address.cl"

/* Where `of` lies, which k writes `to` the answer; NULL: by name. Waits. */
static cl_int ask(cl_ulong *out, const tn_kernel *k, const void *of, const cl_ulong *to)
{
    tn_dev_cl *cl = k->dev->cl;
    cl_command_queue q = cl->queue[TN_QUEUE_MAIN];
    const size_t one = 1;
    cl_int e = 0;
    if (!cl->answer) cl->answer = clCreateBuffer(cl->ctx, CL_MEM_READ_WRITE, sizeof *out, NULL, &e);
    if (!e) e = clSetKernelArg(k->k, 0, sizeof *out, of ? of : &cl->answer);
    if (!e) e = clSetKernelArg(k->k, 1, sizeof *out, to ? (const void *)to : &cl->answer);
    if (!e) e = clEnqueueNDRangeKernel(q, k->k, 1, NULL, &one, NULL, 0, NULL, NULL);
    return e ? e : clEnqueueReadBuffer(q, cl->answer, CL_TRUE, 0, sizeof *out, out, 0, NULL, NULL);
}

/* The answer's own address by name, and then a number that the program built again takes for one, written where that address says.
 */
static bool takes_addresses(tn_dev *d)
{
    tn_kernel *named, *bare;
    tn_error ignored;
    cl_ulong address = 0, number = 0x123456789abcull, got = 0;
    if (tn_kernel_get(&named, d, ADDRESS, "address_of", "", &ignored)) return false;
    if (ask(&address, named, NULL, NULL) || !address) return false;
    d->bare = true;
    return !tn_kernel_get(&bare, d, ADDRESS, "address_of", "-DBARE", &ignored) && bare->bare &&
           !ask(&got, bare, &number, &address) && got == number;
}

void tn_try_addresses(tn_dev *d)
{
    if (!(d->caps & TN_CAP_NV_PTX) || sizeof(cl_mem) != sizeof(cl_ulong)) return;
    d->bare = takes_addresses(d);
}

int tn_buffer_address(cl_ulong *out, tn_buffer *b, tn_error *err)
{
    tn_kernel *k;
    *out = b ? b->address : 0;
    if (*out || !b) return 0;
    if (b->parent) {
        TN_TRY(tn_buffer_address(out, b->parent, err));
        *out = b->address = *out + b->offset;
        return 0;
    }
    TN_TRY(tn_kernel_get(&k, b->dev, ADDRESS, "address_of", "", err));
    const cl_int e = ask(&b->address, k, &b->mem, NULL);
    *out = b->address;
    return e ? tn_dev_failed(b->dev, "asking for an address", sizeof *out, e, true, err) : 0;
}
