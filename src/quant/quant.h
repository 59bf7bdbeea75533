/**
 * Low-bit storage of a weight matrix, on the host: the reference that every device follows to the byte.
 *
 * A matrix [rows, cols] is flattened row-major and cut into blocks that share a scale. Two steps make the storage:
 * the range of each block decides its scale (tn_qscales_set), and the scales decide the codes (tn_qencode). A device
 * does the first half of the one and all of the other (ops/quant_ops.c).
 */
#ifndef TN_QUANT_H
#define TN_QUANT_H
#include "fail.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tn_qtype {
    TN_Q_NF4,       /* Dettmers et al., QLoRA, 2023 */
    TN_Q_FP4,       /* bitsandbytes' 4-bit float; not E2M1 */
    TN_Q_INT4,      /* symmetric: w = (q - 8) s */
    TN_Q_INT4_ASYM, /* w = (q - z) s */
    TN_Q_INT8,      /* a scale for each row (LLM.int8) */
    TN_Q_MXFP4,     /* E2M1 with a power of two for 32 elements (OCP Microscaling 1.0) */
    TN_Q_NVFP4,     /* E2M1 with an E4M3 scale for 16 elements and a float for the tensor */
    TN_Q_TYPES
} tn_qtype;

/** How a block's scale is stored. Kernels know these numbers (QSCALE). */
typedef enum tn_qscale_kind { TN_QS_F32, TN_QS_NESTED, TN_QS_E8M0, TN_QS_E4M3 } tn_qscale_kind;

/** A row of the format table: a new format is a new row. */
typedef struct tn_qformat {
    const char *name;
    int bits;                                /* of a code: 4 or 8 (int8: two's complement) */
    const float *code;                       /* value of each of 16 codes; NULL for int8 */
    bool rounds;                             /* codes are rounded integers; otherwise looked up by threshold */
    bool low_first;                          /* byte i holds element 2i in its low nibble (else high, as bitsandbytes) */
    bool along_row;                          /* blocks may not run across rows: the block divides cols */
    bool zero_point;                         /* one byte a block */
    bool nestable;                           /* scales may themselves be quantised (double quantisation) */
    tn_qscale_kind scale;                    /* when not nested */
    int min_block, max_block, default_block; /* powers of two; 0: the row */
    double worst_error;                      /* largest |w - w'| as a part of the block's largest |w| */
} tn_qformat;
extern const tn_qformat tn_qformats[TN_Q_TYPES];
/** TN_ERR_CONFIG with the known names when there is none. */
int tn_qtype_find(tn_qtype *out, const char *name, tn_error *err);
/** The block a format uses for `asked` (0: its default) in rows of `cols`. TN_ERR_CONFIG naming `name` if it forbids it. */
int tn_qblock(int *block, tn_qtype type, int asked, int cols, const char *name, tn_error *err);
/** Does the format's block divide rows of `cols`? */
bool tn_qdivides(tn_qtype type, int asked, int cols);

enum { TN_NESTED_BLOCK = 256 };

/** Everything a quantised matrix consists of, and no pointer: sizes follow from it. */
typedef struct tn_qshape {
    tn_qtype type;
    int rows, cols, block;
    bool nested; /* double quantisation: scales in 8 bits */
} tn_qshape;
bool tn_qshape_equal(const tn_qshape *a, const tn_qshape *b);
size_t tn_qblocks(const tn_qshape *s);
size_t tn_qpacked_bytes(const tn_qshape *s);
size_t tn_qscale_bytes(const tn_qshape *s);  /* scales as stored, nested statistics apart */
size_t tn_qnested_count(const tn_qshape *s); /* floats; 0 when not nested */
size_t tn_qzero_bytes(const tn_qshape *s);
size_t tn_qbytes(const tn_qshape *s); /* all together */
/** How this matrix' scales are stored. */
tn_qscale_kind tn_qscale_of(const tn_qshape *s);

typedef struct tn_qmatrix {
    tn_qshape s;
    size_t n_blocks;
    uint8_t *packed;
    float *absmax;        /* TN_QS_F32: the block's largest |w| (nf4, fp4, int8) or its scale (int4) */
    uint8_t *scale_q;     /* the other kinds */
    float *nested_absmax; /* one for each 256 blocks, when nested */
    uint8_t *zero;        /* zero points, where the format has them */
    float offset;         /* nested: mean of absmax; nvfp4: the tensor's scale */
} tn_qmatrix;

/** The smallest and largest element of a block. */
typedef struct tn_qrange {
    float min, max;
} tn_qrange;

/** w [rows, cols]. A NaN or infinity is TN_ERR_NUMERIC naming `name`. block 0: the default. Free with tn_qmatrix_free. */
int tn_quantize(tn_qmatrix *q, const float *w, const tn_qshape *shape, const char *name, tn_error *err);
void tn_qmatrix_free(tn_qmatrix *q);
void tn_dequantize(const tn_qmatrix *q, float *w);
/** Allocates the arrays of a shape (codes zeroed). */
int tn_qmatrix_new(tn_qmatrix *q, const tn_qshape *shape, tn_error *err);

/* ---- the two steps, for devices ---- */
/** Scales, zero points and nested statistics from the blocks' ranges; mul[n_blocks]: what an element is multiplied with
 * before its code is chosen (the last, partial block of nf4 and fp4 divides instead: see tn_qencode). */
int tn_qscales_set(tn_qmatrix *q, const tn_qrange *range, float *mul, tn_error *err);
/** The ladder of a looked-up format: code order[i] is taken when u > above[i-1] and not u > above[i]. */
typedef struct tn_qladder {
    uint8_t order[16];
    float above[15];
} tn_qladder;
/** Of a format that does not round. */
tn_qladder tn_qladder_of(tn_qtype type);
/** Codes of elements [first, end) of block b; w points at element `first`. l: of the type, unread where it rounds. */
void tn_qencode(tn_qmatrix *q, const tn_qladder *l, const float *w, size_t b, size_t first, size_t end, float mul);

/** The scale of block b as dequantisation uses it; map from tn_dynamic_map. */
float tn_qmatrix_scale(const tn_qmatrix *q, const float map[256], size_t b);
/** Double quantisation of absmax[nb] (bitsandbytes' CPU path): offset, nested_absmax, scale_q. */
void tn_nest_scales(tn_qmatrix *q, const float *absmax);
/** bitsandbytes' signed dynamic map (create_dynamic_map), to the bit, sorted. */
void tn_dynamic_map(float map[256]);
/** E4M3 (no infinities, 448 the largest): rounding to nearest even, saturating; x >= 0. */
uint8_t tn_f32_to_e4m3(float x);
float tn_e4m3_to_f32(uint8_t v);
/** 2^(e - 127). */
float tn_e8m0_to_f32(uint8_t e);
#define TN_INT8_STEP 7.874015718698502e-3f /* 1/127, as bitsandbytes writes it */
#endif
