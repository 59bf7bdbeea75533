#include "svd.h"
#include "numeric.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OVERSAMPLING = 10 };

void tn_matmul_add(float *C, float alpha, const float *A, const float *B, int m, int k, int n)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, alpha, A, k, B, n, 1, C, n);
}

void tn_rows_to_norms(float *w, const float *norm, int rows, int cols)
{
    for (int i = 0; i < rows; i++, w += cols) {
        double s = 0;
        for (int c = 0; c < cols; c++) s += (double)w[c] * w[c];
        const float k = (float)(norm[i] / sqrt(s));
        for (int c = 0; c < cols; c++) w[c] *= k;
    }
}

static int no_convergence(tn_error *err)
{
    return tn_fail(err, TN_ERR_NUMERIC, "the singular value decomposition of a weight did not converge");
}

/* W is overwritten. s, U [rows, k] and Vt [k, cols] with k = min(rows, cols). */
static int decompose(float *W, int rows, int cols, float *s, float *U, float *Vt, tn_error *err)
{
    const int k = TN_MIN(rows, cols);
    return LAPACKE_sgesdd(LAPACK_ROW_MAJOR, 'S', rows, cols, W, cols, s, U, k, Vt, cols) ? no_convergence(err) : 0;
}

static void factors(const float *s, const float *U, const float *Vt, int rows, int cols, int k, int r, float *B, float *A)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < r; j++) B[i * r + j] = U[(size_t)i * (size_t)k + (size_t)j] * sqrtf(s[j]);
    for (int j = 0; j < r; j++)
        for (int c = 0; c < cols; c++)
            A[(size_t)j * (size_t)cols + (size_t)c] = Vt[(size_t)j * (size_t)cols + (size_t)c] * sqrtf(s[j]);
}

static int exact(const float *W, int rows, int cols, int r, float *B, float *A, tn_error *err)
{
    const size_t k = (size_t)TN_MIN(rows, cols), n = (size_t)rows * (size_t)cols;
    float *work = malloc(sizeof *work * (n + k + (size_t)rows * k + k * (size_t)cols));
    if (!work) return tn_oom(err);
    float *s = work + n, *U = s + k, *Vt = U + (size_t)rows * k;
    memcpy(work, W, n * sizeof *W);
    int rc = decompose(work, rows, cols, s, U, Vt, err);
    if (!rc) factors(s, U, Vt, rows, cols, (int)k, r, B, A);
    free(work);
    return rc;
}

/* An orthonormal basis of the columns of Y [rows, k], in place. */
static int orthonormal(float *Y, int rows, int k, float *tau, tn_error *err)
{
    if (LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, rows, k, Y, k, tau)) return no_convergence(err);
    return LAPACKE_sorgqr(LAPACK_ROW_MAJOR, rows, k, k, Y, k, tau) ? no_convergence(err) : 0;
}

/* Q spans W's leading columns: Y = W Omega, then power iterations with a fresh basis after each product. */
static int range_of(const float *W, int rows, int cols, int k, int iterations, uint64_t seed, float *Q, float *Z, float *tau,
                    tn_error *err)
{
    tn_rng g = tn_rng_named(seed, "low rank");
    for (int i = 0; i < cols * k; i++) Z[i] = (float)tn_rng_normal(&g);
    for (int it = 0;; it++) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, k, cols, 1, W, cols, Z, k, 0, Q, k);
        TN_TRY(orthonormal(Q, rows, k, tau, err));
        if (it == iterations) return 0;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, cols, k, rows, 1, W, cols, Q, k, 0, Z, k);
        TN_TRY(orthonormal(Z, cols, k, tau, err));
    }
}

static int randomised(const float *W, int rows, int cols, int r, int iterations, uint64_t seed, float *B, float *A, tn_error *err)
{
    const int k = TN_MIN(r + OVERSAMPLING, TN_MIN(rows, cols));
    const size_t R = (size_t)rows, C = (size_t)cols, K = (size_t)k;
    float *work = malloc(sizeof *work * (R * K + 3 * C * K + 2 * K + K * K + R * K));
    if (!work) return tn_oom(err);
    float *Q = work, *Z = Q + R * K, *P = Z + C * K, *Vt = P + C * K, *s = Vt + C * K, *tau = s + K, *u = tau + K, *U = u + K * K;
    int rc = range_of(W, rows, cols, k, iterations, seed, Q, Z, tau, err);
    if (!rc) {
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, k, cols, rows, 1, Q, k, W, cols, 0, P, cols);
        rc = decompose(P, k, cols, s, u, Vt, err);
    }
    if (!rc) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, k, k, 1, Q, k, u, k, 0, U, k);
        factors(s, U, Vt, rows, cols, k, r, B, A);
    }
    free(work);
    return rc;
}

int tn_low_rank(const float *W, int rows, int cols, int r, int iterations, uint64_t seed, float *B, float *A, tn_error *err)
{
    if (iterations) return randomised(W, rows, cols, r, iterations, seed, B, A, err);
    return exact(W, rows, cols, r, B, A, err);
}
