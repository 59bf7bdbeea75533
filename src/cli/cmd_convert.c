/* Commands that turn files into files: quantize, adapter, import, export. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    bool table;
    json_t *list;
    int count, quantised;
    double bits, elements;
} shown;

static int on_layer(void *user, const tn_layer_report *r, int done, int total)
{
    shown *s = user;
    const double n = (double)r->rows * r->cols;
    s->count++;
    s->quantised += r->state[0] == 'q';
    s->bits += r->bits * n;
    s->elements += n;
    if (s->list) {
        json_array_append_new(s->list, json_pack("{s:o, s:s, s:[i,i], s:o, s:o, s:o}", "name", tn_json_text(r->name), "state",
                                                 r->state, "shape", r->rows, r->cols, "bits_per_weight", tn_json_real(r->bits),
                                                 "sqnr_db", tn_json_real(r->sqnr), "max_error", tn_json_real(r->max_error)));
    } else if (s->table) {
        if (s->count == 1) printf("%-52s %-14s %-12s %7s %9s %11s\n", "tensor", "state", "shape", "bits", "SQNR dB", "max error");
        char shape[24], sqnr[16] = "-";
        snprintf(shape, sizeof shape, "%dx%d", r->rows, r->cols);
        if (!isinf(r->sqnr)) snprintf(sqnr, sizeof sqnr, "%.2f", r->sqnr);
        printf("%-52s %-14s %-12s %7.3f %9s %11.4g\n", r->name, r->state, shape, r->bits, sqnr, r->max_error);
    } else {
        tn_bar_show((double)done / total, done == total, "%d/%d  %s", done, total, r->name);
    }
    return tn_interrupted;
}

static tn_quantize_options options_of(const tn_cli *c, shown *s)
{
    *s = (shown){.table = c->report && !c->json, .list = c->json ? json_array() : NULL};
    return (tn_quantize_options){.version = TN_QUANTIZE_OPTIONS_VERSION,
                                 .in = c->in,
                                 .out = c->out,
                                 .quant_type = c->quant_type,
                                 .block_size = c->block_size,
                                 .double_quant = c->double_quant,
                                 .skip = c->skip,
                                 .n_skip = c->n_skip,
                                 .log = c->run.log,
                                 .layer = on_layer,
                                 .user = s};
}

static int convert_cmd_finish(shown *s, const char *out, int rc, tn_error *err)
{
    tn_bar_clear();
    if (!rc && s->list)
        rc = tn_cli_print_json(json_pack("{s:o, s:o, s:O}", "out", tn_json_text(out), "mean_bits_per_weight",
                                         tn_json_real(s->elements ? s->bits / s->elements : 0), "layers", s->list),
                               err);
    else if (!rc)
        printf("%s: %d of %d matrices quantised, %.2f bits a weight on average\n", out, s->quantised, s->count,
               s->elements ? s->bits / s->elements : 0);
    json_decref(s->list);
    return rc;
}

int tn_cmd_quantize(tn_cli *c, tn_error *err)
{
    shown s;
    const tn_quantize_options o = options_of(c, &s);
    int rc = tn_quantize_checkpoint(&o, err);
    return convert_cmd_finish(&s, c->out, rc, err);
}

static int convert_cmd_wrong(tn_error *err, const char *what)
{
    return tn_fail(err, TN_ERR_ARGUMENT, "%s; see 'tracknet adapter --help'", what);
}

static int info(tn_cli *c, tn_error *err)
{
    char *text;
    int rc = tn_adapter_describe(c->adapters[0], &text, err);
    if (rc) return rc;
    json_t *j = json_loads(text, 0, NULL), *v;
    size_t i;
    free(text);
    if (c->json) return tn_cli_print_json(j, err);
    const json_t *r = json_object_get(j, "r"), *base = json_object_get(j, "base_model");
    printf("adapter     %s\nbase model  %s\nrank        %lld to %lld\nkind        %s%s, init %s, bias %s, %s\nparameters  %lld "
           "(%lld bytes)\n",
           c->adapters[0], json_is_string(base) ? json_string_value(base) : "not said", json_integer_value(json_array_get(r, 0)),
           json_integer_value(json_array_get(r, 1)), json_is_true(json_object_get(j, "dora")) ? "DoRA" : "LoRA",
           json_is_true(json_object_get(j, "rslora")) ? " (rsLoRA)" : "", json_string_value(json_object_get(j, "init")),
           json_string_value(json_object_get(j, "bias")), json_string_value(json_object_get(j, "dtype")),
           json_integer_value(json_object_get(j, "parameters")), json_integer_value(json_object_get(j, "bytes")));
    printf("%-56s %4s %12s %9s\n", "module", "r", "shape", "scale");
    json_array_foreach(json_object_get(j, "modules"), i, v)
        printf("%-56s %4lld %5lldx%-6lld %9.4g\n", json_string_value(json_object_get(v, "module")),
               json_integer_value(json_object_get(v, "r")), json_integer_value(json_object_get(v, "out_features")),
               json_integer_value(json_object_get(v, "in_features")), json_real_value(json_object_get(v, "scale")));
    json_array_foreach(json_object_get(j, "other_tensors"), i, v) printf("%s\n", json_string_value(v));
    json_decref(j);
    return 0;
}

/* "0.5,-1" */
static int read_weights(double *out, const tn_cli *c, tn_error *err)
{
    const char *s = c->weights;
    int n = 0;
    for (; s && n < c->run.n_adapters; n++) {
        char *end;
        out[n] = strtod(s, &end);
        if (end == s || !isfinite(out[n]) || (*end && *end != ',')) break;
        s = *end ? end + 1 : NULL;
    }
    if (!c->weights || (!s && n == c->run.n_adapters)) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "--weights '%s' is not %d numbers with commas between them, one for each --adapter",
                   c->weights, c->run.n_adapters);
}

