/* Everything that needs no device: text, files, numbers, safetensors, hub cache, quantisation, configuration, labels,
 * images, the graph's plan. */
#include "checkpoint_dir.h"
#include "dataset.h"
#include "files.h"
#include "image.h"
#include "loader.h"
#include "numeric.h"
#include "plan.h"
#include "quant.h"
#include "settings.h"
#include "../testlib.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(half_formats_round_trip)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = tn_f16_to_f32((uint16_t)h), b = tn_bf16_to_f32((uint16_t)h);
        if (!isnan(f)) ck_assert_uint_eq(tn_f32_to_f16(f), h);
        if (!isnan(b)) ck_assert_uint_eq(tn_f32_to_bf16(b), h);
    }
    ck_assert_uint_eq(tn_f32_to_f16(65520.0f), 0x7c00);     /* rounds to infinity */
    ck_assert_uint_eq(tn_f32_to_bf16(1.00390625f), 0x3f80); /* a tie goes to even */
}
END_TEST

START_TEST(expanded_paths_use_the_environment)
{
    setenv("TN_TEST_VAR", "value", 1);
    char *p = tn_expand_path("$TN_TEST_VAR/x/${TN_TEST_VAR}y");
    ck_assert_str_eq(p, "value/x/valuey");
    free(p);
}
END_TEST

/* ---- safetensors ---- */

static void write_header(const char *path, const char *json, size_t data)
{
    tn_text t = {0};
    unsigned char n[8] = {0};
    size_t len = strlen(json);
    for (int i = 0; i < 8; i++) n[i] = (unsigned char)(len >> (8 * i));
    tn_text_add(&t, (char *)n, 8);
    tn_text_add(&t, json, len);
    for (size_t i = 0; i < data; i++) tn_text_add(&t, "\0", 1);
    ck_assert_int_eq(tn_write_file(path, t.s, t.len, NULL), 0);
    tn_text_free(&t);
}

START_TEST(safetensors_written_is_read)
{
    tn_error e;
    float a[6] = {1, 2, 3, 4, 5, 6}, got[6];
    uint16_t h[2] = {0x3f80, 0xc000};
    tn_st_entry v[] = {{"b", "BF16", 1, {2}, h, 4}, {"a", "F32", 2, {2, 3}, a, 24}, {"empty", "F32", 2, {0, 3}, a, 0}};
    char *p = temp_path("x.safetensors");
    ck_assert_int_eq(tn_st_write(p, v, 3, &e), 0);
    tn_st_file *f;
    ck_assert_int_eq(tn_st_open(&f, p, &e), 0);
    ck_assert_int_eq(f->n, 3);
    ck_assert_int_eq(tn_st_read_f32(f, tn_st_find(f, "a"), got, &e), 0);
    ck_assert_mem_eq(a, got, sizeof a);
    ck_assert_int_eq(tn_st_read_f32(f, tn_st_find(f, "b"), got, &e), 0);
    ck_assert(got[0] == 1.0f && got[1] == -2.0f);
    ck_assert_ptr_null(tn_st_find(f, "c"));
    tn_st_close(f);
    free(p);
}
END_TEST

static const struct {
    const char *json, *says;
    size_t data;
} lies[] = {
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "outside the file", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "does not fit", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "hole", 8},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "does not end", 8},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"
     "}}",
     "JSON", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "no size", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", "no size", 4},
    {"{\"a\":{\"dtype\":\"X32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "dtype", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", "exactly", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[70368744177664,70368744177664],\"data_offsets\":[0,4]}}", "too large", 4},
    {"{\"__metadata__\":{\"x\":1},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "no string", 4},
    {"[1]", "no JSON object", 0},
};

START_TEST(safetensors_refuses_lies)
{
    tn_error e = {0};
    tn_st_file *f;
    char *p = temp_path("lie.safetensors");
    write_header(p, lies[_i].json, lies[_i].data);
    ck_assert_int_ne(tn_st_open(&f, p, &e), 0);
    ck_assert_msg(strstr(e.message, lies[_i].says) && strstr(e.message, p), "%s", e.message);
    free(p);
}
END_TEST

