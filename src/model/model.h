/**
 * A heatmap model: backbone, LoRA adapters, decoder, head. Here it is only slots (what weights there are)
 * and the rule that turns it into a graph for a batch; values and devices come later.
 */
#ifndef TN_MODEL_H
#define TN_MODEL_H
#include "feature_list.h"
#include "graph.h"
#include "log.h"
#include "text.h"
#include <jansson.h>

typedef struct tn_model tn_model;
typedef struct tn_pass tn_pass;

/** Tensor names of a ViT family; %d is the layer. NULL where the family has no such tensor. */
typedef struct tn_vit_names {
    const char *patch, *cls, *registers, *positions;           /* patch: module, the rest: tensors */
    const char *norm1, *query, *key, *value, *output, *scale1; /* modules (scales: tensors) */
    const char *norm2, *gate, *up, *down, *scale2, *norm;
} tn_vit_names;

enum { TN_POS_NONE, TN_POS_FIXED, TN_POS_BICUBIC, TN_POS_BICUBIC_AA };

/** Everything that decides a ViT's arithmetic, whatever its family. */
typedef struct tn_vit {
    const tn_vit_names *names;
    int hidden, inner, heads, registers; /* inner: width of the MLP's hidden layer */
    int pos_h, pos_w;                    /* stored position grid, patches */
    int pos_mode;
    float eps, rope_theta;
    bool rope, layer_scale, gated, fused_gate; /* fused_gate: one matrix holds gate | up */
    bool q_bias, k_bias, v_bias, o_bias, mlp_bias;
    tn_fn act;
    float rope_shift, rope_jitter, rope_rescale; /* 0: off; used in training only when asked for */
} tn_vit;

/** Tensor names of a ConvNeXt family; the first %d is the stage, the second one the block in it. */
typedef struct tn_convnext_names {
    const char *stem, *stem_norm;             /* modules, as most are */
    const char *shrink_norm, *shrink;         /* in front of every stage but the first */
    const char *depthwise, *norm, *up, *down; /* of a block */
    const char *grn, *scale;                  /* scale: a tensor */
    const char *last_norm;
} tn_convnext_names;

enum { TN_CONVNEXT_STAGES = TN_MAX_FEATURES };
/** Everything that decides a ConvNeXt's arithmetic (Liu et al. 2022; with GRN, Woo et al. 2023), whatever its family. */
typedef struct tn_convnext {
    const tn_convnext_names *names;
    int patch; /* kernel and stride of the stem */
    int n_stages, width[TN_CONVNEXT_STAGES], depth[TN_CONVNEXT_STAGES];
    float eps, last_eps; /* last_eps: of the norm behind the last stage, which no decoder reads */
    float scale_init;    /* what layer scales begin with where weights are random */
    bool layer_scale, grn;
    bool tokens; /* as DINOv3's: hidden_states.0 is the image itself, last_hidden_state the last stage's positions normalised */
    tn_fn act;
} tn_convnext;

struct tn_family;
/** A backbone as config.json describes it (and, where it leaves a choice, the model's section of the configuration). */
typedef struct tn_backbone {
    const struct tn_family *family;
    int layers;                  /* those of the graph that are called layer.i, each with activations to keep or to make again */
    int patch;                   /* pixels; the image is a multiple of it. 0: any image */
    int channels;                /* of its images as stored: 3, or of a checkpoint of several frames 3 for each */
    int first_state, last_state; /* of the checkpoint's hidden_states those that are maps */
    int returned[TN_MAX_FEATURES], n_returned; /* which of them are handed out, ascending */
    bool whole;                                /* nothing of the checkpoint's lies behind the last of these */
    union {
        tn_vit vit;
        tn_convnext convnext;
    };
} tn_backbone;

