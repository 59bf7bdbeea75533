#include "cli.h"
#include "describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NULL: not run; "passed"; or what failed. */
static const char *self_test(const tn_cli *c, const tn_device_info *d, char *buf, size_t n)
{
    tn_error err = {0};
    if (!c->self_test) return NULL;
    if (!tn_device_self_test(d->index, &c->run, buf, n, &err)) return "passed";
    snprintf(buf, n, "FAILED: %.400s", err.message);
    return buf;
}

/* The table of variants, each line set in; nothing where nothing is known. */
static void print_tuning(const char *table)
{
    for (const char *s = table; s && *s;) {
        const size_t n = strcspn(s, "\n");
        printf("     %.*s\n", (int)n, s);
        s += n + (s[n] != 0);
    }
}

/* What the choice between platforms rests on. */
static void print_duplicate(const tn_device_info *d, const tn_device_info *taken)
{
    const bool measured = d->product_rate > 0 && taken->product_rate > 0;
    printf("     duplicate  of device %d through another platform, which is taken unless this index is named: ", taken->index);
    if (measured)
        printf("it multiplies %.0f GFLOP/s and copies %.1f GB/s, this one %.0f and %.1f\n", taken->product_rate / 1e9,
               taken->copy_rate / 1e9, d->product_rate / 1e9, d->copy_rate / 1e9);
    else printf("the platforms' order, without a measurement\n");
}

static void print_device(const tn_cli *c, const tn_device_info *d, const tn_device_info *taken, const char *test,
                         const char *tuning)
{
    printf("%d  %s  (%s)\n", d->index, d->name, tn_device_type_name(d->type));
    if (taken) print_duplicate(d, taken);
    printf("     platform   %s; %s; driver %s\n", d->platform, d->version, d->driver);
    printf("     memory     %.2f GiB%s, largest allocation %.2f GiB, local %zu KiB\n", (double)d->global_memory / 1073741824,
           d->unified_memory ? " shared with the host" : "", (double)d->largest_allocation / 1073741824, d->local_memory >> 10);
    printf("     compute    %u units, %u MHz, work-groups to %u, vectors of %u floats\n", d->compute_units, d->clock_mhz,
           d->max_work_group, d->float_width);
    printf("     arithmetic half %s, bf16 units %s, matrix units %s\n", d->half_arithmetic ? "yes" : "no",
           d->bf16_units ? "yes" : "no", d->matrix_units ? "yes" : "no");
    if (d->quirks[0]) printf("     note       %s\n", d->quirks);
    if (c->verbose) printf("     variants may use  %s\n", d->capabilities[0] ? d->capabilities : "nothing special");
    printf("     self-test  %s\n", test ? test : "not run (--self-test runs it)");
    if (c->verbose && tuning && !tuning[0]) printf("     variants   not measured yet (--tune measures them)\n");
    print_tuning(tuning);
}

static json_t *device_json(const tn_device_info *d, const char *test, const char *tuning)
{
    json_t *j = tn_describe_device(d);
    if (!j) return NULL;
    json_object_set_new(j, "self_test", tn_json_text(test));
    json_object_set_new(j, "tuning", tn_json_text(tuning));
    return j;
}

int tn_cmd_devices(tn_cli *c, tn_error *err)
{
    tn_device_info **v = NULL;
    int n = 0, one = 0, rc = tn_device_list(&v, &n, err), failed = 0;
    if (!rc && c->run.device) rc = tn_device_select(&one, c->run.device, err);
    json_t *list = json_array();
    for (int i = 0; !rc && i < n; i++) {
        if (c->run.device && i != one) continue;
        char buf[512], *tuning = NULL;
        const char *test = self_test(c, v[i], buf, sizeof buf);
        failed += test && strcmp(test, "passed") != 0;
        if (c->tune) rc = tn_device_tune(i, &c->run, &tuning, err);
        else if (c->verbose) rc = tn_device_tuning(i, &c->run, &tuning, err);
        tn_bar_clear();
        if (rc) break;
        if (c->json) json_array_append_new(list, device_json(v[i], test, tuning));
        else print_device(c, v[i], v[i]->duplicate_of < 0 ? NULL : v[v[i]->duplicate_of], test, tuning);
        free(tuning);
    }
    if (!rc && c->json) rc = tn_cli_print_json(list, err);
    else json_decref(list);
    tn_device_list_free(v);
    if (rc || !failed) return rc;
    return tn_fail(err, TN_ERR_DEVICE, "%d device(s) failed the self-test and should not be trained on", failed);
}
