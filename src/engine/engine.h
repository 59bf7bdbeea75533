/** A model made from a configuration, on a device, with its weights: what train, eval and predict all start from. */
#ifndef TN_ENGINE_H
#define TN_ENGINE_H
#include "load.h"
#include "loader.h"
#include "session.h"
#include "settings.h"
#include "share.h"
#include "team.h"
#include <tracknet/train.h>

typedef struct tn_engine {
    const tn_settings *s;
    tn_log own_log; /* the caller's, copied */
    const tn_log *log;
    tn_watch watch;
    tn_team team;
    tn_dev *dev; /* of the team's first member, as the session is */
    tn_model *model;
    tn_session *session; /* its store answers for those of all stages and replicas */
    tn_ranks *ranks;     /* the caller's; NULL: alone */
    tn_dtype act;
    int image_w, image_h;
    float **kept;           /* base values that an adapter replaced, by slot, for the next adapter; NULL: none */
    bool stays_apart;       /* tn_engine_merge found no room */
    bool keep_settled;      /* tn_engine_merge has asked whether products keep what they pack */
    bool unpack_settled;    /* tn_engine_unpack has been asked */
    bool unpacks_on_cpus;   /* which gain nothing by it: for tests */
    tn_recompute recompute; /* what training passes make again instead of keeping it */
    uint64_t layers_kept;   /* of these layers of the backbone less (tn_pass.kept) */
    int most;               /* frames that a pass takes at once, where memory decides it; 0: any number */
    bool optimises;         /* there are gradients and an optimiser's state */
    bool foreign_lora;      /* the adapters come from elsewhere than the configuration */
} tn_engine;

/** Opens the device, builds the model, loads the backbone, initialises decoder, head and adapters from the seed.
 * With `dry` no device memory is taken for weights. */
int tn_engine_open(tn_engine **out, const tn_settings *s, const tn_run_options *o, bool optimiser, bool dry, tn_error *err);
/** For inference with adapters of this shape (borrowed) instead of the configuration's. */
int tn_engine_open_with(tn_engine **out, const tn_settings *s, const tn_run_options *o, const tn_lora *lora, tn_error *err);
void tn_engine_close(tn_engine *e);

/** The passes a run makes, of frames and labels as the loader gives them. groups: what is trained. */
tn_pass tn_engine_train_pass(const tn_engine *e, int batch, int groups);
/** What the backbone hands to the decoder. */
void tn_engine_features(tn_feature_list *f, const tn_engine *e);
/** The backbone alone, whose features are outputs, and what a training pass of the head alone does with them. */
tn_pass tn_engine_features_pass(const tn_engine *e, int batch);
tn_pass tn_engine_head_pass(const tn_engine *e, int batch);
tn_pass tn_engine_eval_pass(const tn_engine *e, int batch, bool loss);
tn_prep tn_engine_prep(const tn_engine *e, bool training);
/** The optimiser's state on every device. */
int tn_engine_state_set(tn_engine *e, const tn_optim_state *s, tn_error *err);
int tn_engine_state_get(tn_engine *e, tn_optim_state *s, tn_error *err);
/** Waits for all devices. */
int tn_engine_finish(tn_engine *e, tn_error *err);
/** The configuration's loss, for e->session->loss. */
tn_loss_spec tn_engine_loss(const tn_engine *e);
/** How many of n samples' labels the loss counts: what its mean is over, times the pixels of a heatmap. */
double tn_engine_counted(const tn_engine *e, const float *labels, int n);
/** Of a sample: the bytes of its frames, and the values of its heatmaps. */
size_t tn_engine_image_bytes(const tn_engine *e);
size_t tn_engine_heat_size(const tn_engine *e);
/** Frames of a sample. */
int tn_engine_frames(const tn_settings *s);
/** Does a frame without a ball ask for an empty heatmap? */
bool tn_engine_teaches_empty(const tn_engine *e);
/** The train or the val split, with samples as training makes them of clips, or as evaluation does. Free with tn_dataset_free. */
int tn_samples_read(tn_dataset *d, const tn_settings *s, bool train, bool training, const tn_log *log, tn_error *err);
/** The most frames of a batch that are here, where micro-batches have so many: all, or this rank's share at most. */
int tn_engine_batch(const tn_engine *e, int micro);
/** Everything the configuration trains once nothing is frozen. */
int tn_engine_groups(const tn_engine *e);
/** How many epochs of a whole run train the head alone: the first ones. */
int tn_engine_frozen_epochs(const tn_engine *e);
/** Is RoPE's table drawn anew for each training pass? */
bool tn_engine_draws_rope(const tn_engine *e);
/** What the configuration wants made again however much memory there is. */
tn_recompute tn_engine_least_again(const tn_settings *s);
/** The largest micro-batch (from the batch down by the back-off factor) that fits the device, by the plan. Activations are kept
 * where that fits and the configuration does not say otherwise; else e->recompute is set to the least that fits, e->layers_kept to
 * as many layers as can do with less, and the log says why. TN_ERR_MEMORY, with the least that would do, where nothing fits. */
int tn_engine_fit(tn_engine *e, int *micro, tn_memory *m, tn_error *err);
/** The same of a micro-batch that is given. Where it does not fit, everything is made again. */
int tn_engine_fit_micro(tn_engine *e, int micro, tn_error *err);
/** For prediction: puts the adapters into unpacked copies of the matrices (tn_store_merge) where that is faster and the memory
 * allows it beside a pass of `batch`, and says so once; what is stored stays. Likewise lets products keep what they pack of the
 * matrices (tn_store_keep). Again after weights or adapters were set. Passes of tn_engine_eval_pass follow. */
int tn_engine_merge(tn_engine *e, int batch, tn_error *err);
/** What full fine-tuning in float32 would take at that micro-batch. */
int tn_engine_full_float32(const tn_engine *e, int micro, size_t *bytes, tn_error *err);
#endif