/** What families of one kind share: how their slots and graph come of a tn_backbone. One row a file (vit.c). */
typedef struct tn_architecture {
    /** Whether the image has a size that the backbone takes; the error says which it would take. */
    int (*fits)(const tn_model *m, tn_error *err);
    int (*slots)(tn_model *m, tn_error *err);
    /** What it hands out: sizes, before there is a graph; tensors are -1. */
    void (*features)(const tn_model *m, tn_feature_list *out);
    /** Emits it. *out: what it hands out. */
    int (*emit)(tn_graph *g, const tn_model *m, const tn_pass *p, tn_feature_list *out, tn_error *err);
    /** Which hidden states there are, and those that are handed out unless others are asked for. */
    void (*states)(tn_backbone *b);
    /** Takes away the layers behind hidden_states.<state>. */
    void (*end)(tn_backbone *b, int state);
    /** Takes layers away, so that at least n are left that stand for all of them. */
    void (*shorten)(tn_backbone *b, int n);
    /** Floats of the table (tn_graph.rope_table) that training may draw anew for each pass; 0: none. NULL: it has none. */
    size_t (*drawn)(const tn_model *m);
    void (*draw)(const tn_model *m, uint32_t seed, float *table);
} tn_architecture;

/** A backbone family: one file, one row of backbones.c. */
typedef struct tn_family {
    const char *model_type;
    const tn_architecture *architecture;
    const char *const *names; /* every name of its modules, %d the layer; NULL entries are skipped */
    int n_names;
    /** Fills *b, which is zero but for its family, from config.json. */
    int (*configure)(tn_backbone *b, const json_t *config, tn_error *err);
    const char *const *lora_default; /* suffixes LoRA takes when none are named; NULL-terminated */
    /** Pairs (checkpoint's spelling, transformers 5's in memory), applied in order; NULL-terminated. */
    const char *const (*spelling)[2];
} tn_family;
const tn_family *tn_family_find(const char *model_type);
/** A module's path as transformers 5 has it in memory, which is how PEFT names adapters (its files know no other). */
void tn_module_path(char *out, size_t n, const tn_family *family, const char *module);
/** From the common spelling (base/names.h) of a tensor or module to the family's: its checkpoint's, or transformers 5's. */
void tn_spell_name(char *out, size_t n, const tn_family *family, const char *common, bool v5);
/** Recognises config.json's model_type; `where` names the file in errors. */
int tn_backbone_configure(tn_backbone *b, const json_t *config, const char *where, tn_error *err);
/** Hands out n of its hidden states, ascending, in the place of those that it would; what lies behind the last one is then no
 * part of the model. n 0: as it would. */
int tn_backbone_return(tn_backbone *b, const int *states, int n, tn_error *err);

/** The upsampling decoder of vit_heatmap: stages of bilinear upsampling and residual blocks over one map. */
typedef struct tn_upsampling {
    int channels[16], n_channels, upsample[16], n_upsample, blocks;
    bool batch_norm, relu, depthwise, se;
    int se_reduction;
    float dropout;
} tn_upsampling;

/** The feature pyramid of convnext_fpn_heatmap. */
typedef struct tn_fpn {
    int in_channels[16], n_in; /* none: the backbone's */
    int lateral;               /* width of every level */
    bool concat;               /* side by side through a 1x1 convolution; else summed */
} tn_fpn;

/** The branches of convnext_hrnet_heatmap. */
typedef struct tn_hrnet {
    int in_channels[16], n_in; /* none: the backbone's */
    int widths[16], n_widths;  /* of each branch, the finest first */
    int units;
    int out; /* channels that the head reads; 0: the finest branch's */
} tn_hrnet;

/** The encoder and the pyramid of convnext_deformable_fpn_heatmap. */
typedef struct tn_deformable {
    int in_channels[16], n_in; /* none: the backbone's */
    int d_model, heads, layers;
    int levels;  /* 0: as many as the backbone has maps */
    int points;  /* samples of a head in each level */
    int lateral; /* width of every level of the pyramid */
} tn_deformable;

/** A normalisation over images and the activation behind it (TN_OP_NORM2D): its slots as the node's. */
typedef struct tn_map_norm {
    bool wanted;
    int w[TN_NODE_SLOTS];
    tn_attr_norm2d a;
} tn_map_norm;

/** What a decoder hands to the head, which resizes each map to the heatmap and adds them. A convolution that nothing but the head
 * comes after is left to the head, whose few channels are all that is wanted of it; before one of 1x1 a normalisation is, too. */