START_TEST(safetensors_refuses_every_truncation)
{
    tn_error e;
    float a[4] = {1, 2, 3, 4};
    tn_st_entry v[] = {{"a", "F32", 1, {4}, a, 16}};
    char *p = temp_path("t.safetensors"), *q = temp_path("cut.safetensors"), *data;
    size_t n;
    ck_assert_int_eq(tn_st_write(p, v, 1, &e), 0);
    ck_assert_int_eq(tn_read_file(&data, &n, p, &e), 0);
    for (size_t k = 0; k < n; k++) {
        tn_st_file *f;
        ck_assert_int_eq(tn_write_file(q, data, k, &e), 0);
        ck_assert_int_ne(tn_st_open(&f, q, &e), 0);
    }
    free(data);
    free(p);
    free(q);
}
END_TEST

START_TEST(hub_cache_resolves_main_and_says_how_to_fetch)
{
    tn_error e = {0};
    char *root = temp_path("hub"), *repo = tn_strf("%s/models--org--name", root), *refs = tn_strf("%s/refs", repo);
    char *snap = tn_strf("%s/snapshots/abc", repo), *main_ref = tn_strf("%s/main", refs), *got = NULL, *note = NULL;
    setenv("HF_HUB_CACHE", root, 1);
    ck_assert_int_ne(tn_hub_resolve(&got, &note, "org/name", &e), 0);
    ck_assert_msg(strstr(e.message, "huggingface-cli download org/name"), "%s", e.message);
    tn_mkdirs(refs, NULL);
    tn_mkdirs(snap, NULL);
    tn_write_file(main_ref, "abc\n", 4, NULL);
    ck_assert_int_eq(tn_hub_resolve(&got, &note, "org/name", &e), 0);
    ck_assert_str_eq(got, snap);
    unsetenv("HF_HUB_CACHE");
    free(got), free(root), free(repo), free(refs), free(snap), free(main_ref);
}
END_TEST

/* ---- quantisation ---- */

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

/* ---- configuration ---- */

static int load(tn_config **c, const char *const *keys, int n, tn_error *e)
{
    tn_config_source s = {
        .version = TN_CONFIG_SOURCE_VERSION, .config_dir = SOURCE_DIR "/configs", .overrides = keys, .n_overrides = n};
    return tn_config_load(c, &s, e);
}

START_TEST(every_shipped_configuration_loads_and_dumps_to_itself)
{
    static const char *const models[] = {"vit_heatmap", "vit_lora_heatmap", "vit_qlora_heatmap", "vit_demo", "vit_qlora_random"};
    static const char *const trainings[] = {"default", "qlora", "demo", "overfit"};
    for (size_t i = 0; i < TN_COUNT(models) * TN_COUNT(trainings); i++) {
        tn_config *c, *d;
        tn_error e = {0};
        char *one, *two, *p = temp_path("merged.yaml");
        tn_config_source s = {.version = TN_CONFIG_SOURCE_VERSION,
                              .config_dir = SOURCE_DIR "/configs",
                              .model = models[i % TN_COUNT(models)],
                              .training = trainings[i / TN_COUNT(models)]};
        ck_assert_msg(!tn_config_load(&c, &s, &e), "%s", e.message);
        ck_assert_int_eq(tn_config_dump(c, &one, &e), 0);
        ck_assert_int_eq(tn_write_file(p, one, strlen(one), &e), 0);
        tn_config_source again = {.version = TN_CONFIG_SOURCE_VERSION, .merged = p};
        ck_assert_msg(!tn_config_load(&d, &again, &e), "%s", e.message);
        ck_assert_int_eq(tn_config_dump(d, &two, &e), 0);
        ck_assert_str_eq(one, two);
        free(one), free(two), free(p);
        tn_config_free(c), tn_config_free(d);
    }
}
END_TEST

