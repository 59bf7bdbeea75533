/* What lanes get from each other on Intel's, AMD's and NVIDIA's GPUs, as the documents say it:
 *   dpas, block reads          cl_intel_subgroup_matrix_multiply_accumulate, cl_intel_subgroups(_short), _2d_block_io
 *   MFMA, WMMA                 AMD's matrix instruction calculator, "register to matrix element mapping"
 *   permlanex16, ds_bpermute   LLVM's AMDGPU builtins, the RDNA3 and CDNA2 instruction sets
 *   mma.m16n8k16, ldmatrix     PTX ISA, "matrix fragments for mma.m16n8k16 with floating point type", "ldmatrix"
 * So a wrong layout in a kernel shows; a wrong reading of a document, or a document that is wrong, does not. */
#include "lanes.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t word;
enum { TAG_READ = 1, TAG_WRITE, TAG_DPAS, TAG_REDUCE, TAG_ANY, TAG_LANE, TAG_MMA };

static float word_to_float(int bf16, word w)
{
    if (bf16) {
        const uint32_t u = (uint32_t)w << 16;
        float f;
        memcpy(&f, &u, sizeof f);
        return f;
    }
    _Float16 h;
    memcpy(&h, &w, sizeof h);
    return (float)h;
}

/* ---- Intel ---- */

void emu_block_read(const char *p, int bytes, int count, char *to);
void emu_block_write(char *p, int bytes, int count, const char *from);
void emu_touch(const char *p, int bytes);
void emu_read_2d(const char *p, int width, int height, int pitch, int x, int y, int rows, int blocks, word *to);
void emu_dpas(int bf16, int size, const void *a, const void *b, float *c);
float emu_reduce(int most, float v);
int emu_any(int v);

/* Element i of lane l is p[i * lanes + l]; reads need 4 bytes of alignment, writes 16. */
static void check_block(const char *p, int tag, uintptr_t align)
{
    emu_leave(tag, &p, sizeof p);
    if (memcmp(emu_left(0), &p, sizeof p) != 0) emu_fail("block access: the pointer differs among lanes");
    if ((uintptr_t)p % align) emu_fail("block access: not aligned");
}
void emu_block_read(const char *p, int bytes, int count, char *to)
{
    check_block(p, TAG_READ, 4);
    for (int i = 0; i < count; i++) memcpy(to + i * bytes, p + (i * emu_lanes() + (int)emu_lane()) * bytes, (size_t)bytes);
}
void emu_block_write(char *p, int bytes, int count, const char *from)
{
    check_block(p, TAG_WRITE, 16);
    for (int i = 0; i < count; i++) memcpy(p + (i * emu_lanes() + (int)emu_lane()) * bytes, from + i * bytes, (size_t)bytes);
}

static volatile char touched;
void emu_touch(const char *p, int bytes)
{
    touched = p[(int)emu_lane() * bytes];
}

/* For each block of 16 columns and each row, one element a lane. Outside: the text promises nothing, so NaN. */
void emu_read_2d(const char *p, int width, int height, int pitch, int x, int y, int rows, int blocks, word *to)
{
    if (emu_lanes() != 16 || (uintptr_t)p % 64 || width < 64 || width % 4 || pitch < width || pitch % 16 || x % 2)
        emu_fail("2D block read: a restriction of cl_intel_subgroup_2d_block_io");
    for (int b = 0; b < blocks; b++)
        for (int r = 0; r < rows; r++) {
            const int column = x + 16 * b + (int)emu_lane();
            const int in = column >= 0 && column * 2 < width && y + r >= 0 && y + r < height;
            to[b * rows + r] = 0xffff;
            if (in) memcpy(&to[b * rows + r], p + (size_t)(y + r) * (size_t)pitch + column * 2, sizeof *to);
        }
}

/* c[r] += sum over k of a[row r][k] * b[k][this lane]. Row r of a: an equal part from each lane, in the lanes' order. */
void emu_dpas(int bf16, int size, const void *a, const void *b, float *c)
{
    if (emu_lanes() != size) emu_fail("dpas: the overload is for another sub-group size");
    emu_leave(TAG_DPAS, a, 256 / size); /* 8 rows of 16 elements of 2 bytes, shared out */
    const int each = 16 / size;
    for (int r = 0; r < 8; r++) {
        double s = c[r];
        for (int k = 0; k < 16; k++)
            s += (double)word_to_float(bf16, ((const word *)emu_left(k / each))[r * each + k % each]) *
                 (double)word_to_float(bf16, ((const word *)b)[k]);
        c[r] = (float)s;
    }
}

float emu_reduce(int most, float v)
{
    emu_leave(TAG_REDUCE, &v, sizeof v);
    float s = most ? -INFINITY : 0;
    for (int l = 0; l < emu_lanes(); l++) {
        float x;
        memcpy(&x, emu_left(l), sizeof x);
        s = most ? fmaxf(s, x) : s + x;
    }
    return s;
}

int emu_any(int v)
{
    emu_leave(TAG_ANY, &v, sizeof v);
    for (int l = 0; l < emu_lanes(); l++)
        if (*(const int *)emu_left(l)) return 1;
    return 0;
}

/* ---- AMD ---- */

