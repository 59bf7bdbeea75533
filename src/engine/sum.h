/** The gradients of several replicas, added on the host in the replicas' order, whatever stages each has. */
#ifndef TN_SUM_H
#define TN_SUM_H
#include "team.h"

typedef struct tn_sum tn_sum;

/** Host memory for the gradients of every member. */
int tn_sum_new(tn_sum **out, const tn_team *t, tn_error *err);
/** NULL is allowed. */
void tn_sum_free(tn_sum *s);
/** Every member's gradients become the sum of all replicas'. Waits. */
int tn_sum_gradients(tn_sum *s, tn_error *err);
#endif
