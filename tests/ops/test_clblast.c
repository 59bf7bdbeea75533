/* CLBlast's parameters: the spaces, the search, what processes say of candidates, and what is set before a first product. CLBlast
 * itself takes 20 s to build on PoCL: the linker puts other products in its place, whose time and result the parameters decide.
 * This program is its own helper. */
#include "clblast.h"
#include "gemm.h"
#include "tuning.h"
#include "tuning_db.h"
#include "../testdev.h"
#include "../testlib.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- in CLBlast's place ---- */

static char set[4096]; /* "KERNEL NAME=VALUE ...;" as they were set, then "product;" */

static int number_of(const char *name)
{
    const char *s = NULL;
    for (const char *at = set; (at = strstr(at, name)) != NULL; at++) s = at;
    return s ? (int)strtol(s + strlen(name) + 1, NULL, 10) : -1;
}

int __real_tn_clblast_override(tn_dev *d, const char *kernel, int n, const char *const *names, const size_t *values, tn_error *err);
int __wrap_tn_clblast_override(tn_dev *d, const char *kernel, int n, const char *const *names, const size_t *values, tn_error *err);
int __wrap_tn_clblast_override(tn_dev *d, const char *kernel, int n, const char *const *names, const size_t *values, tn_error *err)
{
    size_t at = strlen(set);
    at += (size_t)snprintf(set + at, sizeof set - at, "%s", kernel);
    for (int i = 0; i < n; i++) at += (size_t)snprintf(set + at, sizeof set - at, " %s=%zu", names[i], values[i]);
    snprintf(set + at, sizeof set - at, ";");
    return __real_tn_clblast_override(d, kernel, n, names, values, err);
}

int __wrap_CLBlastSgemm(void);
int __wrap_CLBlastSgemm(void)
{
    strncat(set, "product;", sizeof set - strlen(set) - 1);
    return 0;
}

static void work_for(double seconds)
{
    const clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
    while (clock() < end) continue;
}

int __real_tn_gemm_clblast(tn_ctx *c, const void *args, tn_error *err);
int __wrap_tn_gemm_clblast(tn_ctx *c, const void *args, tn_error *err);
int __wrap_tn_gemm_clblast(tn_ctx *c, const void *args, tn_error *err)
{
    const char *does = getenv("TEST_ROW") ? getenv("TEST_ROW") : "";
    if (!c->dry && number_of("VWM") == 4 && !strcmp(does, "crash")) signal(SIGSEGV, SIG_DFL), raise(SIGSEGV);
    if (!c->dry && number_of("VWM") == 4 && !strcmp(does, "be wrong")) return 0; /* the output keeps its poison */
    if (!c->dry) work_for(number_of("VWM") == 4 ? 0 : 0.1);
    return tn_gemm_native(c, args, err);
}

/* ---- the spaces ---- */

static tn_dev *open_device(const char *cache, const char *helper)
{
    tn_dev *d;
    tn_error err = {0};
    int index;
    const tn_dev_options o = {.cache = cache, .helper = helper};
    ck_assert_msg(!tn_device_select(&index, "cpu", &err) && !tn_dev_open(&d, index, &o, &err), "%s", err.message);
    return d;
}

/* CLBlast asks for all of a kernel's numbers by their names. */
START_TEST(clblast_takes_what_the_spaces_have)
{
    const tn_clblast_space *s = &tn_clblast_spaces[_i];
    tn_dev *d = open_device("off", NULL);
    tn_rng r = tn_rng_named(_i, "test");
    tn_error err = {0};
    char text[TN_CLBLAST_TEXT];
    int v[TN_CLBLAST_NUMBERS], w[TN_CLBLAST_NUMBERS];
    for (int k = 0; k < 50; k++) {
        ck_assert(tn_clblast_draw(v, s, NULL, 32 << 10, 256, &r) && tn_clblast_draw(w, s, v, 32 << 10, 256, &r));
        int moved = 0;
        for (int i = 0; i < s->n; i++) moved += s->numbers[i].as < 0 && v[i] != w[i];
        ck_assert_int_le(moved, 1);
        ck_assert(!s->fits || (s->fits(v, 32 << 10, 256) && s->fits(w, 32 << 10, 256)));
        tn_clblast_write(text, sizeof text, s, v);
        ck_assert_msg(!tn_clblast_apply(d, text, &err), "%s: %s", text, err.message);
    }
    tn_dev_close(d);
}
END_TEST

