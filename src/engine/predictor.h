/**
 * Forward passes, one behind the other: while the devices work on one batch, the host brings the next and reads the last. Used by
 * one host thread; no other pass of the engine may run between a put and its take.
 */
#ifndef TN_PREDICTOR_H
#define TN_PREDICTOR_H
#include "engine.h"

/** Batches under way at once. */
enum { TN_PREDICTOR_SLOTS = 2 };

typedef struct tn_predictor tn_predictor;

int tn_predictor_new(tn_predictor **out, tn_engine *e, tn_error *err);
/** Waits for what is under way. NULL is allowed. */
void tn_predictor_free(tn_predictor *p);
/** Batches that were put and not taken. */
int tn_predictor_under_way(const tn_predictor *p);
/** Samples of the oldest of them; 0: there is none. */
int tn_predictor_oldest(const tn_predictor *p);
/** Waits for what is under way, and forgets it. */
void tn_predictor_drop(tn_predictor *p);
/**
 * Starts a batch, of which everything is copied, with the weights that are in place. loss: it has labels, and its loss is wanted.
 * At most TN_PREDICTOR_SLOTS may be under way. TN_ERR_MEMORY where the device has no room for so many frames: those under way go
 * on, and fewer may be put.
 */
int tn_predictor_put(tn_predictor *p, const tn_batch *b, bool loss, tn_error *err);
/**
 * Waits for the oldest batch: heat [n][heats][heat_h][heat_w], and loss (NULL: unwanted), the sum over the pixels of the labels
 * that the loss counts (tn_engine_counted). After an error nothing is under way.
 */
int tn_predictor_take(tn_predictor *p, float *heat, double *loss, tn_error *err);
/** Puts and takes one batch, in parts that the plan has room for. Nothing may be under way. heat and loss as of tn_predictor_take.
 */
int tn_predictor_run(tn_predictor *p, const tn_batch *b, float *heat, double *loss, tn_error *err);
/** Device memory that batches of n frames take beside their pass. */
size_t tn_predictor_bytes(const tn_engine *e, const tn_member *who, int n);
#endif