unsigned emu_from_lane(unsigned v, unsigned lane);
void emu_mma(int unit, int bf16, const void *a, const void *b, int bytes, float *c);

unsigned emu_from_lane(unsigned v, unsigned lane)
{
    emu_leave(TAG_LANE, &v, sizeof v);
    memcpy(&v, emu_left((int)lane % emu_lanes()), sizeof v);
    return v;
}

/* Where element k of row i of the first operand (and of column i of the second) lies; which row of D sum e of a lane is. */
static int mma_lane(int unit, int i, int k)
{
    return unit == 9 ? i + 32 * (k / 4) : unit == 11 ? i : i + 16 * (k / 4 % 2);
}
static int mma_place(int unit, int k)
{
    return unit == 9 ? k % 4 : unit == 11 ? k : k / 8 * 4 + k % 4;
}
static int mma_row(int unit, int lane, int e)
{
    return unit == 9 ? 8 * (e / 4) % 32 + 4 * (lane / 32) + e % 4 : unit == 11 ? 2 * e + lane / 16 : 8 * (lane / 16) + e;
}

void emu_mma(int unit, int bf16, const void *a, const void *b, int bytes, float *c)
{
    const int size = unit == 9 ? 32 : 16, depth = unit == 9 ? 8 : 16, lane = (int)emu_lane();
    char both[MOST_SHARED];
    if (emu_lanes() != (unit == 9 ? 64 : 32)) emu_fail("matrix instruction: waves of another size");
    memcpy(both, a, (size_t)bytes);
    memcpy(both + bytes, b, (size_t)bytes);
    emu_leave(TAG_MMA, both, 2 * bytes);
    if (unit == 11 && memcmp(emu_left(lane), emu_left(lane ^ 16), 2 * (size_t)bytes) != 0)
        emu_fail("WMMA: the operands of the wave's halves differ");
    for (int e = 0; e < size / 2; e++) {
        const int i = mma_row(unit, lane, e), j = lane % size;
        double s = c[e];
        for (int k = 0; k < depth; k++) {
            const word *x = emu_left(mma_lane(unit, i, k)),
                       *y = (const word *)((const char *)emu_left(mma_lane(unit, j, k)) + bytes);
            s += (double)word_to_float(bf16, x[mma_place(unit, k)]) * (double)word_to_float(bf16, y[mma_place(unit, k)]);
        }
        c[e] = (float)s;
    }
}

/* ---- NVIDIA ---- */

void emu_mma80(int bf16, const unsigned *a, const unsigned *b, float *c);

/* Element k of row i of the first operand lies with lane 4 (i % 8) + k % 8 / 2, that of column j of the second with 4 j + k % 8
 * / 2. */
void emu_mma80(int bf16, const unsigned *a, const unsigned *b, float *c)
{
    const int lane = (int)emu_lane();
    unsigned both[6];
    if (emu_lanes() != 32) emu_fail("mma.sync: warps of another size");
    memcpy(both, a, 4 * sizeof *a);
    memcpy(both + 4, b, 2 * sizeof *b);
    emu_leave(TAG_MMA, both, sizeof both);
    for (int e = 0; e < 4; e++) {
        const int i = lane / 4 + e / 2 * 8, j = lane % 4 * 2 + e % 2;
        double s = c[e];
        for (int k = 0; k < 16; k++) {
            const word *x = emu_left(i % 8 * 4 + k % 8 / 2), *y = emu_left(j * 4 + k % 8 / 2);
            s += (double)word_to_float(bf16, x[(i / 8 + k / 8 * 2) * 2 + k % 2]) *
                 (double)word_to_float(bf16, y[8 + k / 8 * 2 + k % 2]);
        }
        c[e] = (float)s;
    }
}

/* ldmatrix: row i % 8 of block i / 8 lies where lane i says; lane 4r + q gets two numbers of each block, in row r, or transposed in
 * column r. */
unsigned emu_address(const void *p);
void *emu_at(unsigned address);
void emu_matrix(int transposed, unsigned at, unsigned *words);
static uintptr_t upper; /* of the addresses of local memory */

unsigned emu_address(const void *p)
{
    upper = (uintptr_t)p & ~(uintptr_t)UINT32_MAX;
    return (unsigned)(uintptr_t)p;
}

void *emu_at(unsigned address)
{
    return (void *)(upper | address); /* NOLINT(performance-no-int-to-ptr): what emu_address was given */
}

static word element_at(int block, int row, int column)
{
    return ((const word *)emu_at(*(const unsigned *)emu_left(block * 8 + row)))[column];
}

void emu_matrix(int transposed, unsigned at, unsigned *words)
{
    const int r = (int)emu_lane() / 4, q = (int)emu_lane() % 4;
    if (at % 16) emu_fail("ldmatrix: a row that is not aligned to 16 bytes");
    emu_leave(TAG_READ, &at, sizeof at);
    for (int i = 0; i < 4; i++) {
        const word low = transposed ? element_at(i, 2 * q, r) : element_at(i, r, 2 * q);
        const word high = transposed ? element_at(i, 2 * q + 1, r) : element_at(i, r, 2 * q + 1);
        words[i] = low | (unsigned)high << 16;
    }
}
