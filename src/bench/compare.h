/** Devices side by side. */
#ifndef TN_COMPARE_H
#define TN_COMPARE_H
#include "result.h"
#include "text.h"

/** A device of a result, as a column. Borrowed from the results. */
typedef struct tn_column {
    const tn_bench_result *of;
    const json_t *device;
} tn_column;

/** All devices of n results, in order; *count of them. NULL when memory ran out. Caller frees. */
tn_column *tn_columns_of(const tn_bench_result *const *r, int n, int *count);
/** "result.json: device", or the device alone where the result has no name. */
void tn_column_name(char *out, size_t n, const tn_column *c);
/** The part of the processors that others had while one or the other was measured: the larger one; 0: not known, or a GPU's. */
double tn_columns_busy(const tn_column *a, const tn_column *b);
/** Every id that a column has: the work first, then the others, each in the order in which they come first. Texts are borrowed. */
typedef struct tn_compared {
    const char *id, *name, *group;
} tn_compared;
tn_compared *tn_compared_ids(const tn_column *c, int n, int *count);
#endif
