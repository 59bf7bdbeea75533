/* What a processor that is not this one gets to run: tn-plain-cpu, started by an emulator of it (plain_cpu.sh).
 *   tn-plain-cpu                the CPU device's capabilities, and the operations that have rows for it
 *   tn-plain-cpu OPERATION...   every such row of the operations against plain C, on the smallest size in float32;
 *                               a line "OPERATION: good" for each */
#include "selftest.h"
#include "tuning.h"
#include "../testdev.h"

#include <string.h>

static bool runs_here(const tn_dev *d, const tn_variant *row)
{
    return (row->needs & TN_CAP_VECTORS) && tn_variant_fits(row, d->caps);
}

static bool has_rows(const tn_dev *d, const tn_variant_op *op)
{
    for (int i = 0; i < op->n; i++)
        if (runs_here(d, &op->rows[i])) return true;
    return false;
}

/* Of operations that build a program for every format, one. */
static const char *kind_of(const tn_variant_op *op)
{
    return op == &tn_unpack_op ? "nf4 nested 64 to float32" : op == &tn_qgemv_op ? "nf4 nested 64 float32" : NULL;
}

static int list(const tn_dev *d)
{
    puts(d->info.capabilities);
    for (int i = 0; tn_variant_ops[i]; i++)
        if (has_rows(d, tn_variant_ops[i])) puts(tn_variant_ops[i]->name);
    return 0;
}

/* The least that has something for a row is enough: under an emulator building kernels takes the time. */
static int run_least(tn_case_result *r, tn_dev *d, const tn_case *k, const tn_variant_op *op, int row, tn_error *err)
{
    for (int act = TN_F32; act <= TN_BF16; act++)
        for (int size = 0; size < 2; size++) {
            const tn_case_spec s = {.act = (tn_dtype)act, .size = size, .op = op, .row = row, .kind = kind_of(op)};
            if (act != TN_F32 && k->float32_only) continue;
            TN_TRY(tn_case_run(k, d, &s, r, err));
            if (r->runs) return r->worst <= 1 ? 0 : tn_fail(err, TN_ERR_NUMERIC, "%s: off by %g", k->name, r->error);
        }
    return 0;
}

static int check_row(tn_dev *d, const tn_variant_op *op, int row, tn_error *err)
{
    tn_case_result r = {0};
    for (int t = 0; tn_case_tables[t]; t++)
        for (const tn_case *k = tn_case_tables[t]; k->name && !r.runs; k++)
            if (tn_case_of(k, op)) TN_TRY(run_least(&r, d, k, op, row, err));
    if (!r.runs) return tn_fail(err, TN_ERR_DEVICE, "no case runs it");
    printf("%s, %s: %d runs\n", op->name, op->rows[row].name, r.runs);
    return 0;
}

static int check(tn_dev *d, const char *name)
{
    int good = 0;
    for (int i = 0; tn_variant_ops[i]; i++)
        for (int row = 0; !strcmp(tn_variant_ops[i]->name, name) && row < tn_variant_ops[i]->n; row++) {
            tn_error err = {0};
            if (!runs_here(d, &tn_variant_ops[i]->rows[row])) continue;
            if (check_row(d, tn_variant_ops[i], row, &err)) {
                fprintf(stderr, "%s, %s: %s\n", name, tn_variant_ops[i]->rows[row].name, err.message);
                return 1;
            }
            good++;
        }
    return good ? 0 : 2;
}

int main(int argc, char **argv)
{
    tn_dev *d = NULL;
    tn_error err = {0};
    if (test_device(&d, "cpu", &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 2;
    }
    int rc = argc > 1 ? 0 : list(d);
    for (int i = 1; !rc && i < argc; i++) {
        rc = check(d, argv[i]);
        if (!rc) printf("%s: good\n", argv[i]);
        fflush(stdout);
    }
    tn_dev_close(d);
    return rc;
}
