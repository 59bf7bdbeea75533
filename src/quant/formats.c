/* The format table, block sizes, and the sizes that follow. */
#include "quant.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

static const float nf4[16] = {-1.0f,
                              -0.6961928009986877f,
                              -0.5250730514526367f,
                              -0.39491748809814453f,
                              -0.28444138169288635f,
                              -0.18477343022823334f,
                              -0.09105003625154495f,
                              0.0f,
                              0.07958029955625534f,
                              0.16093020141124725f,
                              0.24611230194568634f,
                              0.33791524171829224f,
                              0.44070982933044434f,
                              0.5626170039176941f,
                              0.7229568362236023f,
                              1.0f};
static const float fp4[16] = {0.0f,  0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  6.0f / 12,  2.0f / 12,  3.0f / 12,
                              -0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12};
static const float sint4[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
static const float uint4[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const float e2m1[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6};

const tn_qformat tn_qformats[TN_Q_TYPES] = {
    /* name, bits, codes, rounds, low first, along rows, zero point, nestable, scale, blocks, worst error */
    [TN_Q_NF4] = {"nf4", 4, nf4, false, false, false, false, true, TN_QS_F32, 32, 4096, 64, 0.1520},
    [TN_Q_FP4] = {"fp4", 4, fp4, false, false, false, false, true, TN_QS_F32, 32, 4096, 64, 0.1667},
    [TN_Q_INT4] = {"int4", 4, sint4, true, true, true, false, false, TN_QS_F32, 32, 128, 64, 0.0668},
    [TN_Q_INT4_ASYM] = {"int4_asym", 4, uint4, true, true, true, true, false, TN_QS_F32, 32, 128, 64, 0.1335},
    [TN_Q_INT8] = {"int8", 8, NULL, true, false, true, false, false, TN_QS_F32, 0, 0, 0, 0.00394},
    [TN_Q_MXFP4] = {"mxfp4", 4, e2m1, false, true, true, false, false, TN_QS_E8M0, 32, 32, 32, 0.2501},
    [TN_Q_NVFP4] = {"nvfp4", 4, e2m1, false, true, true, false, false, TN_QS_E4M3, 16, 16, 16, 0.2240},
};

int tn_qtype_find(tn_qtype *out, const char *name, tn_error *err)
{
    tn_text known = {0};
    for (int i = 0; i < TN_Q_TYPES; i++) {
        tn_text_addf(&known, "%s%s", i ? ", " : "", tn_qformats[i].name);
        if (strcmp(tn_qformats[i].name, name)) continue;
        tn_text_free(&known);
        *out = (tn_qtype)i;
        return 0;
    }
    int rc = tn_fail(err, TN_ERR_CONFIG, "quant_type '%s' is not known; there are %s", name, known.s ? known.s : "");
    tn_text_free(&known);
    return rc;
}

int tn_qblock(int *block, tn_qtype type, int asked, int cols, const char *name, tn_error *err)
{
    const tn_qformat *f = &tn_qformats[type];
    const int b = f->max_block == 0 ? cols : asked ? asked : f->default_block;
    if (f->max_block && (b < f->min_block || b > f->max_block || (b & (b - 1)))) {
        if (f->min_block == f->max_block)
            return tn_fail(err, TN_ERR_CONFIG, "%s: block size %d; %s has blocks of %d", name, b, f->name, f->min_block);
        return tn_fail(err, TN_ERR_CONFIG, "%s: block size %d; %s takes powers of two from %d to %d", name, b, f->name,
                       f->min_block, f->max_block);
    }
    if (f->along_row && cols % b)
        return tn_fail(err, TN_ERR_CONFIG,
                       "%s: rows of %d are no multiple of %s's blocks of %d; name it in skip_modules or "
                       "choose another block size",
                       name, cols, f->name, b);
    *block = b;
    return 0;
}

bool tn_qdivides(tn_qtype type, int asked, int cols)
{
    const tn_qformat *f = &tn_qformats[type];
    const int b = f->max_block == 0 ? cols : asked ? asked : f->default_block;
    return !f->along_row || cols % b == 0;
}

static size_t formats_count(const tn_qshape *s)
{
    return (size_t)s->rows * (size_t)s->cols;
}

bool tn_qshape_equal(const tn_qshape *a, const tn_qshape *b)
{
    return a->type == b->type && a->rows == b->rows && a->cols == b->cols && a->block == b->block && a->nested == b->nested;
}

size_t tn_qblocks(const tn_qshape *s)
{
    return s->block ? TN_CEIL_DIV(formats_count(s), (size_t)s->block) : 0;
}

size_t tn_qpacked_bytes(const tn_qshape *s)
{
    return tn_qformats[s->type].bits == 8 ? formats_count(s) : (formats_count(s) + 1) / 2;
}

tn_qscale_kind tn_qscale_of(const tn_qshape *s)
{
    return s->nested ? TN_QS_NESTED : tn_qformats[s->type].scale;
}

size_t tn_qscale_bytes(const tn_qshape *s)
{
    return tn_qblocks(s) * (tn_qscale_of(s) == TN_QS_F32 ? 4 : 1);
}

size_t tn_qnested_count(const tn_qshape *s)
{
    return s->nested ? TN_CEIL_DIV(tn_qblocks(s), (size_t)TN_NESTED_BLOCK) : 0;
}

size_t tn_qzero_bytes(const tn_qshape *s)
{
    return tn_qformats[s->type].zero_point ? tn_qblocks(s) : 0;
}

size_t tn_qbytes(const tn_qshape *s)
{
    return tn_qpacked_bytes(s) + tn_qscale_bytes(s) + 4 * tn_qnested_count(s) + tn_qzero_bytes(s);
}
