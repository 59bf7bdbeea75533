/* PyTorch's files read as data: opcodes, classes, strides, bounds, and what a hostile file gets. */
#include "../testlib.h"
#include "names.h"
#include "pickle.h"
#include "torch_file.h"

#include <minizip/zip.h>
#include <string.h>

/* ---- pickles by hand ---- */

typedef struct {
    unsigned char b[4096];
    size_t n;
} bytes;

static void add(bytes *x, const void *p, size_t n)
{
    memcpy(x->b + x->n, p, n);
    x->n += n;
}

static void op(bytes *x, const char *ops)
{
    add(x, ops, strlen(ops));
}

static void text(bytes *x, const char *s)
{
    const unsigned char head[] = {'X', (unsigned char)strlen(s), 0, 0, 0};
    add(x, head, sizeof head);
    op(x, s);
}

static void num(bytes *x, int v)
{
    const unsigned char b[] = {'J', (unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16), (unsigned char)(v >> 24)};
    add(x, b, sizeof b);
}

typedef struct {
    const char *name, *storage;
    int elements, offset, rows, cols, row_stride, col_stride;
} view;

/* torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict()) */
static void tensor(bytes *x, const view *v)
{
    op(x, "ctorch._utils\n_rebuild_tensor_v2\n((");
    text(x, "storage");
    op(x, "ctorch\n");
    op(x, v->storage);
    op(x, "\n");
    text(x, "0");
    text(x, "cpu");
    num(x, v->elements);
    op(x, "tQ");
    num(x, v->offset);
    op(x, "(");
    num(x, v->rows);
    num(x, v->cols);
    op(x, "t(");
    num(x, v->row_stride);
    num(x, v->col_stride);
    op(x, "t\x89"
          "ccollections\nOrderedDict\n)RtR");
}

static bytes state(const view *v, int n)
{
    bytes x = {{0}, 0};
    op(&x, "\x80\x02"
           "ccollections\nOrderedDict\n)R(");
    for (int i = 0; i < n; i++) {
        text(&x, v[i].name);
        tensor(&x, &v[i]);
    }
    op(&x, "u.");
    return x;
}

static void put_file(zipFile z, const char *name, const void *data, size_t n)
{
    zip_fileinfo info;
    memset(&info, 0, sizeof info);
    ck_assert_int_eq(zipOpenNewFileInZip(z, name, &info, NULL, 0, NULL, 0, NULL, 0, 0), ZIP_OK);
    ck_assert_int_eq(zipWriteInFileInZip(z, data, (unsigned)n), ZIP_OK);
    ck_assert_int_eq(zipCloseFileInZip(z), ZIP_OK);
}

/* A file as torch.save lays it out: the pickle, and one storage. */
static char *saved(const bytes *pickle, const void *storage, size_t n)
{
    char *path = temp_path("x.bin");
    zipFile z = zipOpen64(path, APPEND_STATUS_CREATE);
    ck_assert_ptr_nonnull(z);
    put_file(z, "archive/data.pkl", pickle->b, pickle->n);
    put_file(z, "archive/data/0", storage, n);
    zipClose(z, NULL);
    return path;
}

static const float values[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static int open_views(tn_st_file **f, const view *v, int n, tn_error *e)
{
    const bytes x = state(v, n);
    char *path = saved(&x, values, sizeof values);
    int rc = tn_tensors_open(f, path, e);
    free(path);
    return rc;
}

/* ---- what is read ---- */

START_TEST(views_of_one_storage)
{
    const view v[] = {{"whole", "FloatStorage", 12, 0, 3, 4, 4, 1},
                      {"turned", "FloatStorage", 12, 0, 4, 3, 1, 4},
                      {"corner", "FloatStorage", 12, 5, 2, 3, 4, 1},
                      {"repeated", "FloatStorage", 12, 2, 2, 2, 0, 1}};
    static const float want[4][12] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}, {5, 6, 7, 9, 10, 11}, {2, 3, 2, 3}};
    tn_st_file *f;
    tn_error e = {0};
    ck_assert_msg(!open_views(&f, v, 4, &e), "%s", e.message);
    ck_assert_int_eq(f->n, 4);
    for (int i = 0; i < 4; i++) {
        float got[12] = {0};
        const tn_st_tensor *t = tn_st_find(f, v[i].name);
        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(tn_st_read_f32(f, t, got, &e), 0);
        ck_assert_msg(!memcmp(got, want[i], (size_t)t->count * 4), "%s", v[i].name);
    }
    tn_st_close(f);
}
END_TEST

