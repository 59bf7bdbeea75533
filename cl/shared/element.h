/* The end of one element of a product, for units whose lanes hold elements as they come (Intel's and AMD's). After words.h and
 * matrix_unit.h. */
#ifndef PAIR
#define PAIR 0
#endif
/* What the second pair's product at (row, n) is multiplied by before the first one's is added to it. */
#ifdef MASK_E
#define PAIR_SEED           const uint seed = tn_hash(step->seed, e_salt);
#define PAIR_FACTOR(row, n) (tn_keeps(seed, (uint)(row) * (uint)N + (uint)(n), e_threshold) ? pair_alpha * e_keep : 0.0f)
#else
#define PAIR_SEED
#define PAIR_FACTOR(row, n) pair_alpha
#endif
#ifdef BIAS
#define BIAS_OF(n) bias[n]
#else
#define BIAS_OF(n) 0.0f
#endif
#ifdef SCALE
#define SCALE_OF(n) scale[n]
#else
#define SCALE_OF(n) 1.0f
#endif

#ifdef TURN
/* Columns c + i and c + 32 + i of a row, c where a head begins, are turned where they are q's or k's (rotary embedding, Su et al.
 * 2021, in halves); the first `skip` tokens of a sample are not. */
inline void turn_two(float *low, float *high, int row, int c, int i, const __global float *table, int tokens, int skip, int turned)
{
    const int at = row % tokens - skip;
    if (at < 0 || c >= turned) return;
    const float2 w = *(const __global float2 *)(table + (size_t)at * 64 + 2 * i);
    const float x = *low, y = *high;
    *low = x * w.x - y * w.y, *high = y * w.x + x * w.y;
}
#endif

/* v has its alpha and bias; e: its word of the extra, in or out; s: its column's scale. */
inline ushort end_element(float v, ushort *e, float s)
{
#ifdef PRE_SLOPE
    float slope;
    v = gelu_and_slope(v, &slope);
    *e = to_word(slope);
#else
#ifdef PRE
    *e = to_word(v);
#endif
#ifdef ACTIVATE
    v = gelu(v);
#endif
#endif
#ifdef READY
    v *= from_word(*e);
#elif defined(SLOPE)
    v *= gelu_slope(from_word(*e));
#endif
    v *= s;
#ifdef RESIDUAL
    v += from_word(*e);
#endif
    return to_word(v);
}