typedef struct tn_map_list {
    tn_feature f[TN_MAX_FEATURES];
    int conv[TN_MAX_FEATURES];         /* slot of a kernel that the map has yet to go through; -1: none */
    tn_map_norm norm[TN_MAX_FEATURES]; /* and of what before that */
    int reduce;                        /* slot of a 1x1 kernel that takes all maps side by side, resized; -1: they are added */
    int n;
} tn_map_list;

/** A kind of decoder: one file, one row of decoders.c. */
typedef struct tn_decoder_kind {
    const char *name;
    bool scales; /* wants maps of several scales: of a backbone with one, tn_scales_of makes them */
    int (*slots)(tn_model *m, const tn_feature_list *in, tn_error *err);
    /** Emits it over what the backbone hands out, which has no tokens to skip. */
    int (*emit)(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_feature_list *in, tn_map_list *out, tn_error *err);
    /** Channels that the head reads. */
    int (*width)(const tn_model *m);
} tn_decoder_kind;
/** One map that the head reads as it is. */
tn_map_list tn_map_alone(const tn_feature *f);

typedef struct tn_decoder {
    const tn_decoder_kind *kind;
    float head_std; /* 0: Kaiming */
    union {
        tn_upsampling upsampling;
        tn_fpn fpn;
        tn_hrnet hrnet;
        tn_deformable deformable;
    };
} tn_decoder;
/** NULL where there is none of this name. */
const tn_decoder_kind *tn_decoder_find(const char *name);

typedef enum tn_lora_init { TN_LORA_KAIMING, TN_LORA_GAUSSIAN, TN_LORA_PISSA, TN_LORA_LOFTQ, TN_LORA_OLORA } tn_lora_init;
/** N of PEFT's "pissa_niter_N", 0 of "pissa" (the exact decomposition), -1 of every other start; in any case. */
int tn_pissa_iterations(const char *init);

/** Regular expressions over module paths and a number for each. */
typedef struct tn_lora_pattern {
    tn_strs key;
    double *value;
} tn_lora_pattern;

enum { TN_LORA_LAYERS = 64 };
/** Adapters as PEFT's LoraConfig describes them (Hu et al. 2021; rsLoRA 2023; DoRA, PiSSA, LoftQ, OLoRA 2024). */
typedef struct tn_lora {
    bool enabled, rslora, dora;
    int r;
    float alpha, dropout;
    tn_strs targets;      /* names or suffixes; empty and no pattern: detect */
    char *target_pattern; /* a regular expression, or all-linear */
    tn_strs exclude;
    char *exclude_pattern;
    int layers[TN_LORA_LAYERS], n_layers; /* layers_to_transform; none: all */
    tn_strs layers_pattern;               /* regular expressions of the component before a layer's number; none: any */
    tn_lora_pattern rank_pattern, alpha_pattern;
    tn_strs modules_to_save;
    char bias[12]; /* none, all, lora_only */
    tn_lora_init init;
    int iterations; /* pissa: of the randomised SVD, 0 for the exact one; loftq: alternations */
    bool foreign;   /* made of adapters' files: what of them is not in the backbone is told of when they are applied */
} tn_lora;
bool tn_lora_copy(tn_lora *dst, const tn_lora *src);
void tn_lora_free(tn_lora *l);

typedef enum tn_group { TN_GROUP_HEAD = 1, TN_GROUP_LORA = 2, TN_GROUP_BACKBONE = 4 } tn_group;
typedef enum tn_init {
    TN_INIT_ZERO,
    TN_INIT_ONE,
    TN_INIT_CONSTANT,
    TN_INIT_KAIMING_OUT,
    TN_INIT_LORA_A,
    TN_INIT_LORA_GAUSSIAN,
    TN_INIT_TRUNC,
    TN_INIT_CONV_BIAS,
    TN_INIT_UNIFORM_IN, /* Kaiming uniform with a = 1 and fan_in, as torchvision's pyramid */
    TN_INIT_DIRECTIONS  /* offsets of deformable attention, as Deformable DETR's */
} tn_init;

