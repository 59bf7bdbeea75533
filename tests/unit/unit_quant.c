/* Low-bit formats. */
#include "numeric.h"
#include "quant.h"
#include "unit.h"

#include <math.h>
#include <string.h>

START_TEST(quantisation_stays_within_its_bound)
{
    const tn_qtype type = (tn_qtype)(_i / 2);
    enum { R = 33, C = 128 };
    const tn_qshape shape = {.type = type, .rows = R, .cols = C, .nested = _i % 2 && tn_qformats[type].nestable};
    tn_rng r = tn_rng_named(3, "quant");
    float w[R * C], back[R * C];
    for (int i = 0; i < R * C; i++) w[i] = (float)tn_rng_normal(&r);
    for (int i = 128; i < 256; i++) w[i] = 0; /* a block of zeros */
    tn_qmatrix q;
    tn_error e;
    ck_assert_int_eq(tn_quantize(&q, w, &shape, "w", &e), 0);
    tn_dequantize(&q, back);
    const int block = q.s.block;
    for (int i = 0; i < R * C; i++) {
        float top = 0;
        for (int k = i / block * block; k < TN_MIN(i / block * block + block, R * C); k++) top = fmaxf(top, fabsf(w[k]));
        const double slack = shape.nested ? 0.05 : 1e-6; /* the scale itself is 8-bit */
        ck_assert_double_le(fabs(w[i] - back[i]), top * tn_qformats[type].worst_error + slack * fmax(top, 1));
    }
    tn_qmatrix_free(&q);
    w[5] = NAN;
    ck_assert_int_eq(tn_quantize(&q, w, &shape, "layer.3.w", &e), TN_ERR_NUMERIC);
    ck_assert(strstr(e.message, "layer.3.w"));
}
END_TEST

static const struct {
    tn_qtype type;
    int block, cols;
    const char *says; /* NULL: allowed */
} blocks[] = {
    {TN_Q_NF4, 48, 64, "powers of two from 32 to 4096"},
    {TN_Q_NF4, 4096, 7, NULL},
    {TN_Q_FP4, 8192, 64, "from 32 to 4096"},
    {TN_Q_INT4, 256, 512, "from 32 to 128"},
    {TN_Q_INT4, 64, 96, "no multiple"},
    {TN_Q_INT4_ASYM, 32, 96, NULL},
    {TN_Q_MXFP4, 64, 64, "blocks of 32"},
    {TN_Q_NVFP4, 32, 64, "blocks of 16"},
    {TN_Q_INT8, 64, 7, NULL},
};

START_TEST(block_sizes_a_format_forbids_are_refused)
{
    tn_qmatrix q = {0};
    tn_error e = {0};
    float w[512] = {1, -1};
    const tn_qshape s = {.type = blocks[_i].type, .rows = 1, .cols = blocks[_i].cols, .block = blocks[_i].block};
    ck_assert_int_eq(tn_quantize(&q, w, &s, "layer.3.w", &e), blocks[_i].says ? TN_ERR_CONFIG : 0);
    ck_assert_msg(!blocks[_i].says || (strstr(e.message, blocks[_i].says) && strstr(e.message, "layer.3.w")), "%s", e.message);
    tn_qmatrix_free(&q);
}
END_TEST

START_TEST(quantisation_packs_the_first_element_high)
{
    tn_qmatrix q;
    tn_error e;
    float w[64] = {1, -1};
    tn_qshape s = {.type = TN_Q_NF4, .rows = 1, .cols = 64};
    ck_assert_int_eq(tn_quantize(&q, w, &s, "w", &e), 0);
    ck_assert_uint_eq(q.packed[0], 0xf0);
    ck_assert_uint_eq(q.packed[1], 0x77);
    tn_qmatrix_free(&q);
    s.type = TN_Q_MXFP4; /* low nibble first; 1 is code 4 of 2^-2 x (0 .. 6) */
    ck_assert_int_eq(tn_quantize(&q, w, &s, "w", &e), 0);
    ck_assert_uint_eq(q.packed[0], 0xe6);
    ck_assert_uint_eq(q.scale_q[0], 125);
    tn_qmatrix_free(&q);
}
END_TEST

START_TEST(small_floats_round_to_the_nearest)
{
    for (int v = 0; v < 126; v++) {
        const float a = tn_e4m3_to_f32((uint8_t)v), b = tn_e4m3_to_f32((uint8_t)(v + 1)), mid = (a + b) / 2;
        ck_assert_uint_eq(tn_f32_to_e4m3(a), v);
        ck_assert_uint_eq(tn_f32_to_e4m3(nextafterf(mid, 0)), v);
        ck_assert_uint_eq(tn_f32_to_e4m3(nextafterf(mid, 1e9f)), v + 1);
        ck_assert_uint_eq(tn_f32_to_e4m3(mid), v % 2 ? v + 1 : v);
    }
    ck_assert_uint_eq(tn_f32_to_e4m3(1e9f), 126);
    ck_assert_float_eq(tn_e4m3_to_f32(126), 448);
    ck_assert(tn_e8m0_to_f32(127) == 1 && tn_e8m0_to_f32(0) == 0x1p-127f);
}
END_TEST

START_TEST(dynamic_map_has_the_known_values)
{
    float m[256];
    tn_dynamic_map(m);
    ck_assert_float_eq_tol(m[0], -0.99296875f, 1e-6f);
    ck_assert(m[127] == 0 && m[255] == 1.0f);
    ck_assert_float_eq_tol(m[128], 5.5e-7f, 1e-12f);
    for (int i = 1; i < 256; i++) ck_assert(m[i] > m[i - 1]);
}
END_TEST

void unit_quant(Suite *s)
{
    add_tests(s, "quant", 120,
              TESTS(TIMES(quantisation_stays_within_its_bound, 2 * TN_Q_TYPES),
                    TIMES(block_sizes_a_format_forbids_are_refused, TN_COUNT(blocks)), ONCE(small_floats_round_to_the_nearest),
                    ONCE(quantisation_packs_the_first_element_high), ONCE(dynamic_map_has_the_known_values)));
}