START_TEST(overrides_and_types_are_honoured)
{
    const char *keys[] = {"training.optimizer.lr=1e-4", "model.lora.r=8", "data.split.train_games=[a,b]",
                          "model.lora.target_modules=null", "training.lora.lora_alpha=9"};
    tn_config *c;
    tn_error e = {0};
    ck_assert_msg(!load(&c, keys, 5, &e), "%s", e.message);
    const tn_settings *s = tn_config_settings(c);
    ck_assert_double_eq_tol(s->training.lr, 1e-4, 1e-15);
    ck_assert_int_eq(s->model.lora.r, 8);
    ck_assert_int_eq(s->data.train_games.n, 2);
    ck_assert_str_eq(s->data.train_games.v[1], "b");
    ck_assert_double_eq(s->model.lora.alpha, 9); /* the older place of the key */
    tn_config_free(c);
}
END_TEST

static const struct {
    const char *key, *says;
} wrong_keys[] = {
    {"training.optimizer.lrr=1", "did you mean 'training.optimizer.lr'"},
    {"training.batch_size=many", "training.batch_size must be a whole number"},
    {"training.batch_size=0", "from 1"},
    {"training.batch_size=1.5", "whole number"},
    {"data.preprocess.flip_prob=2", "from 0 to 1"},
    {"data.preprocess.normalize=1", "true or false"},
    {"model.decoder.norm=ln", "gn|bn"},
    {"model.heatmap.size=[1]", "[width, height]"},
    {"model.model_name=convnext_fpn_heatmap", "not built yet"},
    {"model.model_name=something", "not known"},
    {"model.quantization.quant_type=q5", "nf4|fp4"},
    {"model.quantization.block_size=48", "power of two"},
    {"nonsense", "KEY=VALUE"},
    {"training={", "not valid YAML"},
};

START_TEST(wrong_keys_get_one_sentence)
{
    tn_config *c = NULL;
    tn_error e = {0};
    ck_assert_int_ne(load(&c, &wrong_keys[_i].key, 1, &e), 0);
    ck_assert_msg(strstr(e.message, wrong_keys[_i].says), "%s", e.message);
}
END_TEST

START_TEST(a_wrong_key_in_a_file_is_placed)
{
    tn_config *c;
    tn_error e = {0};
    char *p = temp_path("bad.yaml");
    const char *text = "optimizer:\n  name: adamw\n  lrate: 3\n";
    tn_write_file(p, text, strlen(text), NULL);
    tn_config_source s = {.version = TN_CONFIG_SOURCE_VERSION, .config_dir = SOURCE_DIR "/configs", .training = p};
    ck_assert_int_ne(tn_config_load(&c, &s, &e), 0);
    char *want = tn_strf("%s:3:3: unknown key 'training.optimizer.lrate'", p);
    ck_assert_msg(strstr(e.message, want), "%s", e.message);
    free(want);
    free(p);
}
END_TEST

/* ---- data ---- */

static int read_labels(const char *csv, tn_dataset *d, tn_error *e)
{
    char *dir = temp_path("clip"), *p = tn_strf("%s/Label.csv", dir), *f = tn_strf("%s/0000.jpg", dir),
         *g = tn_strf("%s/0001.jpg", dir);
    tn_mkdirs(dir, NULL);
    tn_write_file(f, "x", 1, NULL), tn_write_file(g, "x", 1, NULL), tn_write_file(p, csv, strlen(csv), NULL);
    *d = (tn_dataset){0};
    int rc = tn_labels_read(d, dir, p, e);
    free(dir), free(p), free(f), free(g);
    return rc;
}

START_TEST(both_label_headers_are_read)
{
    tn_dataset d;
    tn_error e = {0};
    const char *one =
        "file name,visibility,x-coordinate,y-coordinate,status\n0000.jpg,1,561,458,0\n0001.jpg,0,,,\n0009.jpg,1,5,5,0\n";
    const char *two = "File Name,Visibility Class,X,Y,Trajectory Pattern\r\n0000.jpg,2,628.0,10.5,1\r\n0001.jpg,0,-1,-1,0\r\n";
    ck_assert_msg(!read_labels(one, &d, &e), "%s", e.message);
    ck_assert_int_eq(d.n, 2);
    ck_assert_int_eq(d.missing, 1);
    ck_assert(d.f[0].visible && d.f[0].x == 561 && d.f[0].y == 458 && !d.f[1].visible);
    tn_dataset_free(&d);
    ck_assert_msg(!read_labels(two, &d, &e), "%s", e.message);
    ck_assert(d.n == 2 && d.f[0].x == 628 && d.f[0].y == 10.5 && !d.f[1].visible);
    tn_dataset_free(&d);
}
END_TEST