static const char *const wrong[] = {"Xgemm KWG", "Xgemm KWG=", "Xgemm KWG=2x", "Xgemm KWG=-1", "Xgemm KWG=1", "Nothing KWG=1"};

START_TEST(other_texts_are_refused)
{
    tn_dev *d = open_device("off", NULL);
    tn_error err = {0};
    ck_assert_int_eq(tn_clblast_apply(d, wrong[_i], &err), TN_ERR_ARGUMENT);
    ck_assert(strstr(err.message, "CLBlast") != NULL);
    tn_dev_close(d);
}
END_TEST

/* ---- the search, by a clock of its own ---- */

static double now;
static struct {
    int asked;
    char fastest[TN_CLBLAST_TEXT]; /* of the good ones */
    double seconds;
    char second[TN_CLBLAST_TEXT]; /* what was asked after CLBlast's own */
} said;

static double test_clock(void)
{
    return now;
}

/* One kernel's larger tiles are faster, and so is another's wider copy; one number spoils everything. */
static bool answer(tn_clblast_answer *out, void *user, const char *text, double seconds)
{
    double s = 1;
    ck_assert(seconds > 0);
    if (strstr(text, "GEMMK=1") && strstr(text, "MWG=64")) s *= 0.5;
    if (strstr(text, "WGD=32")) s *= 0.8;
    if (strstr(text, "COPY_VW=4")) s *= 0.9;
    *out = (tn_clblast_answer){.good = !strstr(text, "KREG=4"), .seconds = strstr(text, "KREG=4") ? 0.001 : s, .why = "wrong"};
    if (++said.asked == 2) snprintf(said.second, sizeof said.second, "%s", text);
    if (out->good && (said.asked == 1 || s < said.seconds)) {
        said.seconds = s;
        snprintf(said.fastest, sizeof said.fastest, "%s", text);
    }
    now += 1;
    return !user || said.asked < *(int *)user;
}

static tn_clblast_search a_search(const char *first)
{
    now = 0;
    memset(&said, 0, sizeof said);
    return (tn_clblast_search){
        .seconds = 400, .first = first, .local_memory = 32 << 10, .group = 256, .ask = answer, .clock = test_clock};
}

START_TEST(the_search_finds_what_is_faster)
{
    tn_error err = {0};
    tn_clblast_search s = a_search("");
    ck_assert(!tn_clblast_search_run(&s, &err));
    ck_assert_double_le(now, 401);
    ck_assert_str_eq(s.best, said.fastest);
    ck_assert(s.own == 1 && s.fastest == said.seconds && s.tried == said.asked - 1);
    ck_assert_msg(s.fastest < 0.37, "%g by '%s'", s.fastest, s.best);
    s = a_search("");
    s.seconds = 10;
    ck_assert(!tn_clblast_search_run(&s, &err));
    ck_assert_int_le(said.asked, 11);
}
END_TEST

START_TEST(the_search_begins_with_what_is_known)
{
    tn_error err = {0};
    int most = 2;
    tn_clblast_search s = a_search("XgemmDirect WGD=32; Copy COPY_VW=4");
    s.user = &most;
    ck_assert(!tn_clblast_search_run(&s, &err));
    ck_assert(strstr(said.second, "WGD=32") && strstr(said.second, "COPY_VW=4"));
    ck_assert_str_eq(s.best, said.second);
    ck_assert_int_eq(said.asked, 2);
    most = 1; /* nobody answers more */
    s = a_search("");
    s.user = &most;
    ck_assert(!tn_clblast_search_run(&s, &err) && !s.best[0] && said.asked == 1);
}
END_TEST

/* ---- processes, the store, and a product's first time ---- */

static char self[4096];

static const struct {
    const char *does;
    bool taken;
} rows[] = {{"be right", true}, {"be wrong", false}, {"crash", false}};

