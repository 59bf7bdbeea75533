/** The parts of a benchmark. Each measures its figures on b->dev, whose memory it gives back. */
#ifndef TN_PARTS_H
#define TN_PARTS_H
#include "figure.h"

/** Copies of several sizes, by kernels and by the driver, which b->curve keeps; reading and writing alone. */
int tn_bench_memory(tn_bench *b, tn_error *err);
/** b->curve from what of that is in b->list. */
void tn_bench_known_copies(tn_bench *b);
/** To the device and back: pageable, pinned and mapped. */
int tn_bench_transfers(tn_bench *b, tn_error *err);
/** A launch and a wait; many launches and a wait. */
int tn_bench_launches(tn_bench *b, tn_error *err);
/** A program built for the first time, and found again; on devices of their own. */
int tn_bench_builds(tn_bench *b, tn_error *err);
/** Reading and launching by clpeak's definitions. */
int tn_bench_clpeak_read(tn_bench *b, tn_error *err);
int tn_bench_clpeak_launch(tn_bench *b, tn_error *err);
/** Products on a ViT's shapes, by variant and storage type. */
int tn_bench_products(tn_bench *b, tn_error *err);
/** Quantised matrices unpacked, beside copies of as many bytes; and multiplied by few tokens. */
int tn_bench_unpacking(tn_bench *b, tn_error *err);
int tn_bench_few_tokens(tn_bench *b, tn_error *err);
int tn_bench_attention(tn_bench *b, tn_error *err);
/** What memory bounds: norms, activations, residuals, beside copies of as many bytes. */
int tn_bench_rowwise(tn_bench *b, tn_error *err);
#endif
