/* Safetensors, and the hub's cache. */
#include "checkpoint_dir.h"
#include "files.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

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

void unit_weights(Suite *s)
{
    add_tests(s, "weights", 120,
              TESTS(ONCE(safetensors_written_is_read), TIMES(safetensors_refuses_lies, TN_COUNT(lies)),
                    ONCE(safetensors_refuses_every_truncation), ONCE(hub_cache_resolves_main_and_says_how_to_fetch)));
}
