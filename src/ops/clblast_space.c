/* The numbers that CLBlast 1.5's tuners (src/tuning/kernels of its sources) try exhaustively, and what they ask of them. */
#include "clblast.h"

#include <stdio.h>
#include <string.h>

#define OWN (-1)

/* CLBlast's first kernel: tiles in local memory or not. */
enum {
    K0_GEMMK,
    K0_KREG,
    K0_KWG,
    K0_KWI,
    K0_MDIMA,
    K0_MDIMC,
    K0_MWG,
    K0_NDIMB,
    K0_NDIMC,
    K0_NWG,
    K0_SA,
    K0_SB,
    K0_STRM,
    K0_STRN,
    K0_VWM,
    K0_VWN
};
static const struct tn_clblast_number kernel0[] = {
    {"GEMMK", OWN, {0}, 1},         {"KREG", OWN, {1}, 1},         {"KWG", OWN, {32}, 1},         {"KWI", OWN, {2}, 1},
    {"MDIMA", OWN, {8, 16, 32}, 3}, {"MDIMC", K0_MDIMA, {0}, 0},   {"MWG", OWN, {16, 32, 64}, 3}, {"NDIMB", OWN, {8, 16, 32}, 3},
    {"NDIMC", K0_NDIMB, {0}, 0},    {"NWG", OWN, {16, 32, 64}, 3}, {"SA", OWN, {0, 1}, 2},        {"SB", K0_SA, {0}, 0},
    {"STRM", OWN, {0}, 1},          {"STRN", OWN, {0}, 1},         {"VWM", OWN, {1, 2, 4}, 3},    {"VWN", OWN, {1, 2, 4}, 3},
};

/* Its second: registers alone. */
static const struct tn_clblast_number kernel1[] = {
    {"GEMMK", OWN, {1}, 1},        {"KREG", OWN, {1, 2, 4}, 3},   {"KWG", OWN, {1}, 1},          {"KWI", OWN, {1}, 1},
    {"MDIMA", OWN, {4, 8, 16}, 3}, {"MDIMC", K0_MDIMA, {0}, 0},   {"MWG", OWN, {16, 32, 64}, 3}, {"NDIMB", OWN, {4, 8, 16}, 3},
    {"NDIMC", K0_NDIMB, {0}, 0},   {"NWG", OWN, {16, 32, 64}, 3}, {"SA", OWN, {0}, 1},           {"SB", OWN, {0}, 1},
    {"STRM", OWN, {0}, 1},         {"STRN", OWN, {0}, 1},         {"VWM", OWN, {1, 2, 4}, 3},    {"VWN", K0_VWM, {0}, 0},
};

static bool group_fits(int x, int y, size_t group)
{
    return (size_t)x * (size_t)y <= group;
}

static bool tiles_divide(const int *v)
{
    return v[K0_MWG] % (v[K0_MDIMC] * v[K0_VWM]) == 0 && v[K0_NWG] % (v[K0_NDIMC] * v[K0_VWN]) == 0;
}

static bool kernel0_fits(const int *v, size_t local, size_t group)
{
    const size_t bytes = 4 * (size_t)v[K0_KWG] * (size_t)(v[K0_SA] * v[K0_MWG] + v[K0_SB] * v[K0_NWG]);
    return tiles_divide(v) && v[K0_KWG] % v[K0_MDIMC] == 0 && v[K0_KWG] % v[K0_NDIMC] == 0 && bytes <= local &&
           group_fits(v[K0_MDIMC], v[K0_NDIMC], group);
}

static bool kernel1_fits(const int *v, size_t local, size_t group)
{
    (void)local;
    return tiles_divide(v) && v[K0_KREG] % v[K0_VWN] == 0 && group_fits(v[K0_MDIMC], v[K0_NDIMC], group);
}

enum { D_KWID, D_MDIMAD, D_MDIMCD, D_NDIMBD, D_NDIMCD, D_PADA, D_PADB, D_VWMD, D_VWND, D_WGD };
static const struct tn_clblast_number direct[] = {
    {"KWID", OWN, {2}, 1},          {"MDIMAD", OWN, {8, 16, 32}, 3}, {"MDIMCD", D_MDIMAD, {0}, 0}, {"NDIMBD", OWN, {8, 16, 32}, 3},
    {"NDIMCD", D_NDIMBD, {0}, 0},   {"PADA", OWN, {1}, 1},           {"PADB", OWN, {1}, 1},        {"VWMD", OWN, {1, 2, 4, 8}, 4},
    {"VWND", OWN, {1, 2, 4, 8}, 4}, {"WGD", OWN, {8, 16, 32}, 3},
};

static bool direct_fits(const int *v, size_t local, size_t group)
{
    const int tile = v[D_WGD];
    const size_t bytes = 4 * (size_t)tile * (size_t)(2 * tile + v[D_PADA] + v[D_PADB]);
    return tile % (v[D_MDIMCD] * v[D_VWMD]) == 0 && tile % (v[D_NDIMCD] * v[D_VWND]) == 0 && tile % v[D_MDIMCD] == 0 &&
           tile % v[D_NDIMCD] == 0 && bytes <= local && group_fits(v[D_MDIMCD], v[D_NDIMCD], group);
}

