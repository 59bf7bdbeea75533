/* Rotary embedding (Su et al. 2021) of `width` columns in vectors: a column and its partner half a width on are turned together.
 * Needs vectors.h. */

/* v [width / 16] by a row of the table, width / 2 of (cos, sin); direction -1 turns back. */
inline void turn_columns(float16 *v, const __global float2 *row, int width, float direction)
{
    const int half_width = width / 32;
    const __global float *a = (const __global float *)row;
    UNROLL(j, half_width)
    {
        const float16 x = GVEC(a, 2 * j), y = GVEC(a, 2 * j + 1), low = v[j], high = v[j + half_width];
        const float16 c = (float16)(x.even, y.even), s = direction * (float16)(x.odd, y.odd);
        v[j] = low * c - high * s;
        v[j + half_width] = high * c + low * s;
    }
}