/* Rows beside the library's: the one for any device has parameters that are several times faster, and may be wrong or crash. */
static const char *ship;
static const char fast_row[] =
    "# device | platform | parameters\nno such device | Portable | Xgemm KWG=1\n"
    "p | portable computing | Xgemm GEMMK=0 KREG=1 KWG=32 KWI=2 MDIMA=8 MDIMC=8 MWG=64 NDIMB=8 NDIMC=8 NWG=64 SA=0 SB=0 STRM=0 "
    "STRN=0 VWM=4 VWN=4\n";

const char *__real_tn_shipped(const char *file);
const char *__wrap_tn_shipped(const char *file);
const char *__wrap_tn_shipped(const char *file)
{
    return ship && !strcmp(file, "clblast.txt") ? ship : __real_tn_shipped(file);
}

START_TEST(a_search_begins_with_the_row_of_its_device)
{
    static const char text[] =
        "# any | any | C X=1\nAlpha|One|A X=1;  B Y=2  \n beta \t|  two |B X=2\r\nno parameters | two\n| three | C X=3";
    static const struct {
        const char *name, *platform, *want;
    } cases[] = {{"an ALPHA 7", "The One", "A X=1;  B Y=2"},
                 {"Beta", "two", "B X=2"},
                 {"Alpha", "two", ""},
                 {"no parameters", "two", ""},
                 {"whatever", "three", "C X=3"},
                 {"any", "any", ""}};
    char got[TN_CLBLAST_TEXT];
    tn_device_info o = {0};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        snprintf(o.name, sizeof o.name, "%s", cases[i].name);
        snprintf(o.platform, sizeof o.platform, "%s", cases[i].platform);
        tn_clblast_row(got, text, &o);
        ck_assert_str_eq(got, cases[i].want);
    }
    tn_clblast_row(got, "", &o);
    ck_assert_str_eq(got, "");
}
END_TEST

/* Every row of the library's is one that CLBlast takes. */
START_TEST(shipped_rows_are_taken)
{
    tn_dev *d = open_device("off", NULL);
    tn_error err = {0};
    int rows_taken = 0;
    const char *at = tn_shipped("clblast.txt");
    ck_assert_str_eq(tn_shipped("none.txt"), "");
    for (; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        if (*at == '#' || *at == '\n') continue;
        char got[TN_CLBLAST_TEXT], *row = strndup(at, strcspn(at, "\n")), *device, *platform;
        tn_device_info o = {0};
        ck_assert_int_eq(sscanf(row, "%m[^|]| %m[^|]|", &device, &platform), 2);
        snprintf(o.name, sizeof o.name, "a %.*s7", (int)strlen(device) - 1, device);
        snprintf(o.platform, sizeof o.platform, "%.*s", (int)strlen(platform) - 1, platform);
        tn_clblast_row(got, tn_shipped("clblast.txt"), &o);
        ck_assert_msg(got[0] && strstr(row, got), "%s", row);
        ck_assert_msg(!tn_clblast_apply(d, got, &err), "%s", err.message);
        rows_taken++;
        free(platform);
        free(device);
        free(row);
    }
    ck_assert_int_ge(rows_taken, 1);
    tn_dev_close(d);
}
END_TEST

/* CLBlast's own parameters and the row's are enough. */
static int stop_after_two(void *user, const tn_progress *p)
{
    (void)p;
    return ++*(int *)user >= 2;
}

