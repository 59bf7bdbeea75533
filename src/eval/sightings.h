/** What several ranks saw of one data set. */
#ifndef TN_SIGHTINGS_H
#define TN_SIGHTINGS_H
#include "exchange.h"
#include "score.h"

/** s, with room for everyone's, and its *n sightings, at most `most`, become all of them in the ranks' order; *resolution the
 * largest. Alone: nothing. */
int tn_sightings_join(tn_sighting *s, int *n, int most, double *resolution, tn_ranks *r, tn_error *err);
#endif
