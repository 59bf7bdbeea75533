/* Rotary embedding (Su et al. 2021) of TURN_WIDTH columns in vectors: a column and its partner half a width on are turned together.
 * Needs vectors.h. */

/* v [TURN_WIDTH / 16] by a row of the table, TURN_WIDTH / 2 of (cos, sin); direction -1 turns back. */
inline void turn_columns(float16 *v, const __global float2 *row, float direction)
{
    const __global float *a = (const __global float *)row;
    UNROLL(j, TURN_WIDTH / 32)
    {
        const float16 x = GVEC(a, 2 * j), y = GVEC(a, 2 * j + 1), low = v[j], high = v[j + TURN_WIDTH / 32];
        const float16 c = (float16)(x.even, y.even), s = direction * (float16)(x.odd, y.odd);
        v[j] = low * c - high * s;
        v[j + TURN_WIDTH / 32] = high * c + low * s;
    }
}