START_TEST(processes_judge_parameters)
{
    char *cache = temp_path("clblast");
    tn_dev *d = open_device(cache, self);
    json_t *db, *kept;
    tn_error err = {0};
    bool changed;
    int told = 0;
    ship = fast_row;
    d->watch = (tn_watch){stop_after_two, &told};
    setenv("TEST_ROW", rows[_i].does, 1);
    ck_assert(!tn_db(&db, d, &err));
    const char *const check[4] = {"checks", "gemm", "a kind", "clblast"}, *const choice[4] = {"choices", "gemm", "a key"};
    ck_assert(!tn_db_put(db, check, json_pack("{s:b}", "good", 1), &err) && !tn_db_put(db, choice, json_object(), &err));
    ck_assert_msg(!tn_clblast_tune(&changed, d, 100, &err), "%s", err.message);
    kept = tn_db_at(db, "parameters", "clblast", NULL, NULL);
    if (rows[_i].taken)
        ck_assert(changed && strstr(json_string_value(json_object_get(kept, "text")), "VWM=4") && strstr(set, "VWM=4"));
    else ck_assert(!strstr(set, "VWM=4"));
    ck_assert(changed == (kept != NULL) && changed == !tn_db_at(db, "checks", "gemm", "a kind", "clblast"));
    ck_assert(changed == !tn_db_at(db, "choices", "gemm", NULL, NULL));
    tn_dev_close(d);
    free(cache);
}
END_TEST

static void multiply(tn_dev *d)
{
    tn_ctx c;
    tn_gemm_args g = {.alpha = 1, .M = 8, .N = 8, .K = 8}, made;
    tn_error err = {0};
    g.A = g.B = g.C = tn_view(NULL, TN_F32, 8, 8);
    tn_ctx_bare(&c, d);
    ck_assert(!tn_gemm_make(&made, &c, &g, &err));
    ck_assert_msg(!__real_tn_gemm_clblast(&c, &made, &err), "%s", err.message);
    tn_gemm_release(&made, &c);
    tn_ctx_free(&c);
}

START_TEST(what_is_known_is_set_before_the_first_product)
{
    static const char *const texts[] = {"GemmRoutine XGEMM_MIN_INDIRECT_SIZE=64", "", "Nothing X=1"};
    static const char *const want[] = {"GemmRoutine XGEMM_MIN_INDIRECT_SIZE=64;product;product;", "product;product;",
                                       "Nothing X=1;product;product;"};
    tn_dev *d = open_device("off", NULL);
    json_t *db;
    tn_error err = {0};
    const char *const at[4] = {"parameters", "clblast"};
    ck_assert(!tn_db(&db, d, &err) && !tn_db_put(db, at, json_pack("{s:s}", "text", texts[_i]), &err));
    multiply(d);
    multiply(d);
    ck_assert_str_eq(set, want[_i]);
    tn_dev_close(d);
}
END_TEST

START_TEST(the_search_is_for_where_it_may_help)
{
    tn_dev *d = open_device("off", NULL);
    json_t *db;
    tn_error err = {0};
    bool near = true;
    const char *const at[4] = {"choices", "gemm", "a key"};
    ck_assert(!tn_clblast_is_near(&near, d, &err) && !near && !tn_db(&db, d, &err));
    const double own[] = {0.5, 0.19, 0};
    for (int i = 0; i < 3; i++) {
        json_t *v = json_pack("{s:{s:{s:f}, s:{s:f}}}", "rows", "clblast", "seconds", own[i], "portable", "seconds", 0.1);
        ck_assert(!tn_db_put(db, at, v, &err) && !tn_clblast_is_near(&near, d, &err));
        ck_assert_int_eq(near, i == 1);
    }
    tn_dev_close(d);
}
END_TEST

int main(int argc, char **argv)
{
    tn_error err = {0};
    if (argc > 1 && !strcmp(argv[1], "try-clblast")) return tn_device_try_clblast(STDIN_FILENO, STDOUT_FILENO, &err) ? 1 : 0;
    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0) return 2;
    int spaces = 0;
    while (tn_clblast_spaces[spaces].kernel) spaces++;
    return run_tests("clblast", 60,
                     TESTS(TIMES(clblast_takes_what_the_spaces_have, spaces), TIMES(other_texts_are_refused, TN_COUNT(wrong)),
                           ONCE(the_search_finds_what_is_faster), ONCE(the_search_begins_with_what_is_known),
                           ONCE(a_search_begins_with_the_row_of_its_device), ONCE(shipped_rows_are_taken),
                           TIMES(processes_judge_parameters, TN_COUNT(rows)),
                           TIMES(what_is_known_is_set_before_the_first_product, 3), ONCE(the_search_is_for_where_it_may_help)));
}