typedef struct tn_slot {
    /* backbone: as the family's checkpoint; "decoder.…", "head.…"; LoRA: <module>.lora_A.weight, .lora_B.weight and, for
     * DoRA, .lora_magnitude_vector */
    char *name;
    int ndim, shape[4], rows, cols;
    tn_group group;
    bool trainable, linear, buffer; /* linear: a linear layer's weight (may be quantised); buffer: running statistic */
    int norm;   /* of a linear layer that reads nothing but what a layer norm makes: its gamma's slot; else -1 */
    bool joins; /* belongs to one operation with the linear before it (key and value, up beside gate) */
    int layer;  /* of the backbone's layers: its number from 1 on; 0: in none, or no slot of a checkpoint's */
    tn_init init;
    int init_fan;     /* of TN_INIT_DIRECTIONS: heads */
    float init_std;   /* 0: what init says; of TN_INIT_CONSTANT: the value; of TN_INIT_DIRECTIONS: points */
    float lora_scale; /* of a lora_A or lora_B */
    bool saved_whole; /* of modules_to_save */
    bool backbone;    /* a backbone's checkpoint has it, whichever group trains it */
    int frames; /* of what reads a sample's frames, shape[1] holding the channels of each, the oldest first: how many; else 0 */
} tn_slot;

struct tn_model {
    tn_backbone backbone;
    tn_decoder dec;
    tn_lora lora;
    int image_h, image_w, heat_h, heat_w;
    int frames, heats; /* of a sample: images side by side as channels, the oldest first; heatmaps, of the last ones */
    bool train_backbone;
    tn_slot *slots;
    int n_slots, cap_slots;
    bool with_decoder;
};

/** What a model is made of; copied, none is kept. dec NULL: a backbone alone; lora NULL: no adapters. */
typedef struct tn_model_spec {
    const tn_backbone *backbone;
    const tn_decoder *dec;
    const tn_lora *lora;
    int image_h, image_w, heat_h, heat_w; /* pixels: the image as the backbone takes it, the heatmap positive */
    bool train_backbone;
    int frames, heats; /* of a sample; 0: 1 */
} tn_model_spec;
/** log may be NULL. */
int tn_model_new(tn_model **out, const tn_model_spec *spec, const tn_log *log, tn_error *err);
void tn_model_free(tn_model *m);

/* ---- slots.c ---- */
/** Index of a slot or -1. */
int tn_model_slot(const tn_model *m, const char *name);
/** The slot that a weight's module has under `suffix` ("lora_A.weight"), or -1. */
int tn_model_beside(const tn_model *m, const tn_slot *weight, const char *suffix);
/** Adds a slot; shape has ndim entries. Returns its index, -1 when memory ran out. */
int tn_model_add(tn_model *m, tn_slot s, const char *name);
/** The gamma of the layer norm that the frozen matrix w can take in, so that a product is made of what the norm reads
 * (take_norms.c); -1: it cannot. Its beta is the slot behind. Of matrices of one operation all must. */
int tn_model_norm_of(const tn_model *m, int w);
/** Is it the weight of a convolution of the backbone, [out, in of a group, k, k]? */
bool tn_slot_is_kernel(const tn_slot *s);
/** The groups of a convolution's weight: as many as channels where each has a kernel of its own; else, and of others, 1. */
int tn_slot_groups(const tn_slot *s);
/** The modules of the backbone that may have adapters, linear layers and convolutions (dotted names, no ".weight"). */
int tn_model_modules(const tn_model *m, tn_strs *out);
long long tn_model_count(const tn_model *m, int groups, bool trainable_only);

/** How much of the model a pass goes through. Features are what the backbone hands to the decoder (feature_list.h). */
typedef enum tn_stretch {
    TN_STRETCH_ALL,
    TN_STRETCH_TO_FEATURES,  /* the backbone alone; the features are outputs */
    TN_STRETCH_FROM_FEATURES /* the rest; the features are inputs, and no frames are */
} tn_stretch;

