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
        const float k = s > 0 ? (float)(norm[i] / sqrt(s)) : 0;
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

/* s, U [rows, k] and Vt [k, cols] of a decomposition, cut to the rank. */
typedef struct {
    const float *s, *U, *Vt;
    int k;
} svd_parts;

static void factors(const tn_low_rank_of *x, const svd_parts *d, float *B, float *A)
{
    const int r = x->r;
    for (int i = 0; i < x->rows; i++)
        for (int j = 0; j < r; j++) B[i * r + j] = d->U[(size_t)i * (size_t)d->k + (size_t)j] * sqrtf(d->s[j]);
    for (int j = 0; j < r; j++)
        for (int c = 0; c < x->cols; c++)
            A[(size_t)j * (size_t)x->cols + (size_t)c] = d->Vt[(size_t)j * (size_t)x->cols + (size_t)c] * sqrtf(d->s[j]);
}

static int exact(const tn_low_rank_of *x, float *B, float *A, tn_error *err)
{
    const size_t rows = (size_t)x->rows, cols = (size_t)x->cols, k = TN_MIN(rows, cols), n = rows * cols;
    float *work = malloc(sizeof *work * (n + k + rows * k + k * cols));
    if (!work) return tn_oom(err);
    float *s = work + n, *U = s + k, *Vt = U + rows * k;
    memcpy(work, x->W, n * sizeof *x->W);
    int rc = decompose(work, x->rows, x->cols, s, U, Vt, err);
    if (!rc) factors(x, &(svd_parts){s, U, Vt, (int)k}, B, A);
    free(work);
    return rc;
}

/* An orthonormal basis of the columns of Y [rows, k], in place. */
static int orthonormal(float *Y, int rows, int k, float *tau, tn_error *err)
{
    if (LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, rows, k, Y, k, tau)) return no_convergence(err);
    return LAPACKE_sorgqr(LAPACK_ROW_MAJOR, rows, k, k, Y, k, tau) ? no_convergence(err) : 0;
}

/* Q [rows, k] spans W's leading columns: Y = W Omega, then power iterations with a fresh basis after each product. Z [cols, k]
 * and tau [k] are room to work. */
static int range_of(const tn_low_rank_of *x, int k, float *Q, float *Z, float *tau, tn_error *err)
{
    const int rows = x->rows, cols = x->cols;
    tn_rng g = tn_rng_named(x->seed, "low rank");
    for (int i = 0; i < cols * k; i++) Z[i] = (float)tn_rng_normal(&g);
    for (int it = 0;; it++) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, k, cols, 1, x->W, cols, Z, k, 0, Q, k);
        TN_TRY(orthonormal(Q, rows, k, tau, err));
        if (it == x->iterations) return 0;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, cols, k, rows, 1, x->W, cols, Q, k, 0, Z, k);
        TN_TRY(orthonormal(Z, cols, k, tau, err));
    }
}

static int randomised(const tn_low_rank_of *x, float *B, float *A, tn_error *err)
{
    const int rows = x->rows, cols = x->cols, k = TN_MIN(x->r + OVERSAMPLING, TN_MIN(rows, cols));
    const size_t R = (size_t)rows, C = (size_t)cols, K = (size_t)k;
    float *work = malloc(sizeof *work * (R * K + 3 * C * K + 2 * K + K * K + R * K));
    if (!work) return tn_oom(err);
    float *Q = work, *Z = Q + R * K, *P = Z + C * K, *Vt = P + C * K, *s = Vt + C * K, *tau = s + K, *u = tau + K, *U = u + K * K;
    int rc = range_of(x, k, Q, Z, tau, err);
    if (!rc) {
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, k, cols, rows, 1, Q, k, x->W, cols, 0, P, cols);
        rc = decompose(P, k, cols, s, u, Vt, err);
    }
    if (!rc) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, k, k, 1, Q, k, u, k, 0, U, k);
        factors(x, &(svd_parts){s, U, Vt, k}, B, A);
    }
    free(work);
    return rc;
}

int tn_low_rank(const tn_low_rank_of *x, float *B, float *A, tn_error *err)
{
    return x->iterations ? randomised(x, B, A, err) : exact(x, B, A, err);
}

