#include "place.h"
#include "exchange.h"

#include <string.h>

/* The n-th GPU, counted round; -1: there is none. */
static int nth_gpu(tn_device_info *const *v, int count, int n)
{
    int gpus = 0;
    for (int i = 0; i < count; i++) gpus += v[i]->type == TN_DEVICE_GPU;
    if (!gpus) return -1;
    n %= gpus;
    for (int i = 0; i < count; i++)
        if (v[i]->type == TN_DEVICE_GPU && !n--) return i;
    return -1;
}

int tn_place_select(int *index, const tn_run_options *o, tn_error *err)
{
    const bool all = o->device && !strcmp(o->device, "all"), any = !o->device || !o->device[0] || all || !strcmp(o->device, "gpu");
    tn_device_info **v;
    int count, local;
    if (!o->ranks || !any || (tn_ranks_local(o->ranks, &local) < 2 && !all)) return tn_device_select(index, o->device, err);
    TN_TRY(tn_device_list(&v, &count, err));
    *index = nth_gpu(v, count, local);
    tn_device_list_free(v);
    return *index >= 0 ? 0 : tn_device_select(index, all ? NULL : o->device, err);
}
