/** Whether every rank is about to train the same. */
#ifndef TN_AGREE_H
#define TN_AGREE_H
#include "checkpoint.h"
#include <tracknet/config.h>

/** What is compared. val: may be empty. */
typedef struct tn_agreement {
    const tn_config *c;
    const tn_dataset *train, *val;
    const tn_engine *e;
    const char *resume; /* NULL: none */
} tn_agreement;

/**
 * Fails on every rank with one sentence where a rank's library is of another version than rank 0's, its configuration says
 * something else (where files lie is left out), its clips have other frames or labels (names, sizes, labels' contents), or the
 * files of its weights and checkpoint are others (names, sizes, and a sample of their contents). Alone: nothing.
 */
int tn_agree(const tn_agreement *a, tn_error *err);
#endif
