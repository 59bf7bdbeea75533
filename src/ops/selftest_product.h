/** A product of the self-test: its matrices on the device and on the host, and what src/ref makes of them. */
#ifndef TN_SELFTEST_PRODUCT_H
#define TN_SELFTEST_PRODUCT_H
#include "ref.h"
#include "selftest.h"

/** What one product asks for. */
typedef struct {
    bool ta, tb;
    float alpha, beta; /* alpha 0: a half */
    bool float_b;      /* B stays float32 */
    bool float_c;      /* C is float32 */
    bool pieces;       /* rows of A and B begin at 16-byte multiples, in wider matrices */
    bool bias, pre, slope, scale, residual;
    bool pre_slope, ready; /* pre is the activation's slope, slope is one */
    int act;               /* 1 + tn_fn */
    int parts, r;
    bool tb2;
    float drop_a, drop_b, drop_e;
    bool bits;    /* of the only mask, drawn before; its columns are a multiple of 32 */
    bool padded;  /* the [M, N] tensors are columns of wider ones */
    bool aligned; /* and begin at a multiple of eight elements */
    int batch;
    int quantised; /* matrices that B is, nf4 ones unless `format` (1 + tn_qtype) says otherwise; 0: B is dense */
    int format;
    bool nested;
    int M, N, K; /* 0: the trial's size */
} tn_product_case;

/** How the matrices are stored: as the kind that is checked has it, or activations times a weight. */
typedef struct {
    tn_dtype a, b, c, a2, b2;
} tn_product_types;

/** Its tensors on the device and on the host. */
typedef struct {
    tn_product_types y;
    tn_gemm_args g;
    tn_ref_product ref;
    tn_tensor *C, *pre;
    float *c, *c_want, *pre_host, *pre_want;
    int at; /* of the first column in the wide tensors */
    tn_qtensor q[TN_UNPACK_PARTS];
} tn_product;

tn_product_types tn_product_types_of(const tn_trial *t, const tn_product_case *p);
/** Freed by a rewind of the trial; m->q by tn_product_one. */
int tn_product_make(tn_trial *t, const tn_product_case *p, tn_product *m);
/** Makes, runs and compares one product, where the trial wants it. */
int tn_product_one(tn_trial *t, const tn_product_case *p);
/** The draws of a mask [rows, cols] in a tensor of the trial's, for the product to read. cols: a multiple of 32. */
int tn_product_bits(tn_trial *t, tn_gemm_args *g, tn_mask m, int rows, int cols);
/** What dropout makes of host values. */
void tn_product_drop(float *values, int rows, int cols, int ld, tn_mask m);
/** Beside the row in question, and where none is: the tail over the portable kernel. */
int tn_product_tail(tn_trial *t, const tn_gemm_args *g, bool *ran);
/** Sizes for a product like t->like, which is none too large: odd ones at the first size, then as whole as its own. */
void tn_product_sizes_alike(const tn_trial *t, int *M, int *N, int *K);
/** Such a product with everything that t->like has at its end. */
int tn_product_alike(tn_trial *t);
#endif
