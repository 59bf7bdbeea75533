#include "ref.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

/* The second pair's share of element (m, n). */
static double second_pair(const tn_ref_product *p, int m, int n)
{
    const int lda = p->tb2 ? p->parts * p->r : p->r, first = p->tb2 ? n / (p->N / p->parts) * p->r : 0;
    double s = 0;
    for (int k = 0; k < p->r; k++)
        s += (double)p->A2[(size_t)m * lda + first + k] *
             (double)(p->tb2 ? p->B2[(size_t)n * p->r + k] : p->B2[(size_t)k * p->N + n]);
    return p->alpha2 * s * (p->keep ? p->keep[(size_t)m * p->N + n] : 1);
}

void tn_ref_gemm(const tn_ref_product *p, tn_real *C)
{
    for (int m = 0; m < p->M; m++)
        for (int n = 0; n < p->N; n++) {
            const size_t at = (size_t)m * p->ldc + n;
            double s = 0;
            for (int k = 0; k < p->K; k++)
                s += (double)(p->ta ? p->A[(size_t)k * p->lda + m] : p->A[(size_t)m * p->lda + k]) *
                     (double)(p->tb ? p->B[(size_t)n * p->ldb + k] : p->B[(size_t)k * p->ldb + n]);
            s = p->alpha * s + (p->parts ? second_pair(p, m, n) : 0) + (p->bias ? p->bias[n] : 0);
            if (p->pre) p->pre[at] = (tn_real)(p->pre_slope ? tn_ref_act_slope(p->act - 1, s) : s);
            if (p->slope) s *= p->slope_ready ? p->slope[at] : tn_ref_act_slope(p->act - 1, p->slope[at]);
            else if (p->act) s = tn_ref_act(p->act - 1, s);
            if (p->scale) s *= p->scale[n];
            if (p->residual) s += p->residual[at];
            C[at] = (tn_real)(s + (p->beta != 0 ? p->beta * C[at] : 0));
        }
}

void tn_ref_operand(const tn_real *W, int rows, int cols, int turned, int lanes, tn_real *out)
{
    const int N = turned ? cols : rows, K = turned ? rows : cols, deep = (K + 15) / 16;
    const int wide = lanes ? (N + lanes - 1) / lanes * lanes : N, long_K = lanes ? 16 * deep : K;
    for (int n = 0; n < wide; n++)
        for (int k = 0; k < long_K; k++) {
            const size_t block = lanes ? (size_t)(n / lanes) * deep + k / 16 : 0;
            const size_t at = lanes ? ((block * 8 + k % 16 / 2) * lanes + n % lanes) * 2 + k % 2 : (size_t)n * K + k;
            out[at] = n < N && k < K ? W[turned ? (size_t)k * cols + n : (size_t)n * cols + k] : 0;
        }
}

static void dense_moments(const tn_real *x, int n, double eps, double *mean, double *rstd)
{
    double s = 0, q = 0;
    for (int i = 0; i < n; i++) s += x[i];
    *mean = s / n;
    for (int i = 0; i < n; i++) q += (x[i] - *mean) * (x[i] - *mean);
    *rstd = 1 / sqrt(q / n + eps);
}

void tn_ref_layernorm(const tn_ref_norm *n, tn_real *y)
{
    const int cols = n->cols;
    for (int r = 0; r < n->rows; r++) {
        const tn_real *a = n->x + (size_t)r * cols;
        double m, s;
        dense_moments(a, cols, n->eps, &m, &s);
        for (int c = 0; c < cols; c++) y[(size_t)r * cols + c] = (tn_real)((a[c] - m) * s * n->gamma[c] + n->beta[c]);
    }
}

void tn_ref_row_sums(const tn_real *x, int rows, int cols, int block, tn_real *sums)
{
    for (int b = 0; b < cols / block; b++)
        for (int r = 0; r < rows; r++) {
            const tn_real *from = x + (size_t)r * cols + (size_t)b * block;
            double s = 0, squares = 0;
            for (int c = 0; c < block; c++) s += from[c], squares += (double)from[c] * from[c];
            *sums++ = (tn_real)s, *sums++ = (tn_real)squares;
        }
}

