/* Every backward of src/ref against finite differences of its forward: what the kernels are compared with. Runs on no device. */
#include "ops.h"
#include "ref.h"
#include "../testlib.h"

#include <math.h>
#include <string.h>

enum { MAX = 4096 };
typedef struct {
    float x[3][MAX], dx[3][MAX]; /* inputs and the gradients that the backward gives */
    int n[3], n_in, n_out;
    void (*forward)(const float x[3][MAX], float *y);
} check_t;

/* Compares d(sum y*g)/dx by central differences with dx, on a few elements of each input. */
static void differences(check_t *c, const float *g, const char *what)
{
    static float y[MAX];
    tn_rng r = tn_rng_named(9, what);
    for (int k = 0; k < c->n_in; k++)
        for (int t = 0; t < 25; t++) {
            const int i = (int)tn_rng_below(&r, (uint32_t)c->n[k]);
            const float keep = c->x[k][i], h = 1e-2f;
            double side[2];
            for (int s = 0; s < 2; s++) {
                c->x[k][i] = keep + (s ? h : -h);
                c->forward((const float(*)[MAX])c->x, y);
                side[s] = 0;
                for (int j = 0; j < c->n_out; j++) side[s] += (double)y[j] * g[j];
            }
            c->x[k][i] = keep;
            const double want = (side[1] - side[0]) / (2.0 * h);
            ck_assert_msg(fabs(want - c->dx[k][i]) <= 2e-2 * fmax(1, fabs(want)), "%s, input %d element %d: %g by differences, %g",
                          what, k, i, want, c->dx[k][i]);
        }
}

static void fill(float *v, int n, const char *seed)
{
    tn_rng r = tn_rng_named(4, seed);
    for (int i = 0; i < n; i++) v[i] = (float)tn_rng_normal(&r);
}

static void start(check_t *c, float *g, int n0, int n1, int n2, int out)
{
    memset(c, 0, sizeof *c);
    const int n[3] = {n0, n1, n2};
    for (int k = 0; k < 3; k++) {
        c->n[k] = n[k];
        c->n_in += n[k] > 0;
        fill(c->x[k], n[k], k == 0 ? "x" : k == 1 ? "w" : "b");
    }
    c->n_out = out;
    fill(g, out, "g");
}

static check_t c;
static float g[MAX];

static void f_ln(const float x[3][MAX], float *y)
{
    tn_ref_layernorm(&(tn_ref_norm){x[0], x[1], x[2], 1e-5f, 5, 12, 0, 0}, y);
}
START_TEST(layernorm_backward)
{
    start(&c, g, 60, 12, 12, 60);
    c.forward = f_ln;
    tn_ref_layernorm_backward(&(tn_ref_norm){c.x[0], c.x[1], NULL, 1e-5f, 5, 12, 0, 0}, g, c.dx[0], c.dx[1], c.dx[2]);
    differences(&c, g, "layernorm");
}
END_TEST

static void f_gn(const float x[3][MAX], float *y)
{
    tn_ref_norm2d(&(tn_ref_norm){x[0], x[1], x[2], 1e-5f, 24, 6, 12, 2}, y);
}
START_TEST(groupnorm_backward)
{
    start(&c, g, 144, 6, 6, 144);
    c.forward = f_gn;
    tn_ref_norm2d_backward(&(tn_ref_norm){c.x[0], c.x[1], NULL, 1e-5f, 24, 6, 12, 2}, g, c.dx[0], c.dx[1], c.dx[2]);
    differences(&c, g, "groupnorm");
}
END_TEST

static void f_bn(const float x[3][MAX], float *y)
{
    tn_ref_norm2d(&(tn_ref_norm){x[0], x[1], x[2], 1e-5f, 24, 6, 24, 6}, y);
}
START_TEST(batchnorm_backward)
{
    start(&c, g, 144, 6, 6, 144);
    c.forward = f_bn;
    tn_ref_norm2d_backward(&(tn_ref_norm){c.x[0], c.x[1], NULL, 1e-5f, 24, 6, 24, 6}, g, c.dx[0], c.dx[1], c.dx[2]);
    differences(&c, g, "batchnorm");
}
END_TEST

static void f_grn(const float x[3][MAX], float *y)
{
    tn_ref_grn(&(tn_ref_norm){x[0], x[1], x[2], 1e-6f, 24, 6, 12, 0}, y);
}
START_TEST(response_norm_backward)
{
    start(&c, g, 144, 6, 6, 144);
    c.forward = f_grn;
    tn_ref_grn_backward(&(tn_ref_norm){c.x[0], c.x[1], NULL, 1e-6f, 24, 6, 12, 0}, g, c.dx[0], c.dx[1], c.dx[2]);
    differences(&c, g, "global response norm");
}
END_TEST

static void f_attention(const float x[3][MAX], float *y)
{
    tn_ref_attention(x[0], 2, 7, 2, 8, y, NULL);
}
START_TEST(attention_backward)
{
    start(&c, g, 2 * 7 * 48, 0, 0, 2 * 7 * 16);
    c.forward = f_attention;
    tn_ref_attention_backward(c.x[0], g, 2, 7, 2, 8, c.dx[0]);
    differences(&c, g, "attention");
}
END_TEST

