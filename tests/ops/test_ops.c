/* Every kernel against src/ref on odd sizes in every storage type, on the device TRACKNET_TEST_DEVICE names (default
 * cpu), and every backward of src/ref against finite differences of its forward. */
#include "ref.h"
#include "selftest.h"
#include "../testlib.h"

#include <math.h>
#include <string.h>

static const tn_case *const tables[] = {tn_cases_gemm, tn_cases_dense, tn_cases_spatial};

static int case_count(void)
{
    int n = 0;
    for (size_t k = 0; k < TN_COUNT(tables); k++)
        for (const tn_case *c = tables[k]; c->name; c++) n++;
    return n;
}

static const tn_case *case_at(int i)
{
    for (size_t k = 0; k < TN_COUNT(tables); k++)
        for (const tn_case *c = tables[k]; c->name; c++)
            if (i-- == 0) return c;
    return NULL;
}

static tn_dev *open_device(void)
{
    static tn_dev *d;
    tn_device_info info;
    tn_error e = {0};
    const char *name = getenv("TRACKNET_TEST_DEVICE");
    if (!d && (tn_device_select(&info, name ? name : "cpu", &e) || tn_dev_open(&d, info.index, 0, NULL, &e))) {
        fprintf(stderr, "%s\n", e.message);
        exit(1);
    }
    return d;
}

START_TEST(kernel_agrees_with_the_reference)
{
    const tn_case *k = case_at(_i);
    for (int size = 0; size < 3; size++)
        for (int act = TN_F32; act <= TN_F16; act++) {
            double e = 0;
            tn_error err = {0};
            if (act != TN_F32 && k->float32_only) continue;
            ck_assert_msg(!tn_case_run(k, open_device(), (tn_dtype)act, size, &e, &err), "%s: %s", k->name, err.message);
            ck_assert_msg(e <= tn_case_bound((tn_dtype)act), "%s, size %d, %s: off by %.3g", k->name, size,
                          tn_dtype_name((tn_dtype)act), e);
        }
}
END_TEST

/* ---- finite differences ---- */

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
    tn_ref_layernorm(x[0], x[1], x[2], 1e-5f, 5, 12, y);
}
START_TEST(layernorm_backward)
{
    start(&c, g, 60, 12, 12, 60);
    c.forward = f_ln;
    tn_ref_layernorm_backward(c.x[0], c.x[1], 1e-5f, g, 5, 12, c.dx[0], c.dx[1], c.dx[2]);
    differences(&c, g, "layernorm");
}
END_TEST

static void f_gn(const float x[3][MAX], float *y)
{
    tn_ref_norm2d(x[0], x[1], x[2], 1e-5f, 24, 6, 12, 2, y);
}
START_TEST(groupnorm_backward)
{
    start(&c, g, 144, 6, 6, 144);
    c.forward = f_gn;
    tn_ref_norm2d_backward(c.x[0], c.x[1], 1e-5f, g, 24, 6, 12, 2, c.dx[0], c.dx[1], c.dx[2]);
    differences(&c, g, "groupnorm");
}
END_TEST

