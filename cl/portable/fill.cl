/* n words from word `first` on become `pattern`, `apart` by each item one after another. Counts are 64 bits wide in two halves: buffers may
 * exceed 16 GiB. Items (apart). */
__kernel void fill(__global uint *p, uint first, uint first_high, uint n, uint n_high, uint apart, uint pattern)
{
    const ulong from = (ulong)first_high << 32 | first, end = (ulong)n_high << 32 | n;
    for (ulong i = get_global_id(0); i < end; i += apart) p[from + i] = pattern;
}
