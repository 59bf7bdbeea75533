/**
 * What of a batch is this process's, of several that train together.
 *
 * A batch of so many frames is micro-batches one after the other, the last one smaller where it does not go up; a rank has some
 * that follow each other, as many as the others or one more. A smaller batch, the last of an epoch, is dealt out alike: who has
 * the micro-batches that are missing has less to do. What dropout draws and BatchNorm sees belongs to a micro-batch and its place
 * in the batch, so that who has it does not matter.
 */
#ifndef TN_SHARE_H
#define TN_SHARE_H

typedef struct tn_share {
    int batch, first, n; /* frames: of a whole batch; of it this rank's: first .. first + n - 1 */
} tn_share;

/** Rank `number` of `count`. */
tn_share tn_share_of(int count, int number, int batch, int micro);
/** How many frames of a batch of `whole` are this rank's. */
int tn_share_frames(const tn_share *s, int whole);
/** The largest micro-batch with which the rank that has most to do has no more than it must. */
int tn_share_micro(int count, int batch);
#endif
