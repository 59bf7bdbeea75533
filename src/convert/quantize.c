#include "rewrite.h"
#include "entry.h"

#include <string.h>

int tn_quantize_check(const tn_quantize_options *o, tn_qtype *type, tn_error *err)
{
    int block;
    TN_TRY(tn_qtype_find(type, o->quant_type ? o->quant_type : "nf4", err));
    const int cols = o->block_size && (o->block_size & (o->block_size - 1)) == 0 ? TN_MAX(4096, o->block_size) : 4096;
    TN_TRY(tn_qblock(&block, *type, o->block_size, cols, "--block-size", err));
    if (o->double_quant && !tn_qformats[*type].nestable)
        return tn_fail(err, TN_ERR_CONFIG, "%s has no double quantisation; nf4 and fp4 have", tn_qformats[*type].name);
    return 0;
}

int tn_quantize_skips(const tn_quantize_options *o, tn_error *err)
{
    if (o->n_skip) TN_TRY(tn_required(o->skip, "tn_quantize_options.skip", err));
    for (int i = 0; i < o->n_skip; i++) TN_TRY(tn_required(o->skip[i], "an entry of tn_quantize_options.skip", err));
    return 0;
}

int tn_quantize_checkpoint(const tn_quantize_options *o, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_struct(o, TN_QUANTIZE_OPTIONS_VERSION, "tn_quantize_options", err));
    tn_rewrite w = {.o = o, .quantize = true, .phase = TN_PHASE_QUANTIZING};
    TN_TRY(tn_quantize_skips(o, err));
    if (!o->in || !o->out) return tn_fail(err, TN_ERR_ARGUMENT, "give --in and --out, two Hugging Face model folders");
    TN_TRY(tn_quantize_check(o, &w.type, err));
    return tn_rewrite_run(&w, err);
}
