/* Rotary angles and bicubic interpolation of stored positions, as constants of the graph. */
#include "model.h"

#include <math.h>
#include <string.h>

void tn_rope_table(const tn_vit *v, int gh, int gw, const double *draws, float *table)
{
    static const double none[] = {0, 0, 1, 1};
    const double *a = draws ? draws : none;
    const int hd = v->hidden / v->heads, n = hd / 4;
    for (int p = 0; p < gh * gw; p++) {
        double y = (2 * (p / gw + 0.5) / gh - 1 + a[0]) * a[2], x = (2 * (p % gw + 0.5) / gw - 1 + a[1]) * a[3];
        for (int k = 0; k < hd / 2; k++) {
            double f = pow(v->rope_theta, -4.0 * (k % n) / hd), angle = 2 * M_PI * (k < n ? y : x) * f;
            table[((size_t)p * (size_t)(hd / 2) + (size_t)k) * 2] = (float)cos(angle);
            table[((size_t)p * (size_t)(hd / 2) + (size_t)k) * 2 + 1] = (float)sin(angle);
        }
    }
}

static double cubic(double d, double A)
{
    d = fabs(d);
    if (d <= 1) return ((A + 2) * d - (A + 3)) * d * d + 1;
    return d < 2 ? ((A * d - 5 * A) * d + 8 * A) * d - 4 * A : 0;
}

/* Weights of the `in` sources for target i, one axis. */
static void positions_axis(double *w, int i, int in, int out, bool antialias)
{
    memset(w, 0, sizeof *w * (size_t)in);
    const double s = (double)in / out;
    if (!antialias) {
        double src = s * (i + 0.5) - 0.5, f = floor(src), t = src - f;
        for (int k = -1; k <= 2; k++) {
            int j = (int)f + k;
            w[j < 0 ? 0 : j >= in ? in - 1 : j] += cubic(t - k, -0.75);
        }
        return;
    }
    double m = s > 1 ? s : 1, sup = 2 * m, c = s * (i + 0.5), sum = 0;
    int lo = (int)floor(c - sup + 0.5), hi = (int)floor(c + sup + 0.5);
    lo = lo < 0 ? 0 : lo;
    hi = hi > in ? in : hi;
    for (int j = lo; j < hi; j++) sum += w[j] = cubic((j - c + 0.5) / m, -0.5);
    for (int j = lo; j < hi; j++) w[j] /= sum;
}

int tn_bicubic_matrix(float *R, int ih, int iw, int oh, int ow, bool antialias)
{
    enum { MAX = 512 };
    double wy[MAX], wx[MAX];
    if (ih > MAX || iw > MAX) return TN_ERR_ARGUMENT;
    for (int o = 0; o < oh * ow; o++) {
        positions_axis(wy, o / ow, ih, oh, antialias);
        positions_axis(wx, o % ow, iw, ow, antialias);
        for (int i = 0; i < ih * iw; i++) R[(size_t)o * (size_t)(ih * iw) + (size_t)i] = (float)(wy[i / iw] * wx[i % iw]);
    }
    return 0;
}
