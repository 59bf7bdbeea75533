/** The configuration as a struct. Every field is described once, in schema.c. */
#ifndef TN_SETTINGS_H
#define TN_SETTINGS_H
#include "text.h"
#include <stdint.h>
#include <tracknet/config.h>

enum { TN_INTS = 16, TN_LAYER_INTS = 64 };
typedef struct tn_ints {
    int v[TN_LAYER_INTS], n; /* at most TN_INTS of them, but of layers */
} tn_ints;

/** Names (a list), or one pattern (a string, in PEFT's manner a regular expression or "all-linear"). */
typedef struct tn_names {
    tn_strs list;
    char *pattern; /* NULL: the list counts */
} tn_names;

/** A mapping from names (regular expressions, in PEFT's patterns) to numbers. */
typedef struct tn_pairs {
    tn_strs key;
    double *value;
} tn_pairs;

/** [least, most], or unset where null is allowed. */
typedef struct tn_interval {
    double least, most;
    bool set;
} tn_interval;

/** [W, H], or unset where null is allowed. */
typedef struct tn_pair {
    int w, h;
    bool set;
} tn_pair;

typedef struct tn_settings {
    struct {
        char *root;
        tn_strs train_games, val_games;
        tn_pair resize;
        bool normalize;
        double flip_prob;
        tn_interval crop;
        struct {
            double brightness, contrast, saturation, hue;
        } jitter;
        bool sequence;
        int sequence_length, sequence_stride;
    } data;
    struct {
        char *name, *pretrained, *frames, *heatmaps, *decoder_kind;
        bool freeze, random_init, rope_augment;
        int patch_size;
        tn_pair heat_size;
        double sigma, head_std;
        tn_ints return_stages, channels, upsample;
        int blocks;
        char *norm, *activation;
        bool depthwise, se;
        int se_reduction;
        double dropout;
        struct {
            tn_ints in_channels;
            int lateral;
            char *fuse;
        } fpn;
        struct {
            tn_ints in_channels, widths;
            int units, out;
        } hrnet;
        struct {
            tn_ints in_channels;
            int d_model, heads, layers, levels, points, lateral;
        } deformable;
        struct {
            bool enabled, rslora, dora;
            int r, loftq_iter;
            double alpha, dropout;
            tn_names targets, exclude;
            tn_pairs rank_pattern, alpha_pattern;
            tn_strs modules_to_save, layers_pattern;
            tn_ints layers;
            char *bias, *task_type, *init;
        } lora;
        struct {
            bool enabled;
            char *type, *compute_dtype, *mode;
            tn_strs skip;
            bool compress_statistics, use_double_quant, load_in_4bit, load_in_8bit;
            int block_size, group_size;
        } quant;
    } model;
    struct {
        uint64_t seed;
        int batch_size, epochs;
        char *precision;
        bool amp;
        double grad_clip, grad_clip_norm;
        int freeze_epochs, feature_cache;
        bool adaptive;
        int min_micro, micro, oom_retries;
        double backoff;
        int workers, prefetch;
        double cache_gb; /* below 0: as much as the machine lets */
        bool drop_last;
        char *optimizer;
        double lr, weight_decay, momentum, loraplus_ratio;
        char *scheduler;
        int warmup_epochs;
        double warmup_factor;
        char *loss, *invisible;
        double alpha, beta, pos_weight;
        char *es_monitor, *es_mode;
        int es_patience;
        double es_min_delta;
        double tolerance;
        double limit_train, limit_val; /* below 1: a fraction; 0: all */
        bool checkpointing, strict_labels;
        char *output_dir, *log_dir, *ckpt_dir, *init_from;
    } training;
    struct {
        const char *patch_size, *rope_augment;
    } place; /* where keys that not every backbone reads were given, other than their defaults (borrowed from the configuration), or
                NULL; in no schema */
} tn_settings;

/** Borrowed from the configuration. */
const tn_settings *tn_config_settings(const tn_config *c);
/** Settings as YAML that reads back to the same; caller frees. */
int tn_settings_dump(const tn_settings *s, char **yaml, tn_error *err);

typedef enum tn_stype {
    TN_S_BOOL,
    TN_S_INT,
    TN_S_SEED, /* uint64_t, all of them */
    TN_S_FLOAT,
    TN_S_STR,
    TN_S_PATH, /* a text; whoever opens it lets tn_expand_path find a home folder first */
    TN_S_STRS,
    TN_S_INTS,
    TN_S_LAYERS, /* tn_ints: numbers of layers, of which a single one may stand without brackets */
    TN_S_PAIR,
    TN_S_RANGE, /* tn_interval */
    TN_S_NAMES,
    TN_S_PAIRS,
    TN_S_LIMIT, /* a double: how many, or below 1 a fraction; 0: all */
    TN_S_UNUSED
} tn_stype;

/** One key: where it goes, what it may be, what it means. */
typedef struct tn_key {
    const char *name;
    tn_stype type;
    size_t offset;
    const char *dflt;    /* as YAML */
    double min, max;     /* numbers, list entries and pairs */
    const char *choices; /* "a|b|c" or NULL */
    bool nullable;       /* a null is nothing; of a number, the default */
    const char *help;
} tn_key;
extern const tn_key tn_schema[];
extern const int tn_schema_size;
#endif
