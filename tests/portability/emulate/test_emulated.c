/* The rows for Intel's and AMD's matrix units, and some of NVIDIA's, against src/ref, without such a GPU: the host's code as it is,
 * the kernels' text as it is, compiled for the host and run lane by lane (launch.h); everything else on the OpenCL device of the
 * CPU. test-emulated CL_FOLDER KERNELS_H [UNIT [CASE]]   prints "N passed, M failed" */
#include "launch.h"
#include "layernorm_thin.h"
#include "selftest_product.h"
#include "thin_both.h"
#include "../../testdev.h"

#include <string.h>

static const struct {
    const char *name, *row; /* of the unit, and of its rows */
    unsigned cap;
    bool formats; /* weights of every format: what unpacks them does not differ on the others */
} units[] = {
    {"dpas8", "dpas", TN_CAP_DPAS8, true},
    {"dpas16", "dpas", TN_CAP_DPAS16, false},
    {"dpas16-2d", "dpas", TN_CAP_DPAS16 | TN_CAP_BLOCK_2D, false},
    {"mfma", "mfma", TN_CAP_MFMA90A, true},
    {"wmma11", "wmma", TN_CAP_WMMA11, false},
    {"wmma12", "wmma", TN_CAP_WMMA12, false},
    {"mma80", "joined", TN_CAP_NV_MMA80, false},
    {"wgmma", "joined", TN_CAP_NV_WGMMA, false},
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

/* Quantised weights, forward and back: rows of whole blocks, for every format, and others. many: what three formats are enough for.
 */
static const struct {
    const char *name;
    bool many;
    tn_product_case p;
} quantised[] = {
    {"forward", false, {.tb = true, .quantised = 1, .M = 37, .N = 136, .K = 192}},
    {"back", false, {.quantised = 1, .M = 37, .N = 192, .K = 104}},
    {"forward of three", true, {.tb = true, .quantised = 3, .M = 21, .N = 3 * 64, .K = 64, .parts = 3, .r = 16, .tb2 = true}},
    {"back of three", true, {.quantised = 3, .M = 21, .N = 64, .K = 3 * 24, .beta = 1}},
    {"forward, odd rows", true, {.tb = true, .quantised = 2, .bias = true, .M = 5, .N = 2 * 72, .K = 40}},
    {"forward, no eights", true, {.tb = true, .quantised = 2, .M = 5, .N = 2 * 36, .K = 40}},
    {"back, no eights", true, {.quantised = 2, .M = 5, .N = 72, .K = 2 * 36}},
    {"back, odd rows", true, {.quantised = 2, .M = 5, .N = 72, .K = 2 * 40}},
};

static const tn_product_case *current;
static int passed, failed;

static int one_product(tn_trial *t)
{
    return tn_product_one(t, current);
}

static void tell(const char *unit, const char *what, tn_dtype act, const tn_case_result *r, int rc, const tn_error *err)
{
    const bool good = !rc && r->runs > 0 && r->worst <= 1;
    *(good ? &passed : &failed) += 1;
    printf("%s  %-9s %-34s %-8s", good ? "ok  " : "FAILED:", unit, what, tn_dtype_name(act));
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
    for (size_t i = 0; i < TN_COUNT(products); i++)
        for (int act = TN_BF16; act <= (products[i].both ? TN_F16 : TN_BF16); act++) {
            current = &products[i].p;
            if (wanted(products[i].name, only)) run_case(d, unit, &one, products[i].name, (tn_dtype)act, 0, &tn_gemm_op);
        }
    for (const tn_case *k = tn_cases_gemm; k->name; k++)
        if (strstr(k->name, "turn") && wanted("rotary", only)) run_case(d, unit, k, "rotary", TN_BF16, 0, &tn_gemm_op);
}

/* What has to be launched: one kernel unpacks to what the next one multiplies, where the matrices' rows are whole eights. */
static const char *launches(int unit, const tn_product_case *p)
{
    const bool intel = !strcmp(units[unit].row, "dpas"), eights = (p->tb ? p->N : p->K) / p->quantised % 8 == 0;
    if (!intel && p->tb) return " gemm_matrix";
    if (intel) return eights ? " unpack_blocks gemm_dpas" : " gemm_pack gemm_dpas";
    return eights ? " unpack_turned gemm_matrix" : " gemm_turned gemm_matrix";
}

static void run_quantised(tn_dev *d, int unit, const tn_product_case *p, const char *name, tn_dtype act)
{
    static const tn_case one = {.name = "a quantised product", .run = one_product, .ops = {&tn_gemm_op}};
    const char *want = launches(unit, p);
    current = p;
    (void)emulated_launches();
    run_case(d, unit, &one, name, act, 0, &tn_gemm_op);
    const char *got = emulated_launches();
    if (p->parts || !strcmp(got, want)) return; /* a second pair packs its own operand */
    printf("FAILED: %s %s launches%s where%s is expected\n", units[unit].name, name, got, want);
    failed++;
}

/* The last type of 16 bits that a format is unpacked to here; 0: none. All formats where this is about their codes, else three. */
static int last_type(int unit, int i, tn_qtype type, bool nested)
{
    const tn_product_case *p = &quantised[i].p;
    const bool first = type == TN_Q_NF4 && nested, few = first || type == TN_Q_INT4_ASYM || type == TN_Q_INT8;
    if ((nested && !tn_qformats[type].nestable) || !tn_qdivides(type, 0, p->tb ? p->K : p->N)) return 0;
    if (!first && (!units[unit].formats || (quantised[i].many && !few))) return 0;
    return first ? TN_F16 : TN_BF16;
}

static void run_formats(tn_dev *d, int unit, const char *only)
{
    for (int i = 0; i < (int)TN_COUNT(quantised); i++)
        for (int k = 0; k < 2 * TN_Q_TYPES; k++) {
            const tn_qtype type = (tn_qtype)(k / 2);
            char name[64];
            tn_product_case p = quantised[i].p;
            p.format = 1 + (int)type, p.nested = k % 2;
            snprintf(name, sizeof name, "%s, %s%s", quantised[i].name, tn_qformats[type].name, p.nested ? " double" : "");
            if (!wanted(name, only)) continue;
            for (int act = TN_BF16; act <= last_type(unit, i, type, p.nested); act++)
                run_quantised(d, unit, &p, name, (tn_dtype)act);
        }
}

/* What the products do not tell: the zeros of an operand outside of its matrix. */
static void run_operands(tn_dev *d, const char *only)
{
    static const char name[] = "quantised operands";
    tn_error err = {0};
    for (const tn_case *k = tn_cases_quant; k->name; k++) {
        tn_case_result r = {.runs = 1};
        if (strcmp(k->name, name) != 0 || !wanted(name, only)) continue;
        const int rc = tn_case_run(k, d, &(tn_case_spec){.act = TN_BF16}, &r, &err);
        r.runs = strstr(emulated_launches(), "unpack_blocks") != NULL;
        tell("any", name, TN_BF16, &r, rc, &err);
    }
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

static const tn_case *case_of(const tn_variant_op *op)
{
    const tn_case *k = tn_cases_thin;
    while (!tn_case_of(k, op)) k++;
    return k;
}

/* Of NVIDIA's kernels the norms with a thin product: two tiles at most, several, and the widest. */
static void run_thin(tn_dev *d, int unit, const char *only)
{
    static const char *const names[] = {"norm, few", "norm", "norm, wide", "norm back, few", "norm back", "norm back, wide"};
    for (int i = 0; i < (int)TN_COUNT(names); i++) {
        const tn_variant_op *op = i < 3 ? &tn_layernorm_thin_op : &tn_layernorm_thin_back_op;
        if (!wanted(names[i], only)) continue;
        for (int act = TN_BF16; act <= (i % 3 == 1 ? TN_F16 : TN_BF16); act++)
            run_case(d, unit, case_of(op), names[i], (tn_dtype)act, i % 3, op);
    }
}

/* And the two thin products of a gradient, whose instructions are all of mma.sync's time: parts that are one slice, and several;
 * rows in several ranges, on a device that is large enough for them. */
static void run_both(tn_dev *d, int unit, const char *only)
{
    static const char *const names[] = {"both, few", "both"};
    const unsigned own = (unsigned)d->info.compute_units;
    d->info.compute_units = 12;
    for (int i = 0; i < (int)TN_COUNT(names); i++)
        for (int act = TN_BF16; wanted(names[i], only) && act <= (i ? TN_F16 : TN_BF16); act++)
            run_case(d, unit, case_of(&tn_thin_both_op), names[i], (tn_dtype)act, i, &tn_thin_both_op);
    d->info.compute_units = own;
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
        if (units[u].cap & (TN_CAP_NV_MMA80 | TN_CAP_NV_WGMMA)) {
            (units[u].cap & TN_CAP_NV_MMA80 ? run_thin : run_both)(d, u, argc > 4 ? argv[4] : NULL);
            continue;
        }
        run_products(d, u, argc > 4 ? argv[4] : NULL);
        run_formats(d, u, argc > 4 ? argv[4] : NULL);
        if (u == 0) run_operands(d, argc > 4 ? argv[4] : NULL);
        if (!(units[u].cap & TN_CAP_BLOCK_2D)) run_attention(d, u, argc > 4 ? argv[4] : NULL);
    }
    tn_dev_close(d);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