START_TEST(halves)
{
    static const uint16_t half[] = {0x3c00, 0xc000, 0x3800}, brain[] = {0x3f80, 0xc000, 0x3f00};
    static const float want[] = {1, -2, 0.5f};
    for (int k = 0; k < 2; k++) {
        const view v = {"t", k ? "BFloat16Storage" : "HalfStorage", 3, 0, 1, 3, 3, 1};
        const bytes x = state(&v, 1);
        char *path = saved(&x, k ? brain : half, sizeof half);
        tn_st_file *f;
        tn_error e = {0};
        float got[3];
        ck_assert_msg(!tn_tensors_open(&f, path, &e), "%s", e.message);
        ck_assert_int_eq(tn_st_read_f32(f, &f->t[0], got, &e), 0);
        ck_assert_int_eq(memcmp(got, want, sizeof want), 0);
        tn_st_close(f);
        free(path);
    }
}
END_TEST

/* {"hyper_parameters": os.system("x"), "epoch": 3, "state_dict": {...}}: the stranger stands outside, and is never called. */
START_TEST(strangers_beside_the_state_dict)
{
    const view v = {"w", "FloatStorage", 12, 0, 3, 4, 4, 1};
    bytes x = {{0}, 0}, inner = state(&v, 1);
    op(&x, "\x80\x02}(");
    text(&x, "hyper_parameters");
    op(&x, "cposix\nsystem\n(");
    text(&x, "exit 1");
    op(&x, "tR}b");
    text(&x, "epoch");
    num(&x, -3);
    text(&x, "set");
    op(&x, "(K\x01\x91");
    text(&x, "long");
    add(&x,
        "\x8b\x0a\0\0\0"
        "0123456789",
        15);
    text(&x, "state_dict");
    add(&x, inner.b + 2, inner.n - 3);
    op(&x, "u.");
    char *path = saved(&x, values, sizeof values);
    tn_st_file *f;
    tn_error e = {0};
    ck_assert_msg(!tn_tensors_open(&f, path, &e), "%s", e.message);
    ck_assert_int_eq(f->n, 1);
    ck_assert_str_eq(f->t[0].name, "w");
    tn_st_close(f);
    free(path);
}
END_TEST

/* ---- what is refused ---- */

static void refused(const bytes *x, const char *says)
{
    char *path = saved(x, values, sizeof values);
    tn_st_file *f;
    tn_error e = {0};
    ck_assert_int_ne(tn_tensors_open(&f, path, &e), 0);
    ck_assert_msg(strstr(e.message, says) != NULL, "'%s' is not said: %s", says, e.message);
    ck_assert_ptr_null(f);
    free(path);
}

START_TEST(a_stranger_in_the_state_dict)
{
    bytes x = {{0}, 0};
    op(&x, "\x80\x02}(");
    text(&x, "w");
    op(&x, "cposix\nsystem\n(");
    text(&x, "exit 1");
    op(&x, "tRu.");
    refused(&x, "'posix.system'");
}
END_TEST

/* It would be passed over, and with it what it holds. */
START_TEST(a_list_of_tensors)
{
    const view v = {"w", "FloatStorage", 12, 0, 3, 4, 4, 1};
    bytes x = {{0}, 0};
    op(&x, "\x80\x02}(");
    text(&x, "w");
    tensor(&x, &v);
    text(&x, "others");
    op(&x, "](");
    tensor(&x, &v);
    op(&x, "eu.");
    refused(&x, "'a list of tensors'");
}
END_TEST

START_TEST(a_negated_view)
{
    const view v = {"w", "FloatStorage", 12, 0, 3, 4, 4, 1};
    bytes x = {{0}, 0};
    op(&x, "\x80\x02}(");
    text(&x, "w");
    tensor(&x, &v);
    x.n -= 2; /* tR: one argument more */
    op(&x, "}");
    text(&x, "neg");
    op(&x, "\x88stRu.");
    refused(&x, "negated or conjugated");
}
END_TEST

START_TEST(an_opcode_outside_the_list)
{
    bytes x = {{0}, 0};
    op(&x, "\x80\x02(ios\nsystem\n.");
    refused(&x, "opcode 0x69");
}
END_TEST

START_TEST(no_dict_at_all)
{
    bytes x = {{0}, 0};
    op(&x, "\x80\x02"
           "cmodels\nNet\n)R.");
    refused(&x, "'models.Net'");
}
END_TEST

