/* Which elements dropout keeps, a bit each, drawn once for all who ask again and again. A mask's [rows, cols], cols a
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

/* Items (32 * units). */
__kernel void dropout_bits(const bits_masks masks, int n, int units, int rows, uint threshold, const __global tn_step *step,
                           __global ushort *bits)
{
    const int unit = (int)get_global_id(0) / 32, lane = (int)get_global_id(0) % 32;
    if (unit >= units) return;
    bits_mask m = masks.mask[0];
    _Pragma("unroll") for (int i = 1; i < MASKS; i++) /* by constants: what is indexed is copied first */
        if (i < n && unit >= masks.mask[i].first) m = masks.mask[i];
    const int across = m.cols / 32, blocks = (rows + 15) / 16 * across, first = (unit - m.first) * BLOCKS;
    const uint seed = tn_hash(step->seed, m.salt), row_words = (uint)m.cols / 4;
    int column = first % across;
    uint word = (uint)(first / across * 16 + lane / 4) * row_words + column * 8 + lane % 4;
    for (int b = first; b < min(blocks, first + BLOCKS); b++) {
        bits[(size_t)m.at + (size_t)b * 32 + lane] = (ushort)tn_kept_lane(seed, word, 8 * row_words, threshold);
        word += 8;
        if (++column == across) column = 0, word += 15 * row_words;
    }
}
