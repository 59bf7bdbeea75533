/* Every kernel against src/ref on odd sizes in every storage type, on the device TRACKNET_TEST_DEVICE names (default
 * cpu); `--part products|gpus|rest` takes a third of that.
 * With TRACKNET_TEST_SLICE=N, only the kernels, in float32, their launches cut into slices of about N work-groups, and of
 * one. */
#include "quirks.h"
#include "selftest.h"
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

/* What kernels call is declared in cl/shared/functions.h, for a driver that builds with that. */
static bool declares(const tn_dev *d)
{
    return !(tn_quirk_flags(&d->info) & ~d->quirk_flags & TN_QUIRK_DECLARES);
}

/* No product is in it: those take longer without the compiler's passes than the passes do. */
static bool is_short(const tn_variant_op *op)
{
    return !op || op == &tn_dwconv_op || op == &tn_dwconv_grad_op || op == &tn_dwdouble_op || op == &tn_dwdouble_grad_op ||
           op == &tn_layernorm_op || op == &tn_layernorm_back_op || op == &tn_unpack_op;
}

/* PoCL takes longer for its passes than most kernels for a case without them. They are left out of what a CPU device would not be
 * given, which is there to be right, and in float16, where what passes see differs in how an element is read and written. */
static bool is_hasty(const tn_case *k, const tn_case_spec *s)
{
    const tn_dev *d = open_device();
    const tn_variant_op *op = s->op ? s->op : k->ops[0];
    if (!(d->caps & TN_CAP_CPU)) return false;
    if (d->info.type != TN_DEVICE_CPU) return true;
    if (!is_short(op)) return false;
    return s->act == TN_F16 || (op && op->rows[s->op ? s->row : op->n - 1].not_on_cpus);
}

/* --every: nothing is left out, and what each is off by is printed */
static bool every;

static void run_case(const tn_case *k, const tn_case_spec *s)
{
    tn_case_result r;
    tn_error err = {0};
    const char *row = s->op ? s->op->rows[s->row].name : "last", *op = s->op ? s->op->name : "every";
    open_device()->hasty = is_hasty(k, s);
    ck_assert_msg(!tn_case_run(k, open_device(), s, &r, &err), "%s, %s row of %s operation: %s", k->name, row, op, err.message);
    ck_assert_msg(declares(open_device()), "%s, %s row of %s operation: calls what is not declared", k->name, row, op);
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

/* Before each case, for one that failed leaves the device as it had it: all of them run in one process, for the first program that
 * is built in a process costs PoCL 0.4 s more than others. A case that crashes is the last one named. */
static void as_it_was(void)
{
    static tn_device_type type;
    static bool known;
    tn_dev *d = open_device();
    if (!known) type = d->info.type;
    known = true;
    d->info.type = type;
    d->hasty = false;
    d->slice_groups = slice();
}

static void name_case(const tn_case *k)
{
    printf("%s\n", k->name);
    fflush(stdout);
}

START_TEST(kernel_agrees_with_the_reference)
{
    name_case(case_at(_i));
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
                                        "norm to few outputs",
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
    open_device()->info.type = TN_DEVICE_GPU;
    name_case(k);
    for (int i = 0; i < 2 && slice(); i++) run_sliced(k, i ? 1 : slice(), 1, 1);
    for (int act = TN_F32; act <= TN_F16 && !slice(); act++) /* a size more in one type: building kernels takes the time */
        for (int size = one_size(act); size <= 2; size++)
            run_case(k, &(tn_case_spec){.act = (tn_dtype)act, .size = size, .all = every});
}

START_TEST(kernels_for_gpus_agree)
{
    for (int i = 0; i < case_count(); i++)
        if (!strcmp(case_at(i)->name, gpu_cases[_i])) run_as_gpu(case_at(i));
}
END_TEST

/* Rows of the product that are for GPUs of any vendor, each by the case that is made for it. */
static const char *const gpu_rows[][2] = {{"gemm small", "small"}, {"gemm tiles", "outer"}};

START_TEST(rows_for_gpus_agree)
{
    const tn_case_spec s = {
        .act = TN_F32, .size = 1, .all = every, .op = &tn_gemm_op, .row = tn_variant_find(&tn_gemm_op, gpu_rows[_i][1])};
    open_device()->info.type = TN_DEVICE_GPU;
    printf("%s, %s\n", gpu_rows[_i][0], gpu_rows[_i][1]);
    fflush(stdout);
    for (int i = 0; i < case_count(); i++)
        if (!strcmp(case_at(i)->name, gpu_rows[_i][0])) run_case(case_at(i), &s);
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
    for (int i = 0; i < (int)TN_COUNT(gpu_rows); i++)
        if (!strcmp(gpu_rows[i][0], name)) tcase_add_loop_test(k, rows_for_gpus_agree, i, i + 1);
    tcase_set_timeout(k, 900);
    tcase_add_checked_fixture(k, as_it_was, NULL);
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
    tcase_add_checked_fixture(kernels, as_it_was, NULL);
    suite_add_tcase(s, kernels);
    while (tn_cases_gemm[products].name) products++; /* the first of the tables */
    if (all || !strcmp(part, "products")) tcase_add_loop_test(kernels, kernel_agrees_with_the_reference, 0, products);
    if (rest) tcase_add_loop_test(kernels, kernel_agrees_with_the_reference, products, case_count());
    if (all || !strcmp(part, "gpus")) {
        tcase_add_loop_test(kernels, kernels_for_gpus_agree, 0, TN_COUNT(gpu_cases));
        tcase_add_loop_test(kernels, rows_for_gpus_agree, 0, TN_COUNT(gpu_rows));
    }
    if (rest && !slice()) add_tests(s, "elements", 60, TESTS(ONCE(one_wrong_element_is_caught)));
    return run_suite(s);
}

int main(int argc, char **argv)
{
    setenv("CK_FORK", "no", 0); /* Check's variable */
    if (argc == 3 && !strcmp(argv[1], "--part")) return run_part(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "--every")) return every_row(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "--case")) return one_case(argv[2]);
    for (int i = 0; argc == 2 && i < case_count(); i++) puts(case_at(i)->name); /* --list */
    if (argc == 2) return 0;
    return run_part(NULL);
}
