/* Rows that are tried in a process of their own: what hangs, crashes or is wrong there costs the row and nothing else. The device
 * is the CPU's, which is said to have dpas here; the row for that does what TEST_ROW says (the linker puts both in the library's
 * place). This program is its own helper. */
#include "gemm.h"
#include "quirks.h"
#include "tuning.h"
#include "tuning_db.h"
#include "../testdev.h"
#include "../testlib.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { LIMIT = 3 }; /* seconds for the row that hangs */

/* ---- the row and the device ---- */

static struct _cl_device_id *driver_device; /* the last that was asked about */
unsigned __real_tn_device_caps(const tn_device_info *o, struct _cl_device_id *d);
unsigned __wrap_tn_device_caps(const tn_device_info *o, struct _cl_device_id *d);
unsigned __wrap_tn_device_caps(const tn_device_info *o, struct _cl_device_id *d)
{
    driver_device = d;
    return __real_tn_device_caps(o, d) | TN_CAP_DPAS8;
}

static int row_runs; /* in this process */
int __wrap_tn_gemm_dpas(tn_ctx *c, const void *args, tn_error *err);
int __wrap_tn_gemm_dpas(tn_ctx *c, const void *args, tn_error *err)
{
    const char *does = getenv("TEST_ROW");
    row_runs++;
    if (!c->dry && !strcmp(does, "hang")) pause();
    if (!c->dry && !strcmp(does, "crash")) signal(SIGSEGV, SIG_DFL), raise(SIGSEGV); /* PoCL has a handler of its own */
    if (!c->dry && !strcmp(does, "leave")) _exit(3);
    if (!c->dry && !strcmp(does, "be wrong")) return 0; /* the output keeps its poison */
    tn_gemm_args g = *(const tn_gemm_args *)args;
    if (!strcmp(does, "waver")) g.alpha *= 1 + 1e-5f * (float)row_runs;
    return tn_gemm_portable(c, &g, err);
}

/* ---- what is asked for ---- */

static char self[4096];

static tn_dev *open_device(const char *cache, const char *helper)
{
    tn_dev *d;
    tn_error err = {0};
    int index;
    const tn_dev_options o = {.cache = cache, .helper = helper};
    ck_assert_msg(!tn_device_select(&index, "cpu", &err) && !tn_dev_open(&d, index, &o, &err), "%s", err.message);
    return d;
}

static tn_gemm_args product(bool tb)
{
    tn_gemm_args g = {.tb = tb, .alpha = 1, .M = 40, .N = 64, .K = 64};
    g.A = tn_view(NULL, TN_BF16, g.M, g.K);
    g.B = tn_view(NULL, TN_BF16, tb ? g.N : g.K, tb ? g.K : g.N);
    g.C = tn_view(NULL, TN_BF16, g.M, g.N);
    return g;
}

static bool check_of(tn_dev *d, bool tb)
{
    const tn_gemm_args g = product(tb);
    tn_error err = {0};
    bool good = false;
    ck_assert_msg(!tn_registry_checked.check(&good, d, &tn_gemm_op, tn_variant_find(&tn_gemm_op, "dpas"), &g, &err), "%s",
                  err.message);
    return good;
}

static bool check(tn_dev *d)
{
    return check_of(d, true);
}

/* What the store has about it, or "". */
static const char *reason(tn_dev *d)
{
    json_t *db;
    char kind[TN_KEY];
    tn_error err = {0};
    const tn_gemm_args g = product(true);
    tn_gemm_kind(kind, sizeof kind, &g);
    ck_assert(!tn_db(&db, d, &err));
    json_t *record = tn_db_at(db, "checks", "gemm", kind, "dpas");
    if (!record) record = tn_db_at(db, "checks", "gemm", "any", "dpas");
    const char *why = json_string_value(json_object_get(record, "why"));
    return why ? why : "";
}

/* ---- tests ---- */

static const struct {
    const char *does, *why;
    bool good, others; /* this kind of product; another one, by a row that is right then */
} rows[] = {
    {"be right", "", true, true},
    {"be wrong", "wrong: ", false, true},
    {"waver", "not the same each time", false, true},
    {"crash", "ended by signal 11", false, false},
    {"hang", "was not done after 3 s", false, false},
    {"leave", "ended with status 3", false, false},
};

START_TEST(a_row_is_judged_by_what_it_does_elsewhere)
{
    tn_dev *d = open_device("off", self);
    setenv("TEST_ROW", rows[_i].does, 1);
    if (!strcmp(rows[_i].does, "hang")) d->trial_seconds = LIMIT;
    ck_assert_int_eq(check(d), rows[_i].good);
    ck_assert_msg(strstr(reason(d), rows[_i].why) != NULL, "'%s' where '%s' is expected", reason(d), rows[_i].why);
    ck_assert_int_eq(row_runs, 0);
    setenv("TEST_ROW", "crash", 1); /* what is known is not asked again */
    ck_assert_int_eq(check(d), rows[_i].good);
    setenv("TEST_ROW", "be right", 1);
    ck_assert_int_eq(check_of(d, false), rows[_i].others);
    tn_dev_close(d);
}
END_TEST

