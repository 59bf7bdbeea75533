/* What of the operations with variants a usual backbone runs. */
#include "clblast.h"
#include "gemm.h"
#include "tuning.h"

/* ViT-S on 322 x 322 pixels, two images: 581 tokens an image. */
enum { IMAGES = 2, TOKENS = 581, ROWS = IMAGES * TOKENS, DIM = 384, HIDDEN = 1536, HEADS = 6, RANK = 16 };

static tn_tensor mat(tn_dtype t, int rows, int cols)
{
    return tn_view(NULL, t, rows, cols);
}

/* The products of a layer: forward, towards the input, and an adapter's gradient. */
static int usual_products(tn_ctx *c, tn_dtype act, tn_error *err)
{
    static const int shapes[][2] = {{DIM, DIM}, {3 * DIM, DIM}, {HIDDEN, DIM}, {DIM, HIDDEN}};
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        const int n = shapes[i][0], k = shapes[i][1];
        const tn_tensor x = mat(act, ROWS, k), w = mat(act, n, k), y = mat(act, ROWS, n);
        TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.tb = true, .alpha = 1, .A = x, .B = w, .C = y}, err));
        TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.alpha = 1, .A = y, .B = w, .C = x}, err));
    }
    const tn_tensor x = mat(act, ROWS, DIM), t = mat(act, ROWS, RANK), a = mat(TN_F32, RANK, DIM), b = mat(TN_F32, DIM, RANK);
    TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.tb = true, .alpha = 1, .A = x, .B = a, .C = t}, err));
    TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.tb = true, .alpha = 1, .A = t, .B = b, .beta = 1, .C = x}, err));
    return tn_gemm_run(c, &(tn_gemm_args){.ta = true, .alpha = 1, .A = t, .B = x, .beta = 1, .C = a}, err);
}

static int usual_rest(tn_ctx *c, tn_dtype act, tn_error *err)
{
    tn_tensor x = mat(act, ROWS, DIM), gamma = mat(TN_F32, 1, DIM), stats = mat(TN_F32, ROWS, 2), qkv = mat(act, ROWS, 3 * DIM);
    tn_tensor lse = mat(TN_F32, IMAGES * HEADS, TOKENS), w = mat(act, HIDDEN, DIM);
    TN_TRY(tn_layernorm_forward(c, &x, &gamma, &gamma, 1e-6f, &x, &stats, err));
    TN_TRY(tn_layernorm_backward(c, &(tn_layernorm_back){&x, &gamma, &stats, &x, &gamma, &x}, &x, true, err));
    TN_TRY(tn_attention_forward(c, &qkv, IMAGES, HEADS, &x, &lse, err));
    TN_TRY(tn_attention_backward(c, &(tn_attention){.qkv = &qkv, .o = &x, .lse = &lse, .batch = IMAGES, .heads = HEADS}, &x, &lse,
                                 &qkv, err));
    const tn_qtensor q = {.s = {.type = TN_Q_NF4, .rows = HIDDEN, .cols = DIM, .block = 64, .nested = true}};
    TN_TRY(tn_unpack(c, &q, &w, err));
    for (int tokens = 1; tokens <= TN_QGEMV_ROWS; tokens *= 2) {
        tn_tensor few = mat(act, tokens, DIM);
        bool pays;
        TN_TRY(tn_qgemv_pays(c, &q, &few, &pays, err));
    }
    return 0;
}

static int usual_convolution(tn_ctx *c, tn_dtype act, const tn_conv *s, int channels, tn_error *err)
{
    const int rows = s->batch * s->in.h * s->in.w;
    tn_tensor x = mat(act, rows, channels), w = mat(TN_F32, channels, channels / s->groups * s->kernel * s->kernel),
              b = mat(TN_F32, 1, channels);
    TN_TRY(tn_conv_forward(c, s, &x, &w, &b, &x, err));
    return tn_conv_backward(c, s, &(tn_conv_grads){&x, &w, &x, &x, &w, &b}, err);
}

/* Of a ConvNeXt-T's third stage, and of a pyramid behind it, on 512 x 288 pixels. */
static int usual_convolutions(tn_ctx *c, tn_dtype act, tn_error *err)
{
    TN_TRY(usual_convolution(c, act, &(tn_conv){IMAGES, {18, 32}, {18, 32}, 7, 1, 3, DIM, false}, DIM, err));
    return usual_convolution(c, act, &(tn_conv){IMAGES, {36, 64}, {36, 64}, 3, 1, 1, 1, false}, 256, err);
}

static int tune_usual(tn_dev *d, bool products_alone, tn_error *err)
{
    tn_ctx c;
    tn_wanted w = {.again = true};
    tn_ctx_init(&c, d);
    c.dry = true;
    c.wanted = &w;
    int rc = 0;
    for (int act = TN_F32; !rc && act <= TN_BF16; act++) {
        rc = usual_products(&c, (tn_dtype)act, err);
        if (!rc && !products_alone) rc = usual_rest(&c, (tn_dtype)act, err);
        if (!rc && !products_alone) rc = usual_convolutions(&c, (tn_dtype)act, err);
    }
    if (!rc) rc = tn_tune(&w, d, err);
    tn_wanted_free(&w);
    return rc;
}

int tn_tune_usual(tn_dev *d, int seconds, tn_error *err)
{
    enum { SEARCH_SECONDS = 120 };
    bool near = seconds > 0, changed = false;
    TN_TRY(tune_usual(d, false, err));
    if (!near) TN_TRY(tn_clblast_is_near(&near, d, err));
    if (near) TN_TRY(tn_clblast_tune(&changed, d, seconds > 0 ? seconds : SEARCH_SECONDS, err));
    return changed ? tune_usual(d, true, err) : 0;
}
