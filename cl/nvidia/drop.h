/* Dropout of two 16-bit numbers in a word. After common.h. */
#ifndef TN_DROP_H
#define TN_DROP_H

/* w with the low number, element i, and the high one, element j, kept or zeroed. What is kept is to be scaled in the sum. */
inline uint drop16(uint w, uint seed, uint i, uint j, uint threshold)
{
    const uint low = tn_hash(seed, i) >= threshold ? 0xffffu : 0u, high = tn_hash(seed, j) >= threshold ? 0xffff0000u : 0u;
    return w & (low | high);
}
#endif
