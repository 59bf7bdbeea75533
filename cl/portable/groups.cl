/* The second kernels of adapters beside convolutions of several groups, [rows, each], as one matrix [rows, each * groups]: rows /
 * groups rows of a group share its `each` columns, and the rest is zeros. Items (columns, rows) of what is written. */
#include "common.h"

__kernel void groups_spread(const __global act_t *b, __global act_t *wide, uint first, int rows, int each, int groups)
{
    const int c = (int)get_global_id(0), r = (int)get_global_id(1);
    if (c >= each * groups || r >= rows) return;
    const bool own = c / each == r / (rows / groups);
    const float v = own ? LD(ACT, b, first + (size_t)r * each + c % each) : 0.0f;
    ST(ACT, wide, (size_t)r * each * groups + c, v);
}

/* d += what of wide is not between the groups. */
__kernel void groups_collect(const __global float *wide, __global float *d, int rows, int each, int groups)
{
    const int c = (int)get_global_id(0), r = (int)get_global_id(1);
    if (c >= each || r >= rows) return;
    d[(size_t)r * each + c] += wide[(size_t)r * each * groups + r / (rows / groups) * each + c];
}
