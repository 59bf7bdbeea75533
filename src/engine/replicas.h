/** The gradients of several replicas, added on the host in the replicas' order, whatever stages each has. */
#ifndef TN_REPLICAS_H
#define TN_REPLICAS_H
#include "team.h"

typedef struct tn_replicas tn_replicas;

/** Host memory for the gradients of every member. */
int tn_replicas_new(tn_replicas **out, const tn_team *t, tn_error *err);
/** Of a member: device memory where the device shares the host's. */
size_t tn_replicas_bytes(const tn_member *who);
/** NULL is allowed. */
void tn_replicas_free(tn_replicas *s);
/** Every member's gradients become the sum of all replicas' for what is enqueued from now on. Waits for the gradients. */
int tn_replicas_add(tn_replicas *s, tn_error *err);
#endif
