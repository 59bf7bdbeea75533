/**
 * The lanes of a step run together: a thread each, every replica's stages in turn by 1F1B (one forward, one backward;
 * Narayanan et al., PipeDream, 2019), what crosses between stages through pinned host memory, on the copy queues.
 */
#ifndef TN_CREW_H
#define TN_CREW_H
#include "lane.h"

typedef struct tn_crew tn_crew;

/** lanes: replica by replica, stage by stage; borrowed. */
int tn_crew_new(tn_crew **out, tn_lane *lanes, int n, tn_error *err);
/** Ends the threads. NULL is allowed. */
void tn_crew_free(tn_crew *c);
/** What lies between the stages for passes that tn_lane_prepare has made ready. Nothing may be under way. */
int tn_crew_connect(tn_crew *c, tn_error *err);
/** Begins the passes of slot s on all lanes; j stays until tn_crew_wait. No other thread uses their devices until then. */
void tn_crew_start(tn_crew *c, int s, const tn_step_job *j);
/** Waits until everything of them is enqueued, for which what crosses is waited for, not the last passes' end. The first failure is
 * *err; nothing more of the step was enqueued then. */
int tn_crew_wait(tn_crew *c, tn_error *err);
#endif
