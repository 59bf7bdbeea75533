#include "ref.h"

#include <math.h>
#include <stddef.h>

/* log(sigmoid(x)) */
static double log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

static double cross_entropy(const tn_ref_loss *l, double x, double t, double *slope)
{
    const double z = fmin(fmax(x, -l->bound), l->bound), lq = log_sigmoid(z), lr = log_sigmoid(-z), q = exp(lq), r = exp(lr);
    const double pos = l->pos_weight * t * pow(r, l->alpha), neg = pow(1 - t, l->beta + 1) * pow(q, l->alpha);
    /* of q^a log r: a q^a r log r - q^a q, since dq/dx = q r */
    *slope = z == x ? pos * (l->alpha * q * lq - r) - neg * (l->alpha * r * lr - q) : 0;
    return -pos * lq - neg * lr;
}

double tn_ref_heatmap_loss(const tn_ref_loss *l, const tn_real *p, const tn_real *t, const tn_real *mask, tn_real *dp)
{
    double sum = 0;
    const int sample = l->sample * l->heats;
    for (int i = 0; i < l->batch * sample; i++) {
        double m = mask[i / sample * l->heats + i % l->heats] * l->inv_mask, slope = 2.0 * ((double)p[i] - t[i]);
        sum += m * (l->logits ? cross_entropy(l, p[i], t[i], &slope) : pow((double)p[i] - t[i], 2));
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

void tn_ref_adamw(const tn_ref_optim *o, tn_real *p, tn_real *g, tn_real *m, tn_real *v, int n)
{
    const double b1 = o->b1, b2 = o->b2, lr = o->lr;
    for (int i = 0; i < n; i++) {
        double d = g[i] * o->grad_scale, a = b1 * m[i] + (1 - b1) * d, b = b2 * v[i] + (1 - b2) * d * d;
        m[i] = (tn_real)a;
        v[i] = (tn_real)b;
        g[i] = 0;
        p[i] =
            (tn_real)(p[i] * (1 - lr * o->wd) - lr / (1 - pow(b1, o->step)) * a / (sqrt(b) / sqrt(1 - pow(b2, o->step)) + o->eps));
    }
}

void tn_ref_sgd(const tn_ref_optim *o, tn_real *p, tn_real *g, tn_real *buf, int n)
{
    for (int i = 0; i < n; i++) {
        double d = g[i] * o->grad_scale + o->wd * p[i];
        if (o->momentum != 0) buf[i] = (tn_real)(d = o->step == 1 ? d : o->momentum * buf[i] + d);
        p[i] = (tn_real)(p[i] - o->lr * d);
        g[i] = 0;
    }
}
