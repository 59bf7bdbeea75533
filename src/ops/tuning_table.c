/* What is known of the variants on a device, as a table. */
#include "tuning.h"
#include "jsonio.h"
#include "tuning_db.h"

#include <string.h>

static void tuning_add_row(tn_text *out, const char *name, const json_t *r, bool chosen, const json_t *tune)
{
    const double sec = tn_json_num(r, "seconds", 0), e = tn_json_num(r, "error", -1);
    const char *key;
    json_t *v;
    tn_text_addf(out, "    %-12s", name);
    if (sec > 0) tn_text_addf(out, " %10.3f ms", 1e3 * sec);
    else tn_text_addf(out, " %10s   ", "-");
    if (e >= 0) tn_text_addf(out, "   error %-8.2g", e);
    else tn_text_addf(out, "   %-14s", "");
    tn_text_addf(out, " %s", chosen ? "chosen" : tn_json_str(r, "why", ""));
    if (chosen) json_object_foreach((json_t *)tune, key, v) tn_text_addf(out, ", %s %lld", key, (long long)json_integer_value(v));
    tn_text_addf(out, "\n");
}

static void add_op(tn_text *out, json_t *db, const tn_variant_op *op)
{
    const char *key, *name;
    json_t *answer, *row;
    json_object_foreach(tn_db_at(db, "choices", op->name, NULL, NULL), key, answer)
    {
        tn_text_addf(out, "%s  %s\n", op->name, key);
        json_object_foreach(json_object_get(answer, "rows"), name, row)
            tuning_add_row(out, name, row, !strcmp(name, tn_json_str(answer, "variant", "")), json_object_get(answer, "tune"));
    }
}

static void add_library(tn_text *out, const json_t *p)
{
    if (!p) return;
    tn_text_addf(out, "clblast  %s\n    a layer's products take %.3f ms with these parameters, %.3f with its own; %lld tried\n",
                 tn_json_str(p, "text", ""), 1e3 * tn_json_num(p, "seconds", 0), 1e3 * tn_json_num(p, "own", 0),
                 tn_json_int(p, "tried", 0));
}

int tn_tuning_table(tn_text *out, tn_dev *d, tn_error *err)
{
    json_t *db;
    TN_TRY(tn_variant_list_check(d->variants, tn_variant_ops, err));
    TN_TRY(tn_db(&db, d, err));
    for (int i = 0; tn_variant_ops[i]; i++) add_op(out, db, tn_variant_ops[i]);
    add_library(out, tn_db_at(db, "parameters", "clblast", NULL, NULL));
    return out->oom ? tn_oom(err) : 0;
}