/** What one pass needs of a graph. */
struct tn_pass {
    int batch;
    tn_dtype act;
    int groups;    /* TN_GROUP_* trained in this pass; 0: inference */
    bool training; /* dropout on, BatchNorm by batch */
    bool loss;     /* loss node (and backward when groups) */
    bool logits;   /* and the loss takes the heatmap for logits: known before the session's loss, for what is built ahead */
    bool hidden;   /* keep hidden_states.* as outputs; backbone only unless loss or heat is asked */
    bool heat;     /* run decoder and head */
    tn_recompute recompute; /* what layers make again (graph.h) */
    uint64_t kept;          /* bit l: layer.l of the backbone does the next less (tn_recompute_less) */
    bool merged;            /* adapters are in the matrices already (tn_store_merge): none are beside them */
    bool norms;             /* merged: and so are layer norms' vectors (tn_store_spec.norms) */
    bool unfused;           /* the graph as it is emitted: no operation goes into the product before it */
    bool frames;    /* in come frames [B*T*H, 3*W] of RGB bytes and labels [B*K, 3] (x, y in heatmap pixels, visible), not pixel
                     * values, target and mask */
    bool normalize; /* frames: by ImageNet's mean and deviation; else to [0, 1] */
    float sigma;    /* frames: of the target's Gaussian, heatmap pixels */
    bool negative;  /* frames: one without a ball asks for an empty heatmap; else it is left out of the loss */
    tn_stretch stretch;
    int flight; /* which of the passes that a stage has under way at once, 0 to TN_MAX_FLIGHTS - 1: each has activations of its own
                 */
};
enum { TN_MAX_FLIGHTS = 64 };
int tn_model_graph(tn_graph *g, const tn_model *m, const tn_pass *p, tn_error *err);
/** Of a pass with `norms`: products read what layer norms read, and the sums of its rows, which the product before leaves behind
 * where it makes nothing else; see tn_normed of gemm.h. After tn_graph_fuse. */
int tn_model_take_norms(const tn_model *m, tn_graph *g, tn_error *err);

/* ---- parts, each in its own file ---- */
/** Bytes of a sample's map in `act`, without the tokens in front. */
size_t tn_feature_bytes(const tn_feature *f, tn_dtype act);
/** Emits what makes maps of the features that a backbone handed out (tokens gone); where `stretch` begins with them, they come
 * from outside and hold sizes alone. */
void tn_features_emit(tn_graph *g, const tn_model *m, const tn_pass *p, tn_feature_list *f);
/** Fails unless the channels that the configuration gives under `key` (n of them; 0: it gives none) are those of the maps. */
int tn_features_check(const tn_feature_list *f, const int *channels, int n, const char *key, tn_error *err);
/** Makes four maps of one, as the decoder's inputs, with twice the positions on a side from each to the one before it; of several
 * of one size, each one of them. */
void tn_scales_of(tn_feature_list *f);
int tn_head_slots(tn_model *m, tn_error *err);
/** Emits the head over the sum of the maps, and the heatmap. */
int tn_head_emit(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_map_list *maps, tn_error *err);
int tn_lora_slots(tn_model *m, const tn_log *log, tn_error *err);
/** Is `slot` trained in pass p? */
typedef struct tn_trained {
    const tn_model *m;
    int groups;
} tn_trained;
bool tn_is_trained(const void *trained, int slot);
/** Floats of the table that a pass may draw anew (DINOv3's augmentation of RoPE's coordinates), or 0. */
size_t tn_model_drawn(const tn_model *m);
/** Draws it, the same for a seed. */
void tn_model_draw(const tn_model *m, uint32_t seed, float *table);
/** cos/sin table [grid_h * grid_w][head_dim/2][2]; draws: y shift, x shift, y factor, x factor (NULL: 0, 0, 1, 1). */
void tn_rope_table(const tn_vit *v, int grid_h, int grid_w, const double *draws, float *table);
/** Matrix [out_h*out_w, in_h*in_w] of bicubic interpolation (A=-0.75, or antialiased A=-0.5). */
int tn_bicubic_matrix(float *R, int in_h, int in_w, int out_h, int out_w, bool antialias);
#endif
