/* Every kernel against src/ref on odd sizes in every storage type, on the device TRACKNET_TEST_DEVICE names (default
 * cpu), and every backward of src/ref against finite differences of its forward; `--part products|gpus|rest` takes a third of that.
 * With TRACKNET_TEST_SLICE=N, only the kernels, in float32, their launches cut into slices of about N work-groups, and of
 * one. */
#include "ref.h"
#include "selftest.h"
#include "tuning.h"
#include "tuning_db.h"
#include "../testdev.h"
#include "../testlib.h"

#include <math.h>
#include <string.h>

static const tn_case *case_at(int i)
{
    for (int t = 0; tn_case_tables[t]; t++)
        for (const tn_case *k = tn_case_tables[t]; k->name; k++)
            if (i-- == 0) return k;
    return NULL;
}

static int case_count(void)
{
    int n = 0;
    while (case_at(n)) n++;
    return n;
}

/* Work-groups of a slice; 0: launches are whole. */
static size_t slice(void)
{
    const char *n = getenv("TRACKNET_TEST_SLICE");
    return n ? strtoul(n, NULL, 10) : 0;
}

static tn_dev *open_device(void)
{
    static tn_dev *d;
    tn_error e = {0};
    const char *name = getenv("TRACKNET_TEST_DEVICE");
    if (d) return d;
    if (test_device(&d, name ? name : "cpu", &e)) {
        fprintf(stderr, "%s\n", e.message);
        exit(1);
    }
    d->slice_groups = slice();
    return d;
}

/* --every: nothing is left out, and what each is off by is printed */
static bool every;

static void run_case(const tn_case *k, const tn_case_spec *s)
{
    tn_case_result r;
    tn_error err = {0};
    const char *row = s->op ? s->op->rows[s->row].name : "last", *op = s->op ? s->op->name : "every";
    ck_assert_msg(!tn_case_run(k, open_device(), s, &r, &err), "%s, %s row of %s operation: %s", k->name, row, op, err.message);
    if (every)
        printf("%-24s %-14s %-10s size %d %-8s %8.2g of %g, element %8.2g of %g, %d runs\n", k->name, op, row, s->size,
               tn_dtype_name(s->act), r.error, tn_case_bound(s->act), r.element, tn_case_element_bound(s->act), r.runs);
    if (every) fflush(stdout);
    ck_assert_msg(r.worst <= 1, "%s, %s row of %s operation, size %d, %s: off by %.3g, one element by %.3g", k->name, row, op,
                  s->size, tn_dtype_name(s->act), r.error, r.element);
}

/* The size that is enough for a type where building kernels takes the time: not the same one for both of two bytes. */
static int one_size(int act)
{
    return act == TN_BF16 ? 1 : 2;
}

static void run_other_rows(const tn_case *k, tn_case_spec s)
{
    const unsigned caps = open_device()->caps;
    for (int o = 0; o < TN_CASE_OPS && k->ops[o]; o++)
        for (s.op = k->ops[o], s.row = 0; s.row < s.op->n - 1; s.row++)
            if (tn_variant_fits(&s.op->rows[s.row], caps)) run_case(k, &s);
}

/* With every row that the device can run: the last, which any device may come to, on every size in every type, the others in the
 * types of two bytes on one each, for building kernels takes the time. */
static void run_every(const tn_case *k)
{
    for (int act = TN_F32; act <= (k->float32_only ? TN_F32 : TN_F16); act++)
        for (int size = 0; size <= 2; size++) {
            const tn_case_spec s = {.act = (tn_dtype)act, .size = size, .all = every};
            run_case(k, &s);
            if (act == TN_F32 || size == one_size(act)) run_other_rows(k, s);
        }
}

/* Where launches are cut depends neither on the storage nor on what is done to an element: one type, in slices of several groups
 * and, for launches that have no more, of one. */
static void run_sliced(const tn_case *k, size_t groups, int from, int to)
{
    open_device()->slice_groups = groups;
    for (int size = from; size <= to; size++) run_case(k, &(tn_case_spec){.act = TN_F32, .size = size});
}

static void run_in_slices(const tn_case *k)
{
    const tn_case_spec middle = {.act = TN_F32, .size = 1};
    run_sliced(k, slice(), 1, 1);
    run_other_rows(k, middle);
    run_sliced(k, 1, 0, 1);
    run_other_rows(k, middle);
}

START_TEST(kernel_agrees_with_the_reference)
{
    if (slice()) run_in_slices(case_at(_i));
    else run_every(case_at(_i));
}
END_TEST

