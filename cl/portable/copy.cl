/* n vectors of 16 bytes, `per` by each item: what a device's memory can do at best. */
__kernel void copy(const __global float4 *from, __global float4 *to, uint n, uint per)
{
    const uint begin = (uint)get_global_id(0) * per, end = min(n, begin + per);
    for (uint i = begin; i < end; i++) to[i] = from[i];
}
