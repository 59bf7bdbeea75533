/**
 * A checkpoint folder: adapter_config.json and adapter_model.safetensors (PEFT), decoder.safetensors (decoder and head
 * under their PyTorch names), backbone/ (a Hugging Face folder, when the backbone was trained), optimizer.safetensors,
 * trainer_state.json, config.yaml (the merged configuration) and run.json (versions, device). Written beside its place
 * and swapped in whole.
 */
#ifndef TN_CHECKPOINT_H
#define TN_CHECKPOINT_H
#include "engine.h"

/** Where training stands. */
typedef struct tn_trainer_state {
    int epoch;            /* epochs finished */
    long long step;       /* optimiser steps taken */
    tn_optim_state optim; /* the device's: each group's count, the loss scale and what moves it */
    double best;          /* smallest loss, of validation or, without one, of training; NAN: none yet */
    double es_best;       /* best value of what early stopping watches; NAN: none yet */
    int bad_epochs;       /* since that */
    int micro;
    float threshold; /* chosen by the last validation; 0: none was */
} tn_trainer_state;

int tn_checkpoint_save(const char *dir, tn_engine *e, const tn_config *c, const tn_trainer_state *st, tn_error *err);
/** config.json of a folder with this engine's backbone, from the one that it was opened with: of several frames it says so. New
 * reference, NULL when memory ran out. */
json_t *tn_checkpoint_backbone_config(const tn_engine *e, const json_t *config);
/** config.yaml alone. */
int tn_checkpoint_write_config(const char *dir, const tn_config *c, tn_error *err);
/** Weights only (decoder, head, adapters, trained backbone). */
int tn_checkpoint_load(const char *dir, tn_engine *e, tn_error *err);
/** What a run starts from: `resume` with its state, or else training.init_from, where there is one. An engine that was opened dry
 * only looks whether it fits. */
int tn_checkpoint_start(tn_engine *e, const char *resume, tn_trainer_state *st, tn_error *err);
/** The confidence from which a frame is said to show a ball, 0..1: what the validation before the checkpoint was written chose.
 * 0, with which every frame is, when none is stored. */
int tn_checkpoint_threshold(float *out, const char *dir, tn_error *err);
#endif