/* What a GPU runs instead of a CPU device's kernels where no row of a table says so. */
static const char *const gpu_cases[] = {"layernorm",
                                        "activations",
                                        "glu",
                                        "element-wise",
                                        "dropout",
                                        "rope",
                                        "groupnorm",
                                        "batchnorm",
                                        "norm and activation",
                                        "global response norm",
                                        "tokens and grid",
                                        "gemm split along K",
                                        "depthwise convolution",
                                        "full convolution",
                                        "bilinear resize",
                                        "bilinear resize of a sum",
                                        "patchify of bytes",
                                        "heatmap losses",
                                        "levels",
                                        "deformable attention",
                                        "rows through affine maps"};

static void run_as_gpu(const tn_case *k)
{
    tn_dev *d = open_device();
    const tn_device_type type = d->info.type;
    d->info.type = TN_DEVICE_GPU;
    for (int i = 0; i < 2 && slice(); i++) run_sliced(k, i ? 1 : slice(), 1, 2);
    for (int act = TN_F32; act <= TN_F16 && !slice(); act++) /* a size more in one type: building kernels takes the time */
        for (int size = one_size(act); size <= 2; size++)
            run_case(k, &(tn_case_spec){.act = (tn_dtype)act, .size = size, .all = every});
    d->info.type = type;
}

START_TEST(kernels_for_gpus_agree)
{
    for (int i = 0; i < case_count(); i++)
        if (!strcmp(case_at(i)->name, gpu_cases[_i])) run_as_gpu(case_at(i));
}
END_TEST

/* A wrong element that a tensor's norm hides, and the rounding of bfloat16 that must pass. */
START_TEST(one_wrong_element_is_caught)
{
    enum { COUNT = 40000 };
    static float want[COUNT], got[COUNT];
    tn_rng r = tn_rng_named(5, "elements");
    for (int i = 0; i < COUNT; i++) got[i] = tn_rounded(want[i] = (float)tn_rng_normal(&r), TN_BF16);
    ck_assert(tn_element_error(got, want, COUNT) <= tn_case_element_bound(TN_BF16));
    got[COUNT / 2] += 1;
    ck_assert(tn_relative_error(got, want, COUNT, 0) <= tn_case_bound(TN_BF16));
    ck_assert(!(tn_element_error(got, want, COUNT) <= tn_case_element_bound(TN_BF16)));
    got[COUNT / 2] = NAN;
    ck_assert(!(tn_element_error(got, want, COUNT) <= tn_case_element_bound(TN_BF16)));
}
END_TEST

/* ---- the registry ---- */

/* A row that computes nonsense, one that fails, and one that is right: what runs, and what is remembered. */
typedef struct {
    int which, size;
} toy_args;

static int toy_calls[3];

static int toy_fail(tn_ctx *ctx, const void *args, tn_error *err)
{
    (void)ctx, (void)args;
    toy_calls[0]++;
    return tn_fail(err, TN_ERR_DEVICE, "does not build here");
}

static int toy_run(tn_ctx *ctx, const void *args, tn_error *err)
{
    (void)ctx, (void)args, (void)err;
    toy_calls[2]++;
    return 0;
}

static void toy_key(char *out, size_t n, const void *args)
{
    snprintf(out, n, "%d", ((const toy_args *)args)->size);
}

static const tn_variant toy_rows[] = {{.name = "broken", .run = toy_fail},
                                      {.name = "of a vendor", .needs = TN_CAP_NV_WGMMA, .run = toy_run},
                                      {.name = "portable", .run = toy_run}};
static const tn_variant_op toy = {
    .name = "toy", .rows = toy_rows, .n = 3, .key = toy_key, .kind = toy_key, .args_size = sizeof(toy_args)};
static const tn_variant_op *const toys[] = {&toy, NULL};

/* No case covers the toy's first row, so that nothing may run it, even where it is asked for by name. */
START_TEST(unchecked_rows_do_not_run)
{
    tn_ctx ctx;
    tn_error err = {0};
    const toy_args args = {0, 3};
    setenv("TRACKNET_CACHE", "off", 1);
    tn_ctx_init(&ctx, open_device());
    const tn_registry with_toys = {toys, ctx.registry->check};
    ctx.registry = &with_toys;
    ck_assert_msg(!tn_variant_run(&ctx, &toy, &args, &err), "%s", err.message);
    ck_assert_int_eq(toy_calls[0], 0);
    ck_assert_int_eq(toy_calls[2], 1);
    open_device()->variants = "toy=broken";
    ck_assert(!tn_variant_run(&ctx, &toy, &args, &err));
    ck_assert_int_eq(toy_calls[0], 0);
    open_device()->variants = "toy=unheard";
    ck_assert_int_eq(tn_variant_run(&ctx, &toy, &args, &err), TN_ERR_ARGUMENT);
    open_device()->variants = NULL;
    ctx.registry = NULL; /* nothing can be checked */
    ck_assert(!tn_variant_run(&ctx, &toy, &args, &err));
    ck_assert_int_eq(toy_calls[0], 0);
}
END_TEST

