#include "ref.h"

#include <math.h>
#include <stddef.h>

static double focal(double x, double t, double alpha, double beta, double *slope)
{
    double s = 1 / (1 + exp(-x)), q = fmin(fmax(s, 1e-6), 1 - 1e-6);
    double b = (1 - t) * pow(1 - t, beta);
    double d = t * (alpha * pow(1 - q, alpha - 1) * log(q) - pow(1 - q, alpha) / q) +
               b * (pow(q, alpha) / (1 - q) - alpha * pow(q, alpha - 1) * log(1 - q));
    *slope = q == s ? d * s * (1 - s) : 0;
    return -t * pow(1 - q, alpha) * log(q) - b * pow(q, alpha) * log(1 - q);
}

double tn_ref_heatmap_loss(const tn_ref_loss *l, const tn_real *p, const tn_real *t, const tn_real *mask, tn_real *dp)
{
    double sum = 0;
    const int sample = l->sample * l->heats;
    for (int i = 0; i < l->batch * sample; i++) {
        double m = mask[i / sample * l->heats + i % l->heats] * l->inv_mask, slope = 2.0 * ((double)p[i] - t[i]);
        sum += m * (l->focal ? focal(p[i], t[i], l->alpha, l->beta, &slope) : pow((double)p[i] - t[i], 2));
        if (dp) dp[i] = (tn_real)(m * slope);
    }
    return sum;
}

double tn_ref_clip(const tn_real *g, int n, double max_norm, bool scaling, double *loss_scale, int *good, double *norm)
{
    double s = 0, scale = *loss_scale;
    for (int i = 0; i < n; i++) s += (double)g[i] * g[i];
    *norm = sqrt(s) / scale;
    const bool finite = isfinite(*norm);
    *good = finite ? *good + 1 : 0;
    if (scaling && !finite) *loss_scale = fmax(scale / 2, 1);
    if (scaling && *good == 2000) *loss_scale = fmin(scale * 2, 1 << 24), *good = 0;
    if (!finite) return 0;
    return (max_norm > 0 ? fmin(1, max_norm / (*norm + 1e-6)) : 1) / scale;
}

void tn_ref_adamw(const tn_ref_optim *o, tn_real *p, const tn_real *g, tn_real *m, tn_real *v, int n)
{
    const double b1 = o->b1, b2 = o->b2, lr = o->lr;
    for (int i = 0; i < n; i++) {
        double d = g[i] * o->grad_scale, a = b1 * m[i] + (1 - b1) * d, b = b2 * v[i] + (1 - b2) * d * d;
        m[i] = (tn_real)a;
        v[i] = (tn_real)b;
        p[i] =
            (tn_real)(p[i] * (1 - lr * o->wd) - lr / (1 - pow(b1, o->step)) * a / (sqrt(b) / sqrt(1 - pow(b2, o->step)) + o->eps));
    }
}

void tn_ref_sgd(const tn_ref_optim *o, tn_real *p, const tn_real *g, tn_real *buf, int n)
{
    for (int i = 0; i < n; i++) {
        double d = g[i] * o->grad_scale + o->wd * p[i];
        if (o->momentum != 0) buf[i] = (tn_real)(d = o->step == 1 ? d : o->momentum * buf[i] + d);
        p[i] = (tn_real)(p[i] - o->lr * d);
    }
}