/* 2 images of 5 x 6: a stride that leaves a pixel out, groups, a bias; and each channel for itself. */
static tn_ref_conv strided(const float x[3][MAX])
{
    return (tn_ref_conv){x[0], x[1], x[2], 2, 5, 6, 2, 3, 4, 6, 3, 2, 0, 2};
}

static void f_conv(const float x[3][MAX], float *y)
{
    const tn_ref_conv v = strided(x);
    tn_ref_convolve(&v, y);
}
START_TEST(convolution_backward)
{
    start(&c, g, 240, 108, 6, 72);
    c.forward = f_conv;
    const tn_ref_conv v = strided((const float(*)[MAX])c.x);
    tn_ref_convolve_backward(&v, g, c.dx[0], c.dx[1], c.dx[2]);
    differences(&c, g, "convolution");
}
END_TEST

static void f_dw(const float x[3][MAX], float *y)
{
    tn_ref_convolve(&(tn_ref_conv){x[0], x[1], NULL, 2, 4, 5, 4, 5, 3, 3, 3, 1, 1, 3}, y);
}
START_TEST(depthwise_backward)
{
    start(&c, g, 120, 27, 0, 120);
    c.forward = f_dw;
    tn_ref_convolve_backward(&(tn_ref_conv){c.x[0], c.x[1], NULL, 2, 4, 5, 4, 5, 3, 3, 3, 1, 1, 3}, g, c.dx[0], c.dx[1], NULL);
    differences(&c, g, "depthwise");
}
END_TEST

static const tn_ref_resize sizes = {2, 3, 4, 7, 9, 2, 3.0f / 7, 4.0f / 9};

static void f_resize(const float x[3][MAX], float *y)
{
    tn_ref_bilinear(&sizes, x[0], y);
}
START_TEST(resize_backward)
{
    start(&c, g, 48, 0, 0, 252);
    c.forward = f_resize;
    tn_ref_bilinear_backward(&sizes, g, c.dx[0]);
    differences(&c, g, "resize");
}
END_TEST

/* Two levels, whose cells' middles lie a quarter or a half between those of the other: an offset from a whole number by 0.1 to 0.2
 * is never so near to one that a difference would cross it. */
static const tn_ref_deformable deformable = {
    .batch = 1, .heads = 2, .width = 3, .levels = 2, .points = 2, .h = (int[]){4, 2}, .w = (int[]){2, 1}};

static void f_deform(const float x[3][MAX], float *y)
{
    tn_ref_deformable d = deformable;
    d.value = x[0], d.samples = x[1];
    tn_ref_deform(&d, y);
}
START_TEST(deformable_backward)
{
    enum { CELLS = 10, COLS = 3 * 2 * 2 * 2 };
    start(&c, g, CELLS * 6, CELLS * COLS, 0, CELLS * 6);
    for (int i = 0; i < CELLS * COLS; i++)
        if (i % COLS < COLS / 3 * 2) c.x[1][i] = rintf(c.x[1][i]) + 0.1f + 0.1f * (float)(i % 3) / 2;
    c.forward = f_deform;
    tn_ref_deformable d = deformable;
    d.value = c.x[0], d.samples = c.x[1];
    tn_ref_deform_backward(&d, g, c.dx[0], c.dx[1]);
    differences(&c, g, "deformable attention");
}
END_TEST

START_TEST(activation_slopes)
{
    for (double x = -4; x < 4; x += 0.37) {
        const double h = 1e-5, want = (tn_ref_act(_i, x + h) - tn_ref_act(_i, x - h)) / (2 * h);
        ck_assert_double_eq_tol(tn_ref_act_slope(_i, x), want, 1e-7);
    }
}
END_TEST

static const char *const loss_names[] = {"mse", "focal", "bce", "wbce"};

START_TEST(loss_slopes)
{
    const tn_loss_spec l = tn_loss_named(loss_names[_i], 2, 4, 3);
    const tn_ref_loss loss = {2, 6, l.logits, l.alpha, l.beta, l.pos_weight, l.bound, 0.1, 1};
    float p[12], t[12], mask[2] = {1, 1}, dp[12];
    fill(p, 12, "p");
    for (int i = 0; i < 12; i++) t[i] = (float)(i % 4) / 3;
    tn_ref_heatmap_loss(&loss, p, t, mask, dp);
    for (int i = 0; i < 12; i++) {
        const float keep = p[i], h = 1e-3f;
        p[i] = keep + h;
        double a = tn_ref_heatmap_loss(&loss, p, t, mask, NULL);
        p[i] = keep - h;
        double b = tn_ref_heatmap_loss(&loss, p, t, mask, NULL);
        p[i] = keep;
        ck_assert_double_eq_tol(dp[i], (a - b) / (2.0 * h), 1e-3);
    }
}
END_TEST

int main(void)
{
    return run_tests("differences", 60,
                     TESTS(ONCE(layernorm_backward), ONCE(groupnorm_backward), ONCE(batchnorm_backward),
                           ONCE(response_norm_backward), ONCE(attention_backward), ONCE(convolution_backward),
                           ONCE(depthwise_backward), ONCE(resize_backward), ONCE(deformable_backward), TIMES(activation_slopes, 4),
                           TIMES(loss_slopes, TN_COUNT(loss_names))));
}