/* What was measured elsewhere is taken once its row has passed here; another vendor's row, and a shape of which nothing is known,
 * are measured. */
START_TEST(shipped_choices_are_checked_and_not_measured)
{
    tn_ctx ctx;
    tn_error err = {0};
    tn_choice k;
    bool known;
    json_t *db;
    tn_wanted w = {.n = 0};
    const toy_args args[] = {{0, 3}, {0, 4}, {0, 5}};
    tn_ctx_init(&ctx, open_device());
    ck_assert(!tn_db(&db, ctx.dev, &err));
    json_object_set_new(db, "shipped",
                        json_pack("{s:{s:{s:s}, s:{s:s}}}", "toy", "3", "variant", "broken", "4", "variant", "of a vendor"));
    for (size_t i = 0; i < TN_COUNT(args); i++) ck_assert_msg(!tn_wanted_add(&w, &ctx, &toy, &args[i], &err), "%s", err.message);
    ck_assert_int_eq(w.n, 3);
    ck_assert_int_eq(w.v[0].row, 0);
    ck_assert_int_eq(w.v[1].row, -1);
    ck_assert_int_eq(w.v[2].row, -1);
    ck_assert(!tn_tuned(&known, &k, ctx.dev, &toy, &args[0], &err) && !known);
    ck_assert(!tn_db_put(db, (const char *const[4]){"checks", "toy", "3", "broken"}, json_pack("{s:b}", "good", 1), &err));
    ck_assert(!tn_tuned(&known, &k, ctx.dev, &toy, &args[0], &err) && known && k.row == 0);
    tn_wanted_free(&w);
    json_object_del(db, "shipped");
    json_object_del(json_object_get(db, "checks"), "toy");
    tn_ctx_free(&ctx);
}
END_TEST

START_TEST(variants_are_asked_for_by_name)
{
    tn_error err = {0};
    ck_assert_int_eq(tn_variant_forced("portable", &toy), 2);
    ck_assert_int_eq(tn_variant_forced("gemm=native,toy=broken", &toy), 0);
    ck_assert_int_eq(tn_variant_forced("portable, toy=broken", &toy), 0);
    ck_assert_int_eq(tn_variant_forced("gemm=native", &toy), -1);
    ck_assert_int_eq(tn_variant_forced(NULL, &toy), -1);
    ck_assert(!tn_variant_list_check("portable,attention=cpu,gemm=clblast", tn_variant_ops, &err));
    ck_assert_int_eq(tn_variant_list_check("gemm=fastest", tn_variant_ops, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "gemm=fastest"));
}
END_TEST

