/** Low-rank factors of a matrix on the host, through LAPACK and BLAS. */
#ifndef TN_SVD_H
#define TN_SVD_H
#include "fail.h"
#include <stdint.h>

/** What is approximated: W [rows, cols] by rank r. iterations 0: by the whole singular value decomposition; above: by the
 * randomised one with that many power iterations (Halko, Martinsson and Tropp 2011), whose test matrix follows from `seed`. */
typedef struct tn_low_rank_of {
    const float *W;
    int rows, cols, r, iterations;
    uint64_t seed;
} tn_low_rank_of;

/** The best approximation of rank r: W ~ B A with B [rows, r] = U sqrt(S) and A [r, cols] = sqrt(S) V^T. */
int tn_low_rank(const tn_low_rank_of *x, float *B, float *A, tn_error *err);
/** A product that is never made: B [rows, k] A [k, cols]. */
typedef struct tn_product_of {
    const float *B, *A;
    int rows, cols, k;
} tn_product_of;
/** Its best approximation of rank r <= min(rows, cols), from the QR decompositions of both factors: Br [rows, r] = U S and
 * Ar [r, cols] = V^T; beyond its own rank they are zero. */
int tn_cut_product(const tn_product_of *x, int r, float *Br, float *Ar, tn_error *err);
/** OLoRA's factors (Bueyuekakyuez 2024): B [rows, r] the first columns of Q and A [r, cols] the first rows of R, W = Q R by
 * Householder reflections with the signs that LAPACK, and so torch.linalg.qr, gives them. r <= min(rows, cols). */
int tn_leading_qr(const tn_low_rank_of *x, float *B, float *A, tn_error *err);
/** C [m, n] += alpha A [m, k] B [k, n]. */
void tn_matmul_add(float *C, float alpha, const float *A, const float *B, int m, int k, int n);
/** Scales each row of w [rows, cols] to its norm[rows]: DoRA's magnitudes, merged. */
void tn_rows_to_norms(float *w, const float *norm, int rows, int cols);
#endif