START_TEST(views_beyond_their_storage)
{
    static const view bad[] = {
        {"t", "FloatStorage", 12, 0, 4, 4, 4, 1},         {"t", "FloatStorage", 12, 12, 1, 1, 1, 1},
        {"t", "FloatStorage", 12, -1, 1, 1, 1, 1},        {"t", "FloatStorage", 12, 0, 2, 2, -1, 1},
        {"t", "DoubleStorage", 12, 0, 3, 4, 4, 1},        {"t", "FloatStorage", 12, 0, 2147483647, 2147483647, 0, 0},
        {"t", "FloatStorage", 12, 2147483647, 0, 1, 1, 1}};
    const bytes x = state(&bad[_i], 1);
    refused(&x, "tensor 't'");
}
END_TEST

START_TEST(old_pickles_are_told_what_to_do)
{
    char *path = temp_path("old.bin");
    FILE *out = fopen(path, "wb");
    tn_st_file *f;
    tn_error e = {0};
    fwrite("\x80\x02\x8a\nl\xfc\x9c"
           "F\xf9 j\xa8P\x19.",
           1, 15, out);
    fclose(out);
    ck_assert_int_ne(tn_tensors_open(&f, path, &e), 0);
    ck_assert_msg(strstr(e.message, "torch.save(torch.load(") != NULL, "%s", e.message);
    free(path);
}
END_TEST

/* Cut or changed anywhere, a file is read or refused; under AddressSanitizer this is the proof of the bounds. */
START_TEST(damage_anywhere)
{
    const view v[] = {{"a", "FloatStorage", 12, 0, 4, 3, 1, 4}, {"b", "FloatStorage", 12, 5, 2, 3, 4, 1}};
    const bytes x = state(v, 2);
    char *path = saved(&x, values, sizeof values);
    unsigned char whole[8192], changed[8192];
    FILE *in = fopen(path, "rb");
    const size_t n = fread(whole, 1, sizeof whole, in);
    int opened = 0, refusals = 0;
    fclose(in);
    for (size_t i = 0; i < 4 * n; i++) {
        size_t len = n;
        memcpy(changed, whole, n);
        if (i < n) len = i;
        else changed[i % n] ^= (unsigned char)(1u << (i / n * 3 % 8));
        FILE *out = fopen(path, "wb");
        fwrite(changed, 1, len, out);
        fclose(out);
        tn_st_file *f;
        tn_error e = {0};
        if (tn_tensors_open(&f, path, &e)) {
            refusals++;
            continue;
        }
        opened++;
        for (int k = 0; k < f->n; k++) {
            float *got = malloc((size_t)f->t[k].bytes * 4 + 16);
            (void)tn_st_read(f, &f->t[k], got, &e);
            free(got);
        }
        tn_st_close(f);
    }
    ck_assert_int_gt(opened, 10);
    ck_assert_int_gt(refusals, (int)n);
    free(path);
}
END_TEST

/* ---- names ---- */

START_TEST(wrappers_are_read_over)
{
    static const char *const same[][2] = {
        {"_orig_mod.layer.0.norm1.weight", "layer.0.norm1.weight"},
        {"module._orig_mod.model.layer.0.norm1.weight", "layer.0.norm1.weight"},
        {"state_dict.backbone._orig_mod.model.layer.0.norm1.weight", "layer.0.norm1.weight"},
        {"base_model.model.layer.0._fsdp_wrapped_module.mlp.fc1.lora_A.other.weight", "layer.0.mlp.fc1.lora_A.weight"},
        {"base_model.model.layer.0.mlp.fc1.lora_B.default.bias", "layer.0.mlp.fc1.lora_B.bias"},
        {"layer.0.mlp.fc1.lora_magnitude_vector.default.weight", "layer.0.mlp.fc1.lora_magnitude_vector"},
        {"norm.modules_to_save.mine.weight", "norm.weight"},
        {"layer.0.submodule.weight", "layer.0.submodule.weight"},
        {"base_model.model.layer.0.mlp.fc1.base_layer.bias", "layer.0.mlp.fc1.bias"}};
    char got[320];
    tn_common_adapter_name(got, sizeof got, same[_i][0]);
    ck_assert_str_eq(got, same[_i][1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pickle");
    TCase *c = tcase_create("pickle");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, views_of_one_storage);
    tcase_add_test(c, halves);
    tcase_add_test(c, strangers_beside_the_state_dict);
    tcase_add_test(c, a_stranger_in_the_state_dict);
    tcase_add_test(c, a_list_of_tensors);
    tcase_add_test(c, a_negated_view);
    tcase_add_test(c, an_opcode_outside_the_list);
    tcase_add_test(c, no_dict_at_all);
    tcase_add_loop_test(c, views_beyond_their_storage, 0, 7);
    tcase_add_test(c, old_pickles_are_told_what_to_do);
    tcase_add_test(c, damage_anywhere);
    tcase_add_loop_test(c, wrappers_are_read_over, 0, 9);
    suite_add_tcase(s, c);
    return run_suite(s);
}
