/* What the attention kernels of CPU devices share: constants, and how gradients of q and k are turned back. Needs vectors.h. */
#ifndef HD
#define HD 64
#endif
#define HV    (HD / 16)
#define NEG   (-3.0e38f)
#define LOG2E 1.44269504088896341f
#define LN2   0.69314718055994531f

#ifdef TURN
#define P_TURN , const __global float2 *table, int skip
/* A row of q's or k's gradient turned back by the angles of token t; table [n - skip, HD/2] of (cos, sin). */
#define TURN_BACK(v, t)                                                                                                            \
    if ((t) >= skip) turn_columns(v, table + ((size_t)(t) - (size_t)skip) * (HD / 2), -1.0f)
#else
#define P_TURN
#define TURN_BACK(v, t)
#endif