/* Tensors that a kernel would misread are refused, not computed with. */
START_TEST(tensors_are_checked)
{
    tn_ctx ctx;
    tn_error err = {0};
    tn_options o;
    tn_ctx_init(&ctx, open_device());
    ctx.dry = true;
    tn_tensor x = tn_view(NULL, TN_BF16, 4, 32), y = x, part = tn_cols(tn_view(NULL, TN_BF16, 4, 64), 0, 32), f = x;
    f.dtype = TN_F32;
    ck_assert(!tn_act_forward(&ctx, TN_GELU, &x, &y, &err));
    ck_assert_int_eq(tn_act_forward(&ctx, TN_GELU, &part, &y, &err), TN_ERR_ARGUMENT);
    ck_assert_int_eq(tn_act_forward(&ctx, TN_GELU, &x, &f, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "bfloat16 and float32"));
    ck_assert_int_eq(tn_layernorm_forward(&ctx, &x, &x, &f, 1e-5f, &y, &f, &err), TN_ERR_ARGUMENT);
    tn_tensor huge = tn_view(NULL, TN_BF16, 1 << 20, (1 << 12) + 1);
    ck_assert_int_eq(tn_dropout(&ctx, &huge, &huge, (tn_mask){0.5f, 1}, false, false, &err), TN_ERR_ARGUMENT);
    ck_assert_int_eq(tn_options_set(&o, &err, "%300d", 1), TN_ERR_ARGUMENT);
    const tn_levels two = {2, {3, 1}, {2, 2}}; /* 8 cells */
    tn_tensor value = tn_view(NULL, TN_F32, 8, 32), samples = tn_view(NULL, TN_F32, 8, 3 * 4 * 2 * 2), to = value;
    tn_deform deform = {&value, &samples, &two, 4, 2};
    ck_assert_msg(!tn_deform_forward(&ctx, &deform, &to, &err), "%s", err.message);
    deform.points = 3;
    ck_assert_int_eq(tn_deform_forward(&ctx, &deform, &to, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "samples [8, 48]"));
    deform.points = 200;
    ck_assert_int_eq(tn_deform_dvalue(&ctx, &deform, &to, &value, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "more than 256"));
    tn_tensor embed = tn_view(NULL, TN_F32, 3, 32); /* a level too many */
    ck_assert_int_eq(tn_level_positions(&ctx, &two, &value, &embed, &to, &err), TN_ERR_ARGUMENT);
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

/* test-ops --case NAME: one kernel case, smallest size, float32, in this process (what oclgrind watches). */
static int one_case(const char *name)
{
    for (int i = 0; i < case_count(); i++) {
        const tn_case *k = case_at(i);
        tn_case_result r;
        tn_error err = {0};
        const tn_case_spec s = {.act = TN_F32};
        if (strcmp(k->name, name)) continue;
        open_device()->untouched = true;
        open_device()->info.max_work_group = 16; /* small groups: an interpreter runs this */
        int rc = tn_case_run(k, open_device(), &s, &r, &err);
        printf("%s: error %.2g, one element %.2g %s\n", name, r.error, r.element, err.message);
        return rc || !(r.worst <= 1);
    }
    return 2;
}

/* test-ops --every NAME: one case with every row, storage type and size, and what each is off by. */
static int every_row(const char *name)
{
    Suite *s = suite_create("ops");
    TCase *k = tcase_create(name);
    every = true;
    for (int i = 0; i < case_count(); i++)
        if (!strcmp(case_at(i)->name, name)) tcase_add_loop_test(k, kernel_agrees_with_the_reference, i, i + 1);
    for (int i = 0; i < (int)TN_COUNT(gpu_cases); i++)
        if (!strcmp(gpu_cases[i], name)) tcase_add_loop_test(k, kernels_for_gpus_agree, i, i + 1);
    tcase_set_timeout(k, 900);
    suite_add_tcase(s, k);
    return run_suite(s);
}

/* The suite, or a part of it: "products", "gpus", and "rest". */
static int run_part(const char *part)
{
    int products = 0;
    const bool all = !part || slice(), rest = all || !strcmp(part, "rest");
    Suite *s = suite_create("ops");
    TCase *kernels = tcase_create("kernels");
    tcase_set_timeout(kernels, 900);
    suite_add_tcase(s, kernels);
    while (tn_cases_gemm[products].name) products++; /* the first of the tables */
    if (all || !strcmp(part, "products")) tcase_add_loop_test(kernels, kernel_agrees_with_the_reference, 0, products);
    if (rest) tcase_add_loop_test(kernels, kernel_agrees_with_the_reference, products, case_count());
    if (all || !strcmp(part, "gpus")) tcase_add_loop_test(kernels, kernels_for_gpus_agree, 0, TN_COUNT(gpu_cases));
    if (!rest || slice()) return run_suite(s);
    add_tests(s, "refusals", 900,
              TESTS(ONCE(one_wrong_element_is_caught), ONCE(unchecked_rows_do_not_run),
                    ONCE(shipped_choices_are_checked_and_not_measured), ONCE(variants_are_asked_for_by_name),
                    ONCE(tensors_are_checked)));
    add_tests(s, "differences", 60,
              TESTS(ONCE(layernorm_backward), ONCE(groupnorm_backward), ONCE(batchnorm_backward), ONCE(response_norm_backward),
                    ONCE(attention_backward), ONCE(convolution_backward), ONCE(depthwise_backward), ONCE(resize_backward),
                    ONCE(deformable_backward), TIMES(activation_slopes, 4), TIMES(loss_slopes, TN_COUNT(loss_names))));
    return run_suite(s);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--part")) return run_part(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "--every")) return every_row(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "--case")) return one_case(argv[2]);
    for (int i = 0; argc == 2 && i < case_count(); i++) puts(case_at(i)->name); /* --list */
    if (argc == 2) return 0;
    return run_part(NULL);
}