static void f_bn(const float x[3][MAX], float *y)
{
    tn_ref_norm2d(x[0], x[1], x[2], 1e-5f, 24, 6, 24, 6, y);
}
START_TEST(batchnorm_backward)
{
    start(&c, g, 144, 6, 6, 144);
    c.forward = f_bn;
    tn_ref_norm2d_backward(c.x[0], c.x[1], 1e-5f, g, 24, 6, 24, 6, c.dx[0], c.dx[1], c.dx[2]);
    differences(&c, g, "batchnorm");
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

static void f_conv(const float x[3][MAX], float *y)
{
    tn_ref_conv3(x[0], x[1], 2, 4, 5, 3, 4, false, y);
}
START_TEST(convolution_backward)
{
    start(&c, g, 120, 108, 0, 160);
    c.forward = f_conv;
    tn_ref_conv3_backward(c.x[0], c.x[1], g, 2, 4, 5, 3, 4, false, c.dx[0], c.dx[1]);
    differences(&c, g, "convolution");
}
END_TEST

static void f_dw(const float x[3][MAX], float *y)
{
    tn_ref_conv3(x[0], x[1], 2, 4, 5, 3, 3, true, y);
}
START_TEST(depthwise_backward)
{
    start(&c, g, 120, 27, 0, 120);
    c.forward = f_dw;
    tn_ref_conv3_backward(c.x[0], c.x[1], g, 2, 4, 5, 3, 3, true, c.dx[0], c.dx[1]);
    differences(&c, g, "depthwise");
}
END_TEST

static void f_resize(const float x[3][MAX], float *y)
{
    tn_ref_bilinear(x[0], 2, 3, 4, 7, 9, 2, 3.0f / 7, 4.0f / 9, y);
}
START_TEST(resize_backward)
{
    start(&c, g, 48, 0, 0, 252);
    c.forward = f_resize;
    tn_ref_bilinear_backward(g, 2, 3, 4, 7, 9, 2, 3.0f / 7, 4.0f / 9, c.dx[0]);
    differences(&c, g, "resize");
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

START_TEST(loss_slopes)
{
    float p[12], t[12], mask[2] = {1, 1}, dp[12];
    fill(p, 12, "p");
    for (int i = 0; i < 12; i++) t[i] = (float)(i % 4) / 3;
    tn_ref_heatmap_loss(p, t, mask, 2, 6, _i, 2, 4, 0.1, dp);
    for (int i = 0; i < 12; i++) {
        const float keep = p[i], h = 1e-3f;
        p[i] = keep + h;
        double a = tn_ref_heatmap_loss(p, t, mask, 2, 6, _i, 2, 4, 0.1, NULL);
        p[i] = keep - h;
        double b = tn_ref_heatmap_loss(p, t, mask, 2, 6, _i, 2, 4, 0.1, NULL);
        p[i] = keep;
        ck_assert_double_eq_tol(dp[i], (a - b) / (2.0 * h), 1e-3);
    }
}
END_TEST

/* test-ops --case NAME: one kernel case, smallest size, float32, in this process (what oclgrind watches). */
static int one_case(const char *name)
{
    for (int i = 0; i < case_count(); i++) {
        const tn_case *k = case_at(i);
        double e = 0;
        tn_error err = {0};
        if (strcmp(k->name, name)) continue;
        open_device()->untouched = true;
        open_device()->info.max_work_group = 64; /* small groups, and no tuning: an interpreter runs this */
        open_device()->gemm_force = "portable";
        int rc = tn_case_run(k, open_device(), TN_F32, 0, &e, &err);
        printf("%s: error %.2g %s\n", name, e, err.message);
        return rc || !(e <= tn_case_bound(TN_F32));
    }
    return 2;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--case")) return one_case(argv[2]);
    for (int i = 0; argc == 2 && i < case_count(); i++) puts(case_at(i)->name); /* --list */
    if (argc == 2) return 0;
    Suite *s = suite_create("ops");
    TCase *k = tcase_create("kernels"), *d = tcase_create("differences");
    tcase_set_timeout(k, 900);
    tcase_add_loop_test(k, kernel_agrees_with_the_reference, 0, case_count());
    tcase_add_test(d, layernorm_backward);
    tcase_add_test(d, groupnorm_backward);
    tcase_add_test(d, batchnorm_backward);
    tcase_add_test(d, attention_backward);
    tcase_add_test(d, convolution_backward);
    tcase_add_test(d, depthwise_backward);
    tcase_add_test(d, resize_backward);
    tcase_add_loop_test(d, activation_slopes, 0, 4);
    tcase_add_loop_test(d, loss_slopes, 0, 2);
    suite_add_tcase(s, k);
    suite_add_tcase(s, d);
    return run_suite(s);
}
