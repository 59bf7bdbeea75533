/* What the attention kernels for Intel's matrix units share; after dpas.h and a definition of MB, the blocks of 8 rows that a sub-group
 * owns. Head width 64. The rows of the other side come 16 at a time (a step), packed as right operands; 512 words of 32 bits a step:
 *   across  [block of SG rows][16 columns][i][lane]: columns 2i, 2i+1 of row `lane` of the block: for products over the columns.
 *   down    [step][block of SG columns][i][lane]: column `lane` of rows 2i, 2i+1 (SG 16) or i, 8+i (SG 8) of the step: for products
 *           over the rows, in the order in which scores become left operands as they stand. */
#define WG       8 /* sub-groups of a group */
#define ITEMS    (SG * WG)
#define ROWS     (8 * MB * WG)
#define ACROSS   (64 / SG) /* blocks of SG columns in a head */
#define PER_STEP (16 / SG) /* blocks of SG rows in a step */
#define WORDS    512       /* 16 * 64 / 2, whatever SG */
#define EACH_BLOCK UNROLL for (int m = 0; m < MB; m++)

#if SG == 16
typedef ushort4 line; /* 64 columns of a row, shared out among the lanes as sums are */
typedef ushort4 part; /* and as left operands are */
#define READ_PART(p)     intel_sub_group_block_read_us4(p)
#define STORE_LINE(p, v) intel_sub_group_block_write_us4(p, v)
#else
typedef ushort8 line;
typedef uint4 part;
#define READ_PART(p)     intel_sub_group_block_read4((const __global uint *)(p))
#define STORE_LINE(p, v) intel_sub_group_block_write_us8(p, v)
#endif

/* Word `at` of a matrix [n, 64] of such words; zeros beyond n. */
inline uint across_word(const __global ushort *from, int ld, int at, int n)
{
    const int lane = at % SG, i = at / SG % 8, block = at / BLOCK, row = block / 4 * SG + lane;
    return row < n ? *(const __global uint *)(from + (size_t)row * ld + block % 4 * 16 + 2 * i) : 0;
}

inline uint down_word(const __global ushort *from, int ld, int at, int n)
{
    const int lane = at % SG, i = at / SG % 8, block = at / BLOCK;
    const int first = block / ACROSS * 16 + (SG == 16 ? 2 * i : i), second = first + (SG == 16 ? 1 : 8);
    const __global ushort *column = from + block % ACROSS * SG + lane;
    const uint low = first < n ? column[(size_t)first * ld] : 0, high = second < n ? column[(size_t)second * ld] : 0;
    return low | high << 16;
}

/* 8 rows of a head, from `row` on, as left operands: x[t] covers columns 16t .. 16t+15. Rows from n on repeat the last. */
inline void load_rows(operand x[4], const __global ushort *from, int ld, int row, int n)
{
    UNROLL for (int r = 0; r < 8; r++) {
        const part p = READ_PART(from + (size_t)min(row + r, n - 1) * ld);
        UNROLL for (int t = 0; t < 4; t++) x[t][r] = p[t];
    }
}

/* Two blocks of SG columns of a score (SG 16: one) become a left operand. */
inline operand pack_scores(const float8 s[PER_STEP])
{
    operand p;
    UNROLL for (int r = 0; r < 8; r++) p[r] = SG == 16 ? to_pair(s[0][r], 0.0f) : to_pair(s[0][r], s[PER_STEP - 1][r]);
    return p;
}