void tn_ref_layernorm_backward(const tn_ref_norm *n, const tn_real *dy, tn_real *dx, tn_real *dgamma, tn_real *dbeta)
{
    const int cols = n->cols;
    for (int r = 0; r < n->rows; r++) {
        const tn_real *a = n->x + (size_t)r * cols, *g = dy + (size_t)r * cols;
        double m, s, m1 = 0, m2 = 0;
        dense_moments(a, cols, n->eps, &m, &s);
        for (int c = 0; c < cols; c++) {
            double xhat = (a[c] - m) * s;
            m1 += (double)g[c] * n->gamma[c] / cols;
            m2 += (double)g[c] * n->gamma[c] * xhat / cols;
            dgamma[c] += (tn_real)(g[c] * xhat);
            dbeta[c] += g[c];
        }
        for (int c = 0; c < cols; c++)
            dx[(size_t)r * cols + c] = (tn_real)(s * ((double)g[c] * n->gamma[c] - m1 - (a[c] - m) * s * m2));
    }
}

/* Row i's probabilities over all keys of one head. */
static double softmax_row(const tn_real *q, const tn_real *k, int ld, int n, int hd, double *p)
{
    double top = -INFINITY, sum = 0, scale = 1 / sqrt(hd);
    for (int j = 0; j < n; j++) {
        double s = 0;
        for (int c = 0; c < hd; c++) s += (double)q[c] * k[(size_t)j * ld + c];
        p[j] = s * scale;
        top = p[j] > top ? p[j] : top;
    }
    for (int j = 0; j < n; j++) sum += p[j] = exp(p[j] - top);
    for (int j = 0; j < n; j++) p[j] /= sum;
    return top + log(sum);
}

void tn_ref_attention(const tn_real *qkv, int batch, int n, int heads, int hd, tn_real *o, tn_real *lse)
{
    const int d = heads * hd, ld = 3 * d;
    double *p = malloc(sizeof *p * (size_t)n);
    for (int bh = 0; p && bh < batch * heads; bh++) {
        const tn_real *q = qkv + (size_t)(bh / heads) * n * ld + (size_t)(bh % heads) * hd, *k = q + d, *v = k + d;
        for (int i = 0; i < n; i++) {
            double l = softmax_row(q + (size_t)i * ld, k, ld, n, hd, p);
            if (lse) lse[(size_t)bh * n + i] = (tn_real)l;
            for (int c = 0; c < hd; c++) {
                double s = 0;
                for (int j = 0; j < n; j++) s += p[j] * v[(size_t)j * ld + c];
                o[((size_t)(bh / heads) * n + i) * d + (size_t)(bh % heads) * hd + c] = (tn_real)s;
            }
        }
    }
    free(p);
}

void tn_ref_attention_backward(const tn_real *qkv, const tn_real *d_o, int batch, int n, int heads, int hd, tn_real *dqkv)
{
    const int d = heads * hd, ld = 3 * d;
    double *p = malloc(sizeof *p * (size_t)n), *dp = malloc(sizeof *dp * (size_t)n);
    double *acc = calloc((size_t)batch * n * ld, sizeof *acc), scale = 1 / sqrt(hd);
    for (int bh = 0; p && dp && acc && bh < batch * heads; bh++) {
        size_t base = (size_t)(bh / heads) * n * ld + (size_t)(bh % heads) * hd;
        const tn_real *q = qkv + base, *k = q + d, *v = k + d;
        double *dq = acc + base, *dk = dq + d, *dv = dk + d;
        for (int i = 0; i < n; i++) {
            const tn_real *g = d_o + ((size_t)(bh / heads) * n + i) * d + (size_t)(bh % heads) * hd;
            double dot = 0;
            softmax_row(q + (size_t)i * ld, k, ld, n, hd, p);
            for (int j = 0; j < n; j++) {
                dp[j] = 0;
                for (int c = 0; c < hd; c++) dp[j] += (double)g[c] * v[(size_t)j * ld + c];
                dot += p[j] * dp[j];
            }
            for (int j = 0; j < n; j++) {
                double ds = p[j] * (dp[j] - dot) * scale;
                for (int c = 0; c < hd; c++) {
                    dv[(size_t)j * ld + c] += p[j] * g[c];
                    dq[(size_t)i * ld + c] += ds * k[(size_t)j * ld + c];
                    dk[(size_t)j * ld + c] += ds * q[(size_t)i * ld + c];
                }
            }
        }
    }
    for (size_t i = 0; acc && i < (size_t)batch * n * ld; i++) dqkv[i] = (tn_real)acc[i];
    free(p);
    free(dp);
    free(acc);
}

