/* Convolutions on the tiles of CPU devices (cl/cpu/conv_amx.cl, gemm_amx_grad.cl), in bfloat16. */
#include "conv.h"
#include "cpu.h"
#include "gemm_rows.h"

/* As in the kernel files. LEAST: below, a tile is mostly zeros. */
enum { WIDTH = 64, BLOCK = 32, LINE_WORDS = 16, LEAST = 8, ITEMS_A_THREAD = 4 };

static bool tiles_fit(tn_dtype act, int N, int K)
{
    enum { MOST_DEPTH = 16384 };
    return act == TN_BF16 && N >= LEAST && K >= LEAST && K <= MOST_DEPTH;
}

bool tn_conv_amx_can(const tn_ctx *c, const void *args)
{
    const tn_conv_args *a = args;
    (void)c;
    return tiles_fit(a->C.dtype, a->C.cols, tn_conv_rows_length(&a->rows));
}

bool tn_conv_grad_amx_can(const tn_ctx *c, const void *args)
{
    const tn_conv_grad_args *a = args;
    (void)c;
    return tiles_fit(a->dy.dtype, a->dy.cols, tn_conv_rows_length(&a->rows));
}

/* Rows to a band, which stay in a core's cache beside the tiles, and columns to an item. */
static void cut_items(const tn_ctx *c, int rows, int N, int row_words, int *band, int *cols)
{
    enum { CACHE_WORDS = 96 << 10, MOST = 128 };
    const int want = ITEMS_A_THREAD * (int)c->dev->info.compute_units, groups = TN_CEIL_DIV(N, WIDTH);
    *band = TN_MAX(BLOCK, TN_MIN(MOST, CACHE_WORDS / row_words / BLOCK * BLOCK));
    while (*band > BLOCK && TN_CEIL_DIV(rows, *band) < want) *band = TN_ROUND_UP(*band / 2, BLOCK);
    *cols = WIDTH * TN_CEIL_DIV(groups, TN_MIN(groups, TN_CEIL_DIV(want, TN_CEIL_DIV(rows, *band))));
}

int tn_conv_amx(tn_ctx *c, const void *args, tn_error *err)
{
    enum { FIXED = TN_CONV_ROWS_ARGS + 8 };
    const tn_conv_args *a = args;
    const int rows = tn_conv_rows_count(&a->rows), depth = TN_CEIL_DIV(tn_conv_rows_length(&a->rows), TN_TILE_DEPTH), N = a->C.cols;
    const size_t mark = c->ws_used;
    int band, cols;
    tn_tensor P;
    tn_arg list[FIXED + TN_CONV_PLACE_ARGS + 1 + TN_CPU_SCRATCH_ARGS];
    cut_items(c, rows, N, depth * LINE_WORDS, &band, &cols);
    TN_TRY(tn_gemm_tiles(c, &P, &a->W, err));
    tn_conv_put_rows(list, &a->rows);
    const tn_arg fixed[] = {TN_BUF(P.mem), TN_BUF(a->C.mem), TN_UINT(a->C.off), TN_INT(a->C.ld),
                            TN_INT(rows),  TN_INT(N),        TN_INT(band),      TN_INT(cols)};
    int n = TN_CONV_ROWS_ARGS;
    for (size_t i = 0; i < TN_COUNT(fixed); i++) list[n++] = fixed[i];
    tn_conv_put_place(list + n, a);
    n += TN_CONV_PLACE_ARGS;
    if (a->bias) list[n++] = TN_BUF(a->bias);
    const size_t words = LINE_WORDS + BLOCK * WIDTH + (size_t)(TN_TILE_ROWS + band) * LINE_WORDS * (size_t)depth;
    TN_TRY(tn_cpu_scratch(c, words, list + n, err));
    n += TN_CPU_SCRATCH_ARGS;
    const tn_range range = {2, {(size_t)TN_CEIL_DIV(rows, band), (size_t)TN_CEIL_DIV(N, cols)}, {1, 1}};
    TN_TRY(tn_op_run(c, "cpu/conv_amx.cl", "conv_amx", a->bias ? "-DBIAS" : "", list, n, &range, err));
    c->ws_used = mark;
    return 0;
}

/* ---- the kernel's gradient ---- */

int tn_conv_grad_amx(tn_ctx *c, const void *args, tn_error *err)
{
    enum { DEPTH = 8, TALL = 16, WIDE = 16, LEAST_ROWS = 128, FIXED = TN_CONV_ROWS_ARGS + 14 };
    const tn_conv_grad_args *a = args;
    const int M = a->dy.rows, N = a->dy.cols, K = tn_conv_rows_length(&a->rows);
    const int tall = TN_MIN(TALL, 2 * TN_CEIL_DIV(N, 2 * TN_TILE_ROWS)), wide = TN_MIN(WIDE, 2 * TN_CEIL_DIV(K, 2 * TN_TILE_ROWS));
    const int down = TN_CEIL_DIV(N, tall * TN_TILE_ROWS), across = TN_CEIL_DIV(K, wide * TN_TILE_ROWS);
    const int want = TN_CEIL_DIV(ITEMS_A_THREAD * (int)c->dev->info.compute_units, down * across);
    const int rows = TN_ROUND_UP(TN_CEIL_DIV(M, TN_MAX(1, TN_MIN(want, M / LEAST_ROWS))), TN_TILE_DEPTH),
              splits = TN_CEIL_DIV(M, rows);
    const size_t mark = c->ws_used, words = TN_TILE_ROWS + TN_TILE_WORDS * (size_t)(tall * wide + DEPTH * (tall + wide) + wide);
    tn_tensor P;
    tn_arg list[FIXED + TN_CPU_SCRATCH_ARGS];
    TN_TRY(tn_ws_take(c, &P, TN_F32, splits * N, K, err));
    tn_conv_put_rows(list, &a->rows);
    const tn_arg fixed[] = {TN_BUF(a->dy.mem), TN_UINT(a->dy.off), TN_INT(a->dy.ld), TN_BUF(P.mem),  TN_INT(N),
                            TN_INT(K),         TN_INT(M),          TN_INT(rows),     TN_INT(splits), TN_INT(tall),
                            TN_INT(wide),      TN_INT(false),      TN_UINT(0),       TN_UINT(0)};
    for (size_t i = 0; i < TN_COUNT(fixed); i++) list[TN_CONV_ROWS_ARGS + i] = fixed[i];
    TN_TRY(tn_cpu_scratch(c, words, list + FIXED, err));
    const tn_range range = {3, {(size_t)across, (size_t)down, (size_t)splits}, {1, 1, 1}};
    TN_TRY(tn_op_run(c, "cpu/gemm_amx_grad.cl", "gemm_amx_grad", "-DCUT", list, TN_COUNT(list), &range, err));
    const tn_gemm_args end = {.alpha = 1, .beta = a->add ? 1 : 0, .C = a->sum, .M = N, .N = K};
    TN_TRY(tn_gemm_sum(c, &P, splits, &end, NULL, err));
    c->ws_used = mark;
    return 0;
}
