/** An epoch's order as batches, and what of them is a rank's. */
#ifndef TN_DEAL_H
#define TN_DEAL_H
#include "stepper.h"

typedef struct tn_deal {
    int *order, *own; /* [n]: all frames as they are shuffled; room for a rank's */
    int frames;       /* of an epoch: without those that do not fill a batch, where these are left out */
    int batches;      /* of an epoch: fewer where they are limited */
    tn_share share;   /* batch, set before anything is dealt */
} tn_deal;

/** For n frames of the settings' batch size and limits. The share is a process's alone, until it is set. */
int tn_deal_new(tn_deal *d, const tn_settings *s, int n, tn_error *err);
void tn_deal_free(tn_deal *d);
/** Frames of the epoch's batch b, of all ranks. */
int tn_deal_frames(const tn_deal *d, long long b);
/** Starts the loader on this rank's frames of the epoch: every rank shuffles alike, and takes its share of each batch. */
int tn_deal_start(tn_deal *d, tn_loader *l, int n, uint64_t seed, int epoch, tn_error *err);
/** What the whole of batch b is, of which a part is here. */
tn_step_part tn_deal_part(const tn_deal *d, const tn_engine *e, const tn_dataset *data, int b);
#endif
