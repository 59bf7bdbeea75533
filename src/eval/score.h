/**
 * The figures that papers on ball tracking report, from what was seen of each labelled frame.
 *
 * The kinds and ratios are those of TrackNetV2 (Sun et al., ICPAI 2020) and of TrackNetV3 (Chen and Wang, MMAsia 2023), as the
 * latter's code has them (get_metric and get_confusion_matrix of its utils/metric.py):
 *
 *   TP   a ball is predicted and visible, and the prediction is not farther off than the tolerance
 *   FP1  a ball is predicted and visible, but farther off
 *   FP2  a ball is predicted where none is visible
 *   TN   none is predicted, none is visible
 *   FN   none is predicted where one is visible
 *
 * accuracy (TP + TN) / all, precision TP / (TP + FP1 + FP2), recall TP / (TP + FN), F1 = 2 precision recall / (precision + recall).
 * A ratio over nothing is 0. A frame of FP1 is no FN: it lowers the precision alone.
 */
#ifndef TN_SCORE_H
#define TN_SCORE_H
#include <stdbool.h>
#include <tracknet/train.h>

typedef struct tn_sighting {
    float confidence; /* 0..1; a ball is predicted where it reaches the threshold */
    bool visible;     /* by the label */
    bool near;        /* visible, and the prediction is within the tolerance */
} tn_sighting;

/** Sets the counts, ratios and threshold of r. */
void tn_score(tn_eval_result *r, const tn_sighting *s, int n, float threshold);
/**
 * The threshold of the best F1, 0..1. Thresholds of a gap between two confidences give the same F1, and so do those of
 * neighbouring gaps with an FP1 between them: of such ranges the widest is taken, in its middle. 0, which predicts a ball in every
 * frame, when no frame left out makes F1 better: no frame is without a ball, or none was found, or the emptiest is no less
 * confident. Sorts s.
 */
float tn_best_threshold(tn_sighting *s, int n);
#endif
