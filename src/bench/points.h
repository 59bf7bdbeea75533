/** A step's profile as a benchmark keeps it. */
#ifndef TN_POINTS_H
#define TN_POINTS_H
#include <jansson.h>
#include <tracknet/profile.h>

/** Nodes that ran the same kernels, taken together: {kernels: "gemm_pack + gemm_panel", operations, entries, seconds, flops,
 * bytes}, the slowest first, so that each kernel of the step stands in one that has its costs. New reference; NULL when memory ran
 * out. */
json_t *tn_bench_points(const tn_profile_report *r);
/** The report without its entries, with these points. */
int tn_bench_profile(json_t **out, const tn_profile_report *r, tn_error *err);
#endif
