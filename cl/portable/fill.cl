/* n words from word `first` on become `pattern`. Counts are 64 bits wide in two halves: buffers may exceed 16 GiB. */
__kernel void fill(__global uint *p, uint first, uint first_high, uint n, uint n_high, uint pattern)
{
    const ulong from = (ulong)first_high << 32 | first, i = get_global_id(0);
    if (i < ((ulong)n_high << 32 | n)) p[from + i] = pattern;
}
