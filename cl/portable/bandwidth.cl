/* Reading alone and writing alone. VEC: float4 or float16. n: vectors; each of `items` has those from g * lead on, `per` of them,
 * `step` apart. */

#ifndef VEC
#define VEC float4
#endif

/* Four sums, so that none waits for the one before it; sums[g] is that of item g's vectors. */
__kernel void read_all(const __global VEC *from, __global VEC *sums, uint n, uint per, uint lead, uint step, uint items)
{
    const uint g = (uint)get_global_id(0), begin = g * lead;
    VEC a = (VEC)(0.0f), b = a, c = a, d = a;
    if (g >= items) return;
    uint k = 0;
    for (; k + 4 <= per && begin + (k + 3) * step < n; k += 4) {
        const uint i = begin + k * step;
        a += from[i];
        b += from[i + step];
        c += from[i + 2 * step];
        d += from[i + 3 * step];
    }
    for (; k < per && begin + k * step < n; k++) a += from[begin + k * step];
    sums[g] = a + b + c + d;
}

__kernel void write_all(__global VEC *to, float value, uint n, uint per, uint lead, uint step, uint items)
{
    const uint g = (uint)get_global_id(0), begin = g * lead;
    for (uint k = 0; g < items && k < per && begin + k * step < n; k++) to[begin + k * step] = (VEC)(value);
}
