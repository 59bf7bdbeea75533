/** Figures as people read them. */
#ifndef TN_UNITS_H
#define TN_UNITS_H
#include "text.h"
#include <jansson.h>

enum { TN_FIGURE = 48 };

/** "45.2 GB/s", "81.3 MiB", "12.3 us", "388 GFLOP/s", "1.82 img/s"; returns buf. */
const char *tn_bench_figure(char buf[TN_FIGURE], double v, const char *unit);
/** What is to be said of a measurement beside its value: "drifts by +12 %; 0.93 of a copy"; "" where that is nothing. Cut at n. */
void tn_bench_remarks(char *out, size_t n, const json_t *measurement);
/** What a device's benchmark had no time for, each part's first and how many more: "products: float32 x 768 x 768 and 3 more";
 * nothing where that is nothing. */
void tn_bench_left(tn_text *t, const json_t *device);
/** How much better b's figure is than a's: 2 is twice as fast, or half the memory. Both have values; 0: it cannot be said. */
double tn_bench_ratio(const json_t *a, const json_t *b);
/** Could measuring both again turn that round? Their 95 % intervals meet, or one of them drifted by more than the difference, or a
 * time was taken fewer than three times and the difference is under 10 %, or the part `busy` of the processors that others had
 * while one of them was measured explains it. Bytes are exact. */
bool tn_bench_is_noise(const json_t *a, const json_t *b, double busy);
#endif