/* From which size on the other kernels run instead of the direct one. */
static const struct tn_clblast_number routine[] = {{"XGEMM_MIN_INDIRECT_SIZE", OWN, {64, 192, 320, 448, 640, 896, 1408, 2048}, 8}};

static const struct tn_clblast_number copies[] = {{"COPY_DIMX", OWN, {8, 16, 32}, 3},
                                                  {"COPY_DIMY", OWN, {8, 16, 32}, 3},
                                                  {"COPY_VW", OWN, {1, 2, 4, 8}, 4},
                                                  {"COPY_WPT", OWN, {1, 2, 4, 8}, 4}};
static const struct tn_clblast_number pads[] = {{"PAD_DIMX", OWN, {8, 16, 32}, 3},
                                                {"PAD_DIMY", OWN, {8, 16, 32}, 3},
                                                {"PAD_WPTX", OWN, {1, 2, 4}, 3},
                                                {"PAD_WPTY", OWN, {1, 2, 4}, 3}};

static bool first_two_fit(const int *v, size_t local, size_t group)
{
    (void)local;
    return group_fits(v[0], v[1], group);
}

enum { T_DIM, T_PAD, T_SHUFFLE, T_WPT };
static const struct tn_clblast_number transposes[] = {{"TRA_DIM", OWN, {4, 8, 16, 32, 64}, 5},
                                                      {"TRA_PAD", OWN, {0, 1}, 2},
                                                      {"TRA_SHUFFLE", OWN, {0, 1}, 2},
                                                      {"TRA_WPT", OWN, {1, 2, 4, 8, 16}, 5}};

static bool transpose_fits(const int *v, size_t local, size_t group)
{
    const size_t bytes = 4 * (size_t)(v[T_WPT] * v[T_WPT] * v[T_DIM]) * (size_t)(v[T_DIM] + v[T_PAD]);
    return bytes <= local && group_fits(v[T_DIM], v[T_DIM], group);
}

enum { P_PAD, P_TILE, P_WPT };
static const struct tn_clblast_number padtransposes[] = {
    {"PADTRA_PAD", OWN, {0, 1}, 2}, {"PADTRA_TILE", OWN, {8, 16, 32, 64}, 4}, {"PADTRA_WPT", OWN, {1, 2, 4, 8, 16}, 5}};

static bool padtranspose_fits(const int *v, size_t local, size_t group)
{
    const int wide = v[P_WPT] * v[P_TILE];
    return 4 * (size_t)wide * (size_t)(wide + v[P_PAD]) <= local && group_fits(v[P_TILE], v[P_TILE], group);
}

#define SPACE(kernel, numbers, fits, share)                                                                                        \
    {                                                                                                                              \
        kernel, numbers, TN_COUNT(numbers), fits, share                                                                            \
    }
const tn_clblast_space tn_clblast_spaces[] = {
    SPACE("Xgemm", kernel0, kernel0_fits, 0.35),
    SPACE("Xgemm", kernel1, kernel1_fits, 0.3),
    SPACE("XgemmDirect", direct, direct_fits, 0.4),
    SPACE("GemmRoutine", routine, NULL, 0.4),
    SPACE("Pad", pads, first_two_fit, 0.3),
    SPACE("Padtranspose", padtransposes, padtranspose_fits, 0.4),
    SPACE("Copy", copies, first_two_fit, 0.5),
    SPACE("Transpose", transposes, transpose_fits, 1),
    {.kernel = NULL},
};

static void draw_one(int *v, const tn_clblast_space *s, int i, tn_rng *r)
{
    const struct tn_clblast_number *p = &s->numbers[i];
    if (p->as < 0) v[i] = p->values[tn_rng_below(r, (uint32_t)p->n)];
}

static void settle(int *v, const tn_clblast_space *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->numbers[i].as >= 0) v[i] = v[s->numbers[i].as];
}

bool tn_clblast_draw(int *v, const tn_clblast_space *s, const int *near, size_t local_memory, size_t group, tn_rng *r)
{
    enum { TRIES = 2000 };
    for (int k = 0; k < TRIES; k++) {
        if (near) memcpy(v, near, sizeof *v * (size_t)s->n);
        if (near) draw_one(v, s, (int)tn_rng_below(r, (uint32_t)s->n), r);
        for (int i = 0; !near && i < s->n; i++) draw_one(v, s, i, r);
        settle(v, s);
        if (!s->fits || s->fits(v, local_memory, group)) return true;
    }
    return false;
}

void tn_clblast_write(char *out, size_t n, const tn_clblast_space *s, const int *v)
{
    size_t at = (size_t)snprintf(out, n, "%s", s->kernel);
    for (int i = 0; i < s->n && at < n; i++) at += (size_t)snprintf(out + at, n - at, " %s=%d", s->numbers[i].name, v[i]);
}
