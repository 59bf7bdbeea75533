/** Where a heatmap says the ball is, and how far that is from the label. */
#ifndef TN_METRICS_H
#define TN_METRICS_H
#include "checkpoint.h"

/** Peak of heat [h][w], in heatmap pixels. refine: soft-argmax (beta 100) over the 5x5 pixels round it. */
void tn_heat_peak(const float *heat, int w, int h, bool refine, double *x, double *y, double *value);
/** Runs a batch and reads its heatmaps [n][heat_h][heat_w] back. loss: NULL, or the sum over the batch's visible pixels, for
 * which the batch has targets and masks. */
int tn_forward(tn_engine *e, const tn_batch *b, float *heat, double *loss, tn_error *err);
/** Runs the whole data set once. `previews`: up to four overlay pictures to this folder, or NULL. */
int tn_evaluate(tn_engine *e, const tn_dataset *d, tn_loader *l, const char *previews, tn_eval_result *r, tn_error *err);
#endif
