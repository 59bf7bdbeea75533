/** Storage types, their conversions, numbers as text, and a counter-based random generator. */
#ifndef TN_NUMERIC_H
#define TN_NUMERIC_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** How an array is stored. Arithmetic is always float32. */
typedef enum tn_dtype { TN_F32 = 0, TN_BF16 = 1, TN_F16 = 2, TN_U8 = 3, TN_I32 = 4 } tn_dtype;

/** Pointwise functions; gelu is the exact one. The kernels know them by number (-DFN). */
typedef enum tn_fn { TN_GELU = 0, TN_RELU = 1, TN_SILU = 2, TN_SIGMOID = 3 } tn_fn;
/** Partial sums that a reduction to one number leaves for the host. */
enum { TN_PARTIALS = 1024 };
/** Up to so many tokens a quantised matrix may be multiplied as it lies; beyond, it is unpacked. */
enum { TN_FEW_ROWS = 8 };
/** Columns of a row that are summed for a layer norm that a product takes in. */
enum { TN_SUM_COLUMNS = 64 };

/** Masks of dropout whose draws are kept together, and the 16-bit words that one of them takes (src/ops/dropout_bits.c). */
enum { TN_BITS_MOST = 8 };
size_t tn_bits_words(int rows, int cols);

/** At most so many outputs are made of a map without an activation of its own (norm_few.c). */
enum { TN_FEW_OUTPUTS = 4 };

size_t tn_dtype_size(tn_dtype t);
/** Positions that a convolution's kernel takes along a side of `in` pixels with `pad` zeros at both ends; what the stride does not
 * divide is left out (PyTorch's floor). 0 where the kernel does not fit. */
int tn_conv_size(int in, int kernel, int stride, int pad);
const char *tn_dtype_name(tn_dtype t);

float tn_bf16_to_f32(uint16_t h);
/** Round to nearest, ties to even. */
uint16_t tn_f32_to_bf16(float f);
float tn_f16_to_f32(uint16_t h);
uint16_t tn_f32_to_f16(float f);
/** n elements of type t at src to float. */
void tn_to_f32(float *dst, const void *src, tn_dtype t, size_t n);
void tn_from_f32(void *dst, const float *src, tn_dtype t, size_t n);
/** strtod with a point in every locale. */
double tn_strtod(const char *s, char **end);
enum { TN_NUMBER_TEXT = 32 };
/** The fewest digits (but 6) that read back to the same, with a point in every locale; returns buf. */
const char *tn_print_double(char buf[TN_NUMBER_TEXT], double v);
/** v as t would store and give it back. */
float tn_rounded(float v, tn_dtype t);
/** ||a - b|| / max(||b||, least); ||a - b|| where that is 0. NaN where a or b has one. */
double tn_relative_error(const float *a, const float *b, size_t n, double least);

/** Largest |a - b| / (|b| + rms(b)) of an element, which a wrong element cannot hide from in a sum over many; |a - b| where b is
 * 0 all over. NaN where a or b has one. */
double tn_element_error(const float *a, const float *b, size_t n);

/** Ascending, in place. */
void tn_sort_doubles(double *v, size_t n);

/** Philox-like mixing of (seed, counter) to 32 bits: the same function is in cl/shared/common.h. */
uint32_t tn_hash_u32(uint32_t seed, uint32_t counter);
/** Whether dropout keeps element i; it drops it with a probability of threshold / 65536, over all seeds exactly.
 *
 * A draw is a byte of a hash, four to a word: of the 16 elements that begin at a multiple of 16, word q = 0..3 has 2q, 2q + 1, 2q +
 * 8 and 2q + 9, which a lane of NVIDIA's matrix units holds together. A byte has but 256 values: what the threshold has below its
 * upper byte is the share of the words that drop one value more, those whose number before it is mixed (a Weyl sequence, shifted by
 * the seed) begins low. So the elements of a word have a correlation, of at most 1/256 (p near 0 or 1; 5e-5 at p 0.05). */
bool tn_keeps(uint32_t seed, uint32_t i, uint32_t threshold);
/** Sequential generator over splitmix64. */
typedef struct tn_rng {
    uint64_t state;
} tn_rng;
/** Uniform in [0,1). */
double tn_rng_uniform(tn_rng *r);
/** Leaves out n of the numbers to come; a uniform value takes one, a normal one two. */
void tn_rng_skip(tn_rng *r, uint64_t n);
/** Standard normal (Box-Muller). */
double tn_rng_normal(tn_rng *r);
/** Uniform integer in [0,n). */
uint32_t tn_rng_below(tn_rng *r, uint32_t n);
/** A generator for the purpose named, so that streams do not depend on each other. */
tn_rng tn_rng_named(uint64_t seed, const char *purpose);
#endif