START_TEST(a_verdict_is_kept)
{
    char *cache = temp_path("verdicts");
    setenv("TEST_ROW", _i ? "be right" : "crash", 1);
    tn_dev *d = open_device(cache, self);
    ck_assert_int_eq(check(d), _i);
    tn_dev_close(d);
    setenv("TEST_ROW", _i ? "crash" : "be right", 1);
    d = open_device(cache, self);
    ck_assert_int_eq(check(d), _i);
    tn_dev_close(d);
    free(cache);
}
END_TEST

START_TEST(without_a_helper_it_is_not_used_and_not_judged)
{
    setenv("TEST_ROW", "be right", 1);
    tn_dev *d = open_device("off", _i ? "/nowhere/at all" : NULL);
    ck_assert(!check(d));
    ck_assert_str_eq(reason(d), "");
    ck_assert_int_eq(row_runs, 0);
    tn_dev_close(d);
}
END_TEST

/* A good row runs only where it was measured, or is asked for. */
START_TEST(unmeasured_it_does_not_run)
{
    tn_dev *d = open_device("off", self);
    tn_ctx c;
    tn_choice k;
    tn_error err = {0};
    const tn_gemm_args g = product(true);
    setenv("TEST_ROW", "be right", 1);
    tn_ctx_init(&c, d);
    ck_assert(check(d));
    ck_assert_msg(!tn_variant_choose(&k, &c, &tn_gemm_op, &g, &err), "%s", err.message);
    ck_assert_str_ne(tn_gemm_op.rows[k.row].name, "dpas");
    d->variants = strdup("gemm=dpas");
    ck_assert_msg(!tn_variant_choose(&k, &c, &tn_gemm_op, &g, &err), "%s", err.message);
    ck_assert_str_eq(tn_gemm_op.rows[k.row].name, "dpas");
    tn_ctx_free(&c);
    tn_dev_close(d);
}
END_TEST

/* Compilers of processors that nobody here has seen: the rows of cl/cpu are such rows. */
static const struct {
    const char *platform;
    tn_device_type type;
    unsigned flags;
    bool vectors;
} compilers[] = {
    {"Portable Computing Language", TN_DEVICE_CPU, 0, true}, {"Intel(R) OpenCL", TN_DEVICE_CPU, 0, true},
    {"rusticl", TN_DEVICE_CPU, TN_QUIRK_NO_VECTORS, false},  {"rusticl", TN_DEVICE_GPU, TN_QUIRK_NO_VECTORS, false},
    {"Nobody's", TN_DEVICE_CPU, TN_QUIRK_UNTRIED, true},     {"Nobody's", TN_DEVICE_GPU, 0, false},
};

START_TEST(the_quirk_table_knows_compilers)
{
    tn_dev *d = open_device("off", NULL);
    tn_device_info o = d->info;
    o.type = compilers[_i].type;
    snprintf(o.platform, sizeof o.platform, "%s", compilers[_i].platform);
    const unsigned of_vectors = TN_QUIRK_NO_VECTORS | (compilers[_i].flags & TN_QUIRK_UNTRIED);
    ck_assert_uint_eq(tn_quirk_flags(&o) & of_vectors, compilers[_i].flags);
    ck_assert_int_eq((tn_device_caps(&o, driver_device) & TN_CAP_VECTORS) != 0, compilers[_i].vectors);
    tn_dev_close(d);
}
END_TEST

START_TEST(an_unknown_compiler_tries_rows_elsewhere)
{
    tn_dev *d = open_device("off", _i ? self : "/nowhere/at all");
    tn_ctx c;
    tn_choice k;
    tn_error err = {0};
    bool good = false;
    const tn_gemm_args g = product(true);
    const int native = tn_variant_find(&tn_gemm_op, "native");
    setenv("TEST_ROW", "crash", 1);
    d->quirk_flags |= TN_QUIRK_UNTRIED;
    tn_ctx_init(&c, d);
    ck_assert(tn_variant_apart(d, &tn_gemm_op.rows[native]) && !tn_variant_apart(d, &tn_gemm_op.rows[tn_gemm_op.n - 1]));
    ck_assert_msg(!tn_registry_checked.check(&good, d, &tn_gemm_op, native, &g, &err), "%s", err.message);
    ck_assert_int_eq(good, _i);
    ck_assert_msg(!tn_variant_choose(&k, &c, &tn_gemm_op, &g, &err), "%s", err.message);
    ck_assert_str_eq(tn_gemm_op.rows[k.row].name, "portable");
    tn_ctx_free(&c);
    tn_dev_close(d);
}
END_TEST

int main(int argc, char **argv)
{
    tn_error err = {0};
    if (argc > 1 && !strcmp(argv[1], "try-row")) return tn_device_try_row(STDIN_FILENO, STDOUT_FILENO, &err) ? 1 : 0;
    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0) return 2;
    return run_tests("apart", 60,
                     TESTS(TIMES(a_row_is_judged_by_what_it_does_elsewhere, TN_COUNT(rows)), TIMES(a_verdict_is_kept, 2),
                           TIMES(without_a_helper_it_is_not_used_and_not_judged, 2), ONCE(unmeasured_it_does_not_run),
                           TIMES(the_quirk_table_knows_compilers, TN_COUNT(compilers)),
                           TIMES(an_unknown_compiler_tries_rows_elsewhere, 2)));
}
