/** Where a heatmap says the ball is, and how far that is from the label. */
#ifndef TN_METRICS_H
#define TN_METRICS_H
#include "checkpoint.h"
#include <tracknet/model.h>

/** Whether the model's heatmaps are logits (all losses but mse), not values of 0 to 1. */
bool tn_heat_logits(const tn_settings *s);
/** What heat [h][w] says, as predictions report it: the refined peak in heatmap pixels, and its value kept to 0..1. Logits become
 * values of 0 to 1 in place. */
void tn_heat_ball(float *heat, int w, int h, bool logits, tn_ball *ball);
typedef struct tn_evaluate_options {
    const char *previews;   /* up to four overlay pictures go to this folder; NULL: none */
    const float *threshold; /* confidence from which a ball is predicted; NULL: chosen on these very frames */
    tn_ranks *ranks;        /* each looks at its part of the data set, and all have the whole result; NULL: alone */
} tn_evaluate_options;
/** Runs the whole data set once, as l hands it out: neither flipped nor shuffled. */
int tn_evaluate(tn_engine *e, const tn_dataset *d, tn_loader *l, const tn_evaluate_options *o, tn_eval_result *r, tn_error *err);

/** o->threshold, or else what training chose: of the adapter that is in place (NULL: none) where its folder has a run.json, or else
 * of the checkpoint. */
int tn_run_threshold(float *out, const tn_run_options *o, const char *adapter, tn_error *err);
#endif
