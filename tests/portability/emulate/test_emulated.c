/* The rows for Intel's and AMD's matrix units against src/ref, without such a GPU: the host's code as it is, the kernels' text as
 * it is, compiled for the host and run lane by lane (launch.h); everything else on the OpenCL device of the CPU. test-emulated
 * CL_FOLDER KERNELS_H [UNIT [CASE]]   prints "N passed, M failed" */
#include "launch.h"
#include "selftest_product.h"
#include "../../testdev.h"

#include <string.h>

static const struct {
    const char *name, *row; /* of the unit, and of its rows */
    unsigned cap;
} units[] = {
    {"dpas8", "dpas", TN_CAP_DPAS8},  {"dpas16", "dpas", TN_CAP_DPAS16}, {"dpas16-2d", "dpas", TN_CAP_DPAS16 | TN_CAP_BLOCK_2D},
    {"mfma", "mfma", TN_CAP_MFMA90A}, {"wmma11", "wmma", TN_CAP_WMMA11}, {"wmma12", "wmma", TN_CAP_WMMA12},
};

/* Every end, and sizes off the tiles. both: in float16 too. */
static const struct {
    const char *name;
    bool both;
    tn_product_case p;
} products[] = {
    {"bare", true, {.tb = true, .pieces = true, .M = 77, .N = 88, .K = 72}},
    {"more tiles than one", false, {.tb = true, .pieces = true, .M = 149, .N = 264, .K = 40}},
    {"one row", false, {.tb = true, .pieces = true, .M = 1, .N = 8, .K = 8}},
    {"gelu",
     true,
     {.tb = true,
      .bias = true,
      .act = 1 + TN_GELU,
      .pre = true,
      .parts = 1,
      .r = 8,
      .tb2 = true,
      .M = 61,
      .N = 136,
      .K = 104,
      .padded = true,
      .aligned = true}},
    {"scaled",
     false,
     {.tb = true,
      .bias = true,
      .scale = true,
      .residual = true,
      .parts = 3,
      .r = 16,
      .tb2 = true,
      .M = 45,
      .N = 192,
      .K = 40,
      .padded = true,
      .aligned = true}},
    {"residual", false, {.tb = true, .parts = 1, .r = 24, .tb2 = true, .residual = true, .M = 35, .N = 72, .K = 64}},
    {"turned matrix", false, {.M = 61, .N = 104, .K = 200, .pieces = true}},
    {"added to", false, {.beta = 1, .scale = true, .M = 21, .N = 72, .K = 48, .padded = true, .aligned = true}},
    {"slope", true, {.parts = 3, .r = 16, .drop_e = 0.3f, .act = 1 + TN_GELU, .slope = true, .M = 45, .N = 168, .K = 48}},
};

static int current, passed, failed;

static int one_product(tn_trial *t)
{
    return tn_product_one(t, &products[current].p);
}

static void tell(const char *unit, const char *what, tn_dtype act, const tn_case_result *r, int rc, const tn_error *err)
{
    const bool good = !rc && r->runs > 0 && r->worst <= 1;
    *(good ? &passed : &failed) += 1;
    printf("%s  %-7s %-20s %-8s", good ? "ok  " : "FAILED:", unit, what, tn_dtype_name(act));
    if (rc) printf(" %s\n", err->message);
    else if (!r->runs) puts(" the row did not run");
    else printf(" off by %.1e, one element by %.1e\n", r->error, r->element);
    (void)fflush(stdout);
}

static void run_case(tn_dev *d, int unit, const tn_case *k, const char *name, tn_dtype act, int size, const tn_variant_op *op)
{
    tn_case_result r = {0};
    tn_error err = {0};
    const tn_case_spec s = {.act = act, .size = size, .op = op, .row = tn_variant_find(op, units[unit].row)};
    const int rc = tn_case_run(k, d, &s, &r, &err);
    tell(units[unit].name, name, act, &r, rc, &err);
}

static bool wanted(const char *name, const char *only)
{
    return !only || !strcmp(name, only);
}

static void run_products(tn_dev *d, int unit, const char *only)
{
    static const tn_case one = {.name = "a product", .run = one_product, .ops = {&tn_gemm_op}};
    for (current = 0; current < (int)TN_COUNT(products); current++)
        for (int act = TN_BF16; act <= (products[current].both ? TN_F16 : TN_BF16); act++)
            if (wanted(products[current].name, only))
                run_case(d, unit, &one, products[current].name, (tn_dtype)act, 0, &tn_gemm_op);
    for (const tn_case *k = tn_cases_gemm; k->name; k++)
        if (strstr(k->name, "turn") && wanted("rotary", only)) run_case(d, unit, k, "rotary", TN_BF16, 0, &tn_gemm_op);
}

/* Cases of the self-test: less rows than a block has, lengths around the blocks, keys that grow until references are raised. */
static const struct {
    const char *name, *of;
    int size;
    tn_dtype act;
    const tn_variant_op *op;
} attentions[] = {
    {"attention", "attention", 2, TN_BF16, &tn_attention_op},
    {"attention, few", "attention, lengths", 0, TN_BF16, &tn_attention_op},
    {"attention, lengths", "attention, lengths", 1, TN_F16, &tn_attention_op},
    {"attention, grown", "attention, grown keys", 1, TN_BF16, &tn_attention_op},
    {"attention, grown", "attention, grown keys", 0, TN_F16, &tn_attention_op},
    {"back", "attention", 2, TN_BF16, &tn_attention_back_op},
    {"back, few", "attention, lengths", 0, TN_F16, &tn_attention_back_op},
    {"back, lengths", "attention, lengths", 1, TN_BF16, &tn_attention_back_op},
};

static void run_attention(tn_dev *d, int unit, const char *only)
{
    for (size_t i = 0; i < TN_COUNT(attentions); i++)
        for (const tn_case *k = tn_cases_dense; k->name; k++)
            if (!strcmp(k->name, attentions[i].of) && tn_case_of(k, attentions[i].op) && wanted(attentions[i].name, only))
                run_case(d, unit, k, attentions[i].name, attentions[i].act, attentions[i].size, attentions[i].op);
}

int main(int argc, char **argv)
{
    tn_dev *d = NULL;
    tn_error err = {0};
    if (argc < 3 || test_device(&d, "cpu", &err)) {
        fprintf(stderr, "%s\n", argc < 3 ? "test-emulated CL_FOLDER KERNELS_H [UNIT [CASE]]" : err.message);
        return 2;
    }
    emulate_sources(argv[1], argv[2]);
    const unsigned own = d->caps;
    for (int u = 0; u < (int)TN_COUNT(units); u++) {
        if (argc > 3 && !wanted(units[u].name, argv[3])) continue;
        d->caps = own | units[u].cap;
        run_products(d, u, argc > 4 ? argv[4] : NULL);
        if (!(units[u].cap & TN_CAP_BLOCK_2D)) run_attention(d, u, argc > 4 ? argv[4] : NULL);
    }
    tn_dev_close(d);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
