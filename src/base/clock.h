/** How long things take. */
#ifndef TN_CLOCK_H
#define TN_CLOCK_H
/** Seconds on a clock that only goes forward; from when is not said. */
double tn_now(void);
#endif