static int average(tn_cli *c, tn_error *err)
{
    double weights[sizeof c->adapters / sizeof *c->adapters];
    if (c->base || c->quant_type)
        return tn_fail(err, TN_ERR_ARGUMENT,
                       "--method makes one adapter of several and takes no --%s; merge the outcome into its base afterwards",
                       c->base ? "base" : "quant-type");
    int rc = read_weights(weights, c, err);
    const tn_adapter_average o = {.version = TN_ADAPTER_AVERAGE_VERSION,
                                  .adapters = c->adapters,
                                  .n = c->run.n_adapters,
                                  .weights = c->weights ? weights : NULL,
                                  .method = c->method,
                                  .rank = c->rank,
                                  .out = c->out};
    if (!rc) rc = tn_average_adapters(&o, err);
    if (!rc) printf("%s\n", c->out);
    return rc;
}

static int merge(tn_cli *c, tn_error *err)
{
    shown s;
    if (c->method) return average(c, err);
    if (c->weights || c->rank) return convert_cmd_wrong(err, "--weights and --rank go with --method linear or svd");
    if (c->run.n_adapters != 1) return convert_cmd_wrong(err, "name one --adapter, or say by --method how several become one");
    tn_quantize_options o = options_of(c, &s);
    o.in = c->base;
    int rc = tn_merge_adapter(c->adapters[0], &o, err);
    return convert_cmd_finish(&s, c->out, rc, err);
}

static int convert(tn_cli *c, tn_error *err)
{
    const tn_adapter_convert o = {
        TN_ADAPTER_CONVERT_VERSION, c->adapters[0], c->out, c->spelling, c->dtype, c->model_type, c->base, c->plain};
    int rc = tn_convert_adapter(&o, err);
    if (!rc) printf("%s\n", c->out);
    return rc;
}

int tn_cmd_adapter(tn_cli *c, tn_error *err)
{
    if (!c->action) return convert_cmd_wrong(err, "say info, merge or convert");
    if (!strcmp(c->action, "merge")) return merge(c, err);
    if (c->run.n_adapters != 1) return convert_cmd_wrong(err, "name one --adapter");
    if (!strcmp(c->action, "info")) return info(c, err);
    if (!strcmp(c->action, "convert")) return convert(c, err);
    return convert_cmd_wrong(err, "that is none of info, merge and convert");
}

int tn_cmd_import(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    int rc = tn_cli_config(&cfg, c, err);
    if (!rc) rc = tn_import(cfg, &c->run, c->in, c->out, err);
    tn_bar_clear();
    if (!rc) printf("%s: 'tracknet predict --checkpoint %s' reads it\n", c->out, c->out);
    tn_config_free(cfg);
    return rc;
}

int tn_cmd_export(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    const tn_export_options x = {TN_EXPORT_OPTIONS_VERSION, c->out, c->spelling};
    int rc = tn_cli_config(&cfg, c, err);
    if (!rc) rc = tn_export(cfg, &c->run, &x, err);
    tn_bar_clear();
    if (!rc) printf("%s\n", c->out);
    tn_config_free(cfg);
    return rc;
}
