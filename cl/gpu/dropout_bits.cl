/* Which elements dropout keeps, a bit each, drawn once for all who ask again and again (tn_draw16). A mask's [rows, cols], cols a
 * multiple of 32, stands in blocks of 16 rows and 32 columns, row of blocks by row: 32 words of 16 bits, one for each lane of a warp
 * whose matrix unit holds the block so: lane 4r+q has, as pair 2j+h, columns 8j+2q and 8j+2q+1 of row r+8h; bit `pair` of its word
 * is the first of both, bit 8 + `pair` the other. */
#define VW 1
#include "common.h"
#include "step.h"
#define MASKS  8
#define BLOCKS 4 /* that an item takes part in, one after another */

/* As bits_mask of src/ops/dropout_bits.c: its first unit of BLOCKS blocks, and where its words begin. */
typedef struct {
    int cols, first, at;
    uint salt;
} bits_mask;
typedef struct {
    bits_mask mask[MASKS];
} bits_masks;

/* Items (32 * units). The 15 lower bits of both draws are compared by a carry into the 16th, which decides with the draw's own. */
__kernel void dropout_bits(const bits_masks masks, int n, int units, int rows, uint threshold, const __global tn_step *step,
                           __global ushort *bits)
{
    const int unit = (int)get_global_id(0) / 32, lane = (int)get_global_id(0) % 32;
    if (unit >= units) return;
    bits_mask m = masks.mask[0];
    _Pragma("unroll") for (int i = 1; i < MASKS; i++) /* by constants: what is indexed is copied first */
        if (i < n && unit >= masks.mask[i].first) m = masks.mask[i];
    const int across = m.cols / 32, blocks = (rows + 15) / 16 * across, first = (unit - m.first) * BLOCKS;
    const uint seed = tn_hash(step->seed, m.salt), either = threshold < 0x8000u ? ~0u : 0u;
    const uint carried = (0x8000u - (threshold & 0x7fffu)) * 0x10001u;
    for (int b = first; b < min(blocks, first + BLOCKS); b++) {
        const uint at = (uint)(b / across * 16 + lane / 4) * m.cols + b % across * 32 + lane % 4 * 2;
        uint word = 0;
        _Pragma("unroll") for (int pair = 0; pair < 8; pair++)
        {
            const uint w = tn_draws(seed, (at + (uint)(pair % 2 * 8) * m.cols + pair / 2 * 8) >> 1);
            const uint carry = (w & 0x7fff7fffu) + carried, keep = (carry & w) | ((carry | w) & either);
            word |= keep >> (15 - pair) & 0x10001u << pair;
        }
        bits[(size_t)m.at + (size_t)b * 32 + lane] = (ushort)(word | word >> 8);
    }
}