void tn_ref_rope(tn_real *qkv, const tn_real *table, int batch, int n, int heads, int hd, int skip, int direction)
{
    const int half = hd / 2;
    for (int b = 0; b < batch; b++)
        for (int i = skip; i < n; i++)
            for (int part = 0; part < 2 * heads; part++)
                for (int k = 0; k < half; k++) {
                    tn_real *a = qkv + ((size_t)b * n + i) * 3 * heads * hd + (size_t)part * hd + k;
                    const tn_real *t = table + ((size_t)(i - skip) * half + k) * 2;
                    double lo = a[0], hi = a[half], c = t[0], s = direction * (double)t[1];
                    a[0] = (tn_real)(lo * c - hi * s);
                    a[half] = (tn_real)(hi * c + lo * s);
                }
}

double tn_ref_act(int fn, double x)
{
    switch (fn) {
    case 0: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case 1: return x > 0 ? x : 0;
    case 2: return x / (1 + exp(-x));
    default: return 1 / (1 + exp(-x));
    }
}

double tn_ref_act_slope(int fn, double x)
{
    double s = 1 / (1 + exp(-x));
    switch (fn) {
    case 0: return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-0.5 * x * x) / sqrt(2 * acos(-1.0));
    case 1: return x > 0;
    case 2: return s * (1 + x * (1 - s));
    default: return s * (1 - s);
    }
}

void tn_ref_rows(const tn_ref_rows_map *r, tn_real *out)
{
    const size_t n = (size_t)r->n, m = (size_t)r->m;
    for (size_t t = 0; t < (size_t)r->rows; t++) {
        const tn_real *v = r->v + t * (size_t)r->ld;
        tn_real *o = out + t * (m + 1);
        double last = r->k ? (double)r->k[t * (size_t)r->k_step] : 0;
        for (size_t e = 0; e < m; e++) {
            double s = 0;
            for (size_t i = 0; i < n; i++) s += (double)v[i] * r->w[i * m + e];
            o[e] = (tn_real)s;
        }
        for (size_t i = 0; r->b && i < n; i++) last += (double)v[i] * r->b[i];
        o[m] = (tn_real)last;
    }
}

static void row_backward(const tn_ref_rows_map *r, const tn_real *v, const tn_real *d, tn_real *dw, tn_real *db, tn_real *dv)
{
    const size_t m = (size_t)r->m;
    for (size_t i = 0; i < (size_t)r->n; i++) {
        double s = r->b ? (double)r->b[i] * d[m] : 0;
        for (size_t e = 0; e < m; e++) {
            s += (double)r->w[i * m + e] * d[e];
            if (dw) dw[i * m + e] += v[i] * d[e];
        }
        if (db) db[i] += v[i] * d[m];
        if (dv) dv[i] += (tn_real)s;
    }
}

void tn_ref_rows_backward(const tn_ref_rows_map *r, const tn_real *d, tn_real *dw, tn_real *db, tn_real *dv, tn_real *dk)
{
    for (size_t t = 0; t < (size_t)r->rows; t++) {
        const size_t at = t * (size_t)r->ld;
        const tn_real *own = d + t * ((size_t)r->m + 1);
        row_backward(r, r->v + at, own, dw, db, dv ? dv + at : NULL);
        if (dk) dk[t * (size_t)r->k_step] += own[r->m];
    }
}
