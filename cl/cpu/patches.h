/* Rows of the pixels that a convolution's outputs depend on, cut as they are needed: channels last, the taps of a row one behind the
 * other. Needs common.h with VW 16 and vectors.h. `piece` is what the channels become: float, or ushort as they lie (bfloat16). */
#ifdef PIECE_16
typedef ushort piece;
#define COPY_16(to, from) ((__global loose_half *)(to))->v = ((const __global loose_half *)(from))->v
#define CLEAR_16(to)      ((__global loose_half *)(to))->v = (ushort16)(0)
#define COPY_1(to, from)  *(to) = *(from)
#else
typedef float piece;
#define COPY_16(to, from) GVEC(to, 0) = LDV(ACT, from, 0)
#define CLEAR_16(to)      GVEC(to, 0) = (float16)(0.0f)
#define COPY_1(to, from)  *(to) = LD(ACT, from, 0)
#endif

/* Images [in_h * in_w, width], of which `channels` columns from x on; a grid of outputs, whose first tap at (i, j) stands at pixel
 * (i * stride + first_y, j * stride + first_x). */
#define P_PATCHES                                                                                                                  \
    const __global act_t *x, uint x_off, int width, int channels, int in_h, int in_w, int grid_h, int grid_w, int first_y,         \
        int first_x, int stride, int kh, int kw
#define PATCHES                                                                                                                    \
    {                                                                                                                              \
        x + x_off, width, channels, in_h, in_w, grid_h, grid_w, first_y, first_x, stride, kh, kw                                   \
    }
typedef struct {
    const __global act_t *x;
    int width, channels, in_h, in_w, grid_h, grid_w, first_y, first_x, stride, kh, kw;
} patches;

/* A row's place in the grid. */
typedef struct {
    int image, i, j;
} patch_place;

inline patch_place place_of(const patches *p, int row)
{
    const int line = row / p->grid_w;
    return (patch_place){line / p->grid_h, line % p->grid_h, row % p->grid_w};
}

inline void next_place(const patches *p, patch_place *at)
{
    if (++at->j < p->grid_w) return;
    at->j = 0;
    if (++at->i < p->grid_h) return;
    at->i = 0;
    at->image++;
}

/* Sixteen at a time, the last ones once more where they are no whole sixteen. */
inline void copy_channels(__global piece *to, const __global act_t *from, int n)
{
    int c = 0;
    for (; c + 16 <= n; c += 16) COPY_16(to + c, from + c);
    if (c == n) return;
    if (n > 16) COPY_16(to + n - 16, from + n - 16);
    else
        for (; c < n; c++) COPY_1(to + c, from + c);
}

inline void clear_channels(__global piece *to, int n)
{
    int c = 0;
    for (; c + 16 <= n; c += 16) CLEAR_16(to + c);
    for (; c < n; c++) to[c] = 0;
}

/* A column of a row: its tap and its channel. */
typedef struct {
    int ky, kx, c;
} patch_column;

inline patch_column column_of(const patches *p, int k)
{
    const int tap = k / p->channels;
    return (patch_column){tap / p->kw, tap % p->kw, k % p->channels};
}

/* n columns from k on of the row at a place. */
inline void cut_row(__global piece *to, const patches *p, patch_place at, patch_column k, int n)
{
    const int y = at.i * p->stride + p->first_y, x = at.j * p->stride + p->first_x;
    const __global act_t *image = p->x + (size_t)at.image * p->in_h * p->in_w * p->width;
    while (n > 0) {
        const int some = min(n, p->channels - k.c);
        const bool there = y + k.ky >= 0 && y + k.ky < p->in_h && x + k.kx >= 0 && x + k.kx < p->in_w;
        if (there) copy_channels(to, image + ((size_t)(y + k.ky) * p->in_w + x + k.kx) * p->width + k.c, some);
        else clear_channels(to, some);
        to += some, n -= some, k.c = 0;
        if (++k.kx == p->kw) k.kx = 0, k.ky++;
    }
}

/* Where a row's outputs go: pixel (i * to_step + to_y, j * to_step + to_x) of images to_h x to_w. */
#define P_PLACE , int to_h, int to_w, int to_step, int to_y, int to_x
#define PLACE_AT(at) (((size_t)(at).image * to_h + (at).i * to_step + to_y) * to_w + (at).j * to_step + to_x)