int tn_leading_qr(const tn_low_rank_of *x, float *B, float *A, tn_error *err)
{
    const size_t rows = (size_t)x->rows, cols = (size_t)x->cols, r = (size_t)x->r, n = rows * cols;
    float *work = malloc(sizeof *work * (n + TN_MIN(rows, cols)));
    if (!work) return tn_oom(err);
    float *tau = work + n;
    memcpy(work, x->W, n * sizeof *work);
    lapack_int bad = LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, x->rows, x->cols, work, x->cols, tau);
    for (size_t i = 0; i < r; i++)
        for (size_t c = 0; c < cols; c++) A[i * cols + c] = c < i ? 0 : work[i * cols + c];
    for (size_t i = 0; i < rows; i++) memcpy(B + i * r, work + i * cols, r * sizeof *B);
    if (!bad) bad = LAPACKE_sorgqr(LAPACK_ROW_MAJOR, x->rows, x->r, x->r, B, x->r, tau);
    free(work);
    return bad ? tn_fail(err, TN_ERR_NUMERIC, "the QR decomposition of a weight failed") : 0;
}

/* M [rows, n] becomes Q, the first k = min(rows, n) of its columns; R [k, n]. */
static int split_qr(float *M, int rows, int n, float *R, float *tau, tn_error *err)
{
    const int k = TN_MIN(rows, n);
    lapack_int bad = LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, rows, n, M, n, tau);
    for (int i = 0; i < k; i++)
        for (int c = 0; c < n; c++) R[i * n + c] = c < i ? 0 : M[i * n + c];
    if (!bad) bad = LAPACKE_sorgqr(LAPACK_ROW_MAJOR, rows, k, k, M, n, tau);
    return bad ? tn_fail(err, TN_ERR_NUMERIC, "the QR decomposition of an adapter failed") : 0;
}

/* Of B A = Qb (Rb Ra^T) Qa^T with B = Qb Rb and A^T = Qa Ra: Qb, Qa as they lie in their matrices, and the middle, decomposed. */
typedef struct {
    float *Qb, *Qa, *s, *U, *Vt;
    int kb, ka, m; /* columns of Qb and Qa, and the smaller of both */
} cut_parts;

static int cut_parts_of(cut_parts *c, const tn_product_of *x, float *room, tn_error *err)
{
    const int n = x->k;
    const size_t N = (size_t)n, rows = (size_t)x->rows, cols = (size_t)x->cols;
    float *Rb = room, *Ra = Rb + N * N, *middle = Ra + N * N, *tau = middle + N * N;
    c->Qb = tau + N, c->Qa = c->Qb + rows * N, c->s = c->Qa + cols * N, c->U = c->s + N, c->Vt = c->U + N * N;
    memcpy(c->Qb, x->B, sizeof *room * rows * N);
    for (size_t i = 0; i < cols; i++)
        for (size_t j = 0; j < N; j++) c->Qa[i * N + j] = x->A[j * cols + i];
    TN_TRY(split_qr(c->Qb, x->rows, n, Rb, tau, err));
    TN_TRY(split_qr(c->Qa, x->cols, n, Ra, tau, err));
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, c->kb, c->ka, n, 1, Rb, n, Ra, n, 0, middle, c->ka);
    return decompose(middle, c->kb, c->ka, c->s, c->U, c->Vt, err);
}

int tn_cut_product(const tn_product_of *x, int r, float *Br, float *Ar, tn_error *err)
{
    const int n = x->k;
    const size_t N = (size_t)n, rows = (size_t)x->rows, cols = (size_t)x->cols;
    cut_parts c = {.kb = TN_MIN(x->rows, n), .ka = TN_MIN(x->cols, n)};
    c.m = TN_MIN(c.kb, c.ka);
    float *room = malloc(sizeof *room * (5 * N * N + 2 * N + (rows + cols) * N));
    if (!room) return tn_oom(err);
    const int rc = cut_parts_of(&c, x, room, err), kept = TN_MIN(r, c.m);
    if (!rc) {
        memset(Br, 0, sizeof *Br * rows * (size_t)r);
        memset(Ar, 0, sizeof *Ar * cols * (size_t)r);
        for (int i = 0; i < c.kb; i++)
            for (int j = 0; j < c.m; j++) c.U[i * c.m + j] *= c.s[j];
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, x->rows, kept, c.kb, 1, c.Qb, n, c.U, c.m, 0, Br, r);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, kept, x->cols, c.ka, 1, c.Vt, c.ka, c.Qa, n, 0, Ar, x->cols);
    }
    free(room);
    return rc;
}