START_TEST(bad_label_rows_are_placed)
{
    static const char *const rows[] = {"0000.jpg,1",     "0000.jpg,x,1,2,0",    "0000.jpg,1,a,2,0",
                                       "0000.jpg,1,,,0", "../0000.jpg,1,1,2,0", "0000.jpg,7,1,2,0"};
    char *csv = tn_strf("h,v,x,y,s\n0001.jpg,0,,,\n%s\n", rows[_i]);
    tn_dataset d;
    tn_error e = {0};
    ck_assert_int_ne(read_labels(csv, &d, &e), 0);
    ck_assert_msg(strstr(e.message, "Label.csv:3:"), "%s", e.message);
    tn_dataset_free(&d);
    free(csv);
}
END_TEST

START_TEST(resize_is_pillows)
{
    static const struct {
        const char *file;
        int w, h, x0, y0, x1, y1;
    } cases[] = {{"volleyball_0010_512x288.png", 512, 288, 0, 0, 0, 0},
                 {"volleyball_0010_250x141.png", 250, 141, 0, 0, 0, 0},
                 {"volleyball_0010_crop300_200_400_260_to_224x133.png", 224, 133, 300, 200, 400, 260}};
    tn_image im, want, got, part;
    tn_error e = {0};
    char *p = tn_strf("%s/tests/golden/cases/preprocess/%s", SOURCE_DIR, cases[_i].file);
    ck_assert_msg(!tn_image_load(&im, SOURCE_DIR "/tests/data/volleyball/game1/Clip1/0010.jpg", &e), "%s", e.message);
    ck_assert_msg(!tn_image_load(&want, p, &e), "%s", e.message);
    if (cases[_i].x1) {
        ck_assert_int_eq(tn_image_new(&part, cases[_i].x1 - cases[_i].x0, cases[_i].y1 - cases[_i].y0, &e), 0);
        for (int y = 0; y < part.h; y++)
            memcpy(part.rgb + y * part.w * 3, im.rgb + ((cases[_i].y0 + y) * im.w + cases[_i].x0) * 3, (size_t)part.w * 3);
        tn_image_free(&im);
        im = part;
    }
    ck_assert_int_eq(tn_image_resize(&got, &im, cases[_i].w, cases[_i].h, &e), 0);
    int off = 0, far = 0;
    for (int i = 0; i < got.w * got.h * 3; i++) {
        int d = abs(got.rgb[i] - want.rgb[i]);
        off += d == 1;
        far += d > 1;
    }
    ck_assert_int_eq(far, 0);
    ck_assert_int_lt(off, got.w * got.h * 3 / 1000 + 1);
    tn_image_free(&im), tn_image_free(&want), tn_image_free(&got);
    free(p);
}
END_TEST

START_TEST(a_truncated_jpeg_is_refused)
{
    char *data, *p = temp_path("cut.jpg");
    size_t n;
    tn_error e = {0};
    tn_image im;
    ck_assert_int_eq(tn_read_file(&data, &n, SOURCE_DIR "/tests/data/volleyball/game1/Clip1/0000.jpg", &e), 0);
    tn_write_file(p, data, n / 2, NULL);
    ck_assert_int_ne(tn_image_load(&im, p, &e), 0);
    ck_assert_msg(strstr(e.message, "ends too early") && strstr(e.message, p), "%s", e.message);
    tn_write_file(p, data, 20, NULL);
    ck_assert_int_ne(tn_image_load(&im, p, &e), 0);
    tn_write_file(p, "plain text", 10, NULL);
    ck_assert_int_ne(tn_image_load(&im, p, &e), 0);
    ck_assert(strstr(e.message, "neither JPEG nor PNG"));
    free(data), free(p);
}
END_TEST

