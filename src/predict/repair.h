/** Between the model and the answers: a track's repair, which looks at frames to come. */
#ifndef TN_REPAIR_H
#define TN_REPAIR_H
#include "flow.h"

typedef struct tn_repair tn_repair;

/** heat: floats of a heatmap. p must stay where it is. */
int tn_repair_new(tn_repair **out, const tn_flow *p, size_t heat, tn_error *err);
/** One answer more, in order; those that nothing to come can change go to p->answer. The shot's pixels are taken over where
 * p->pictures. A shot of another size begins another track. */
int tn_repair_take(tn_repair *r, tn_shot *s, const tn_sight *a, tn_error *err);
/** Nothing more will come. */
int tn_repair_end(tn_repair *r, tn_error *err);
void tn_repair_free(tn_repair *r);
#endif
