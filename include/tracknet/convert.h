/** Checkpoints in, checkpoints out: quantising, merging adapters, Lightning's files, ONNX. All on the host. */
#ifndef TRACKNET_CONVERT_H
#define TRACKNET_CONVERT_H
#include <stdbool.h>
#include <stddef.h>
#include <tracknet/config.h>
#include <tracknet/run.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What became of one matrix. Made by the library: may grow at the end. Strings are borrowed during the callback. */
typedef struct tn_layer_report {
    const char *name;  /**< of the tensor */
    const char *state; /**< "quantised", "skipped" (by name), "not divisible" or "kept" (in float) */
    int rows, cols;
    double bits;      /**< stored bits a weight, scales included */
    double sqnr;      /**< signal to quantisation noise, dB; infinite where nothing is lost */
    double max_error; /**< largest |w - w'| */
} tn_layer_report;

/** Begin with TN_QUANTIZE_OPTIONS_INIT. */
typedef struct tn_quantize_options {
    unsigned version;
    const char *in, *out;   /**< Hugging Face folders (in: also a hub id in the local cache); out must not exist */
    const char *quant_type; /**< as model.quantization.quant_type; NULL: nf4 */
    int block_size;         /**< 0: the format's own */
    bool double_quant;
    const char *const *skip; /**< substrings of module names left in float; may be NULL */
    int n_skip;
    const tn_log *log; /**< may be NULL */
    /** Called for each matrix as it is written; non-zero stops. May be NULL. */
    int (*layer)(void *user, const tn_layer_report *r, int done, int total);
    tn_progress_fn *progress; /**< may be NULL */
    void *user;               /**< for layer and progress */
} tn_quantize_options;
#define TN_QUANTIZE_OPTIONS_VERSION 1
#define TN_QUANTIZE_OPTIONS_INIT    TN_INIT(TN_QUANTIZE_OPTIONS_VERSION)

/** Quantises a checkpoint's linear layers, one tensor in memory at a time. nf4, fp4 and int8 are written as bitsandbytes
 * serialises them, with the quantization_config that transformers reads. Nothing is left behind when it fails. */
TN_API int tn_quantize_checkpoint(const tn_quantize_options *o, tn_error *err);

/** Adds an adapter to its base: W + s B A, or DoRA's m/n (W + s B A). With o->quant_type the result is quantised (again);
 * without, it is written in the base's own dtype. o->in: the base. */
TN_API int tn_merge_adapter(const char *adapter, const tn_quantize_options *o, tn_error *err);

/** Describes a PEFT adapter; *text is JSON, free it with free(). */
TN_API int tn_adapter_describe(const char *adapter, char **text, tn_error *err);

/** Begin with TN_ADAPTER_CONVERT_INIT. */
typedef struct tn_adapter_convert {
    unsigned version;
    const char *in, *out;   /**< adapter folders; out must not exist */
    const char *spelling;   /**< module paths as transformers "v4" or "v5" has them; NULL: unchanged */
    const char *dtype;      /**< "F32", "F16" or "BF16"; NULL: unchanged */
    const char *model_type; /**< of the base's config.json, for spelling (dinov3_vit, convnext, ...) */
    const char *base;       /**< base folder; needed to turn a PiSSA or OLoRA adapter into plain LoRA */
    bool plain;             /**< PiSSA or OLoRA to plain LoRA of twice the rank */
} tn_adapter_convert;
#define TN_ADAPTER_CONVERT_VERSION 1
#define TN_ADAPTER_CONVERT_INIT    TN_INIT(TN_ADAPTER_CONVERT_VERSION)
TN_API int tn_convert_adapter(const tn_adapter_convert *o, tn_error *err);

/** Begin with TN_ADAPTER_AVERAGE_INIT. */
typedef struct tn_adapter_average {
    unsigned version;
    const char *const *adapters; /**< folders of adapters over one base */
    int n;                       /**< how many, 1 to 16 */
    const double *weights;       /**< of each, of any sign; NULL: 1 / n */
    /** "linear": lora_A and lora_B of sqrt(weight * scale) each are added, whose product is no average of the products, but has
     * the adapters' rank, which must be one. "svd": the average of the products, cut to a rank. */
    const char *method;
    int rank;        /**< svd: of the result; 0: the largest of the adapters' */
    const char *out; /**< must not exist */
} tn_adapter_average;
#define TN_ADAPTER_AVERAGE_VERSION 1
#define TN_ADAPTER_AVERAGE_INIT    TN_INIT(TN_ADAPTER_AVERAGE_VERSION)
/** One adapter of several, as PEFT's add_weighted_adapter makes it; of scale 1. A module that some of them lack is as if they had
 * zeros there. Adapters that are more than LoRA's two factors over the unchanged base (DoRA, PiSSA, OLoRA, LoftQ, biases, modules
 * saved whole) are refused. */
TN_API int tn_average_adapters(const tn_adapter_average *o, tn_error *err);

/** Turns a PyTorch Lightning TrackNet checkpoint, its .ckpt or safetensors (backbone.model.*, decoder.*, head.*; LoRA
 * under PEFT's names) into a checkpoint folder of ours, backbone included. c: the configuration it was trained with; its
 * pretrained_model_name is pointed at the new backbone. in: a folder or the file; out must not exist. */
TN_API int tn_import(tn_config *c, const tn_run_options *o, const char *in, const char *out, tn_error *err);

/** Begin with TN_EXPORT_OPTIONS_INIT. */
typedef struct tn_export_options {
    unsigned version;
    const char *out;      /**< FILE.onnx: ONNX, opset 17, adapters merged; else a folder: Lightning's names in safetensors */
    const char *spelling; /**< Lightning: backbone names as transformers "v4" (the default) or "v5" has them */
} tn_export_options;
#define TN_EXPORT_OPTIONS_VERSION 1
#define TN_EXPORT_OPTIONS_INIT    TN_INIT(TN_EXPORT_OPTIONS_VERSION)
/** Exports o->checkpoint, or it with o->adapters[0] in place. */
TN_API int tn_export(const tn_config *c, const tn_run_options *o, const tn_export_options *x, tn_error *err);

#ifdef __cplusplus
}
#endif
#endif