START_TEST(shuffles_are_permutations_of_the_seed)
{
    int a[50], b[50], seen[50] = {0};
    tn_shuffle(a, 50, 1, 2);
    tn_shuffle(b, 50, 1, 2);
    ck_assert_mem_eq(a, b, sizeof a);
    tn_shuffle(b, 50, 1, 3);
    ck_assert(memcmp(a, b, sizeof a));
    for (int i = 0; i < 50; i++) seen[a[i]]++;
    for (int i = 0; i < 50; i++) ck_assert_int_eq(seen[i], 1);
}
END_TEST

/* ---- memory plan ---- */

START_TEST(planned_tensors_that_live_together_never_overlap)
{
    tn_graph g;
    tn_rng r = tn_rng_named((uint64_t)_i, "plan");
    tn_graph_init(&g, 1);
    tn_graph_layer(&g, "l", 0);
    for (int i = 0; i < 60; i++) tn_graph_tensor(&g, TN_G_ACT, TN_F32, 1 + (int)tn_rng_below(&r, 40), 64, "t");
    for (int i = 0; i < 80; i++) {
        tn_gnode *n = tn_graph_node(&g, TN_OP_RESIDUAL);
        n->in[0] = (int)tn_rng_below(&r, 60), n->in[1] = (int)tn_rng_below(&r, 60), n->out[0] = (int)tn_rng_below(&r, 60);
    }
    tn_plan p;
    tn_error e;
    const size_t largest = 64 << 10;
    ck_assert_int_eq(tn_plan_make(&p, &g, 256, largest, &e), 0);
    for (int i = 0; i < g.n_t; i++) {
        if (p.t[i].last < 0) continue;
        ck_assert(p.t[i].offset % 256 == 0 && p.t[i].offset + p.t[i].bytes <= largest);
        for (int k = 0; k < i; k++) {
            const tn_planned *a = &p.t[i], *b = &p.t[k];
            if (b->last < 0 || a->chunk != b->chunk || a->last < b->first || b->last < a->first) continue;
            ck_assert(a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
        }
    }
    ck_assert_uint_ge(p.total, p.live_peak);
    tn_plan_free(&p);
    tn_graph_free(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("unit");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, half_formats_round_trip);
    tcase_add_test(c, expanded_paths_use_the_environment);
    tcase_add_test(c, safetensors_written_is_read);
    tcase_add_loop_test(c, safetensors_refuses_lies, 0, (int)TN_COUNT(lies));
    tcase_add_test(c, safetensors_refuses_every_truncation);
    tcase_add_test(c, hub_cache_resolves_main_and_says_how_to_fetch);
    tcase_add_loop_test(c, quantisation_stays_within_its_bound, 0, 2 * TN_Q_TYPES);
    tcase_add_loop_test(c, block_sizes_a_format_forbids_are_refused, 0, (int)TN_COUNT(blocks));
    tcase_add_test(c, small_floats_round_to_the_nearest);
    tcase_add_test(c, quantisation_packs_the_first_element_high);
    tcase_add_test(c, dynamic_map_has_the_known_values);
    tcase_add_test(c, every_shipped_configuration_loads_and_dumps_to_itself);
    tcase_add_test(c, overrides_and_types_are_honoured);
    tcase_add_loop_test(c, wrong_keys_get_one_sentence, 0, (int)TN_COUNT(wrong_keys));
    tcase_add_test(c, a_wrong_key_in_a_file_is_placed);
    tcase_add_test(c, both_label_headers_are_read);
    tcase_add_loop_test(c, bad_label_rows_are_placed, 0, 6);
    tcase_add_loop_test(c, resize_is_pillows, 0, 3);
    tcase_add_test(c, a_truncated_jpeg_is_refused);
    tcase_add_test(c, shuffles_are_permutations_of_the_seed);
    tcase_add_loop_test(c, planned_tensors_that_live_together_never_overlap, 0, 10);
    suite_add_tcase(s, c);
    return run_suite(s);
}
