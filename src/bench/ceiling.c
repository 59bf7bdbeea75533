#include "ceiling.h"

#include <stdio.h>
#include <string.h>

/* A copy counts two bytes where the memory of a processor moves three: what is written is read first. A kernel that only reads can
 * be half as fast again as a copy, and the rest is for figures that disturb each other. */
#define ROOM 2.0

double tn_ceiling_bytes(const tn_bench *b, double set)
{
    double best = 0;
    for (int i = 0; i < b->n_curve; i++)
        if (4 * b->curve[i].set >= set || i == b->n_curve - 1) best = TN_MAX(best, b->curve[i].rate);
    return ROOM * best;
}

/* Flops of a unit in a cycle: a core with two multiply-adds of the widest vectors or with tiles; Hopper's matrix units, Ampere's,
 * the largest of today's GPUs. Without matrix units for it a unit has 128 multiply-adds, or half that number twice. */
static double per_cycle(const tn_bench *d, bool half)
{
    if (half && (d->caps & TN_CAP_NV_WGMMA)) return 4096;
    if (half && (d->caps & TN_CAP_NV_MMA80)) return 2048;
    if (d->info.type != TN_DEVICE_CPU) return half ? 8192 : 2048;
    if (half && (d->caps & TN_CAP_AMX_BF16)) return 2048;
    const double wide = d->caps & TN_CAP_AVX512 ? 64 : d->caps & TN_CAP_AVX2 ? 32 : 64;
    return half && (d->caps & TN_CAP_AVX512_BF16) ? 2 * wide : wide;
}

/* A processor's clock rises above what it is sold with, up to what none reaches; NVIDIA's drivers tell the highest. */
double tn_ceiling_flops(const tn_bench *b, tn_dtype type)
{
    const tn_device_info *i = &b->info;
    const bool told = b->caps & TN_CAP_NV_PTX;
    const double sold = 1e6 * i->clock_mhz, clock = told ? 1.1 * sold : TN_MAX(i->type == TN_DEVICE_CPU ? 6e9 : 3e9, sold);
    return i->compute_units * clock * per_cycle(b, type != TN_F32);
}

void tn_ceiling_judge(char *out, size_t n, const tn_bench *b, const tn_bench_job *j, double value)
{
    const bool bytes = !strcmp(j->unit, "B/s"), flops = !strcmp(j->unit, "FLOP/s");
    const double most = bytes && j->set > 0 ? tn_ceiling_bytes(b, j->set) : flops ? tn_ceiling_flops(b, j->type) : 0;
    out[0] = 0;
    if (most > 0 && value > most)
        snprintf(out, n, "%.3g G%s is more than this device can do (%.3g for %.3g MiB)", 1e-9 * value, j->unit, 1e-9 * most,
                 j->set / 1048576);
}
