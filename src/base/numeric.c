#include "numeric.h"
#include "fail.h"
#include "scope.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t tn_dtype_size(tn_dtype t)
{
    return t == TN_U8 ? 1 : t == TN_BF16 || t == TN_F16 ? 2 : 4;
}

int tn_conv_size(int in, int kernel, int stride, int pad)
{
    const int room = in + 2 * pad - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

const char *tn_dtype_name(tn_dtype t)
{
    static const char *const names[] = {"float32", "bfloat16", "float16", "uint8", "int32"};
    return names[t];
}

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float tn_bf16_to_f32(uint16_t h)
{
    return from_bits((uint32_t)h << 16);
}

uint16_t tn_f32_to_bf16(float f)
{
    uint32_t u = bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

float tn_f16_to_f32(uint16_t h)
{
    uint32_t s = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 1023;
    if (e == 31) return from_bits(s | 0x7f800000u | m << 13);
    if (e) return from_bits(s | (e + 112) << 23 | m << 13);
    float f = (float)m * 0x1p-24f;
    return s ? -f : f;
}

uint16_t tn_f32_to_f16(float f)
{
    uint32_t u = bits(f), s = (u >> 16) & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000u) return (uint16_t)(s | 0x7e00);
    if (a >= 0x477ff000u) return (uint16_t)(s | 0x7c00);
    if (a < 0x38800000u) return (uint16_t)(s | (uint32_t)lrintf(from_bits(a) * 0x1p24f));
    a += 0xfff + ((a >> 13) & 1);
    return (uint16_t)(s | ((a - 0x38000000u) >> 13));
}

void tn_to_f32(float *dst, const void *src, tn_dtype t, size_t n)
{
    const uint16_t *h = src;
    const uint8_t *b = src;
    switch (t) {
    case TN_F32: memcpy(dst, src, n * 4); break;
    case TN_BF16:
        for (size_t i = 0; i < n; i++) dst[i] = tn_bf16_to_f32(h[i]);
        break;
    case TN_F16:
        for (size_t i = 0; i < n; i++) dst[i] = tn_f16_to_f32(h[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++) dst[i] = b[i];
        break;
    }
}

void tn_from_f32(void *dst, const float *src, tn_dtype t, size_t n)
{
    uint16_t *h = dst;
    switch (t) {
    case TN_F32: memcpy(dst, src, n * 4); break;
    case TN_BF16:
        for (size_t i = 0; i < n; i++) h[i] = tn_f32_to_bf16(src[i]);
        break;
    case TN_F16:
        for (size_t i = 0; i < n; i++) h[i] = tn_f32_to_f16(src[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++) ((uint8_t *)dst)[i] = (uint8_t)src[i];
        break;
    }
}

double tn_strtod(const char *s, char **end)
{
    TN_SCOPE;
    return strtod(s, end);
}

const char *tn_print_double(char buf[TN_NUMBER_TEXT], double v)
{
    TN_SCOPE;
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(buf, TN_NUMBER_TEXT, "%.*g", digits, v);
        if (strtod(buf, NULL) == v) break;
    }
    return buf;
}

float tn_rounded(float v, tn_dtype t)
{
    uint32_t stored;
    tn_from_f32(&stored, &v, t, 1);
    tn_to_f32(&v, &stored, t, 1);
    return v;
}

double tn_relative_error(const float *a, const float *b, size_t n, double least)
{
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - b[i];
        num += d * d;
        den += (double)b[i] * b[i];
    }
    den = fmax(sqrt(den), least);
    return den > 0 ? sqrt(num) / den : sqrt(num);
}

double tn_element_error(const float *a, const float *b, size_t n)
{
    double sum = 0, worst = 0;
    for (size_t i = 0; i < n; i++) sum += (double)b[i] * b[i];
    const double rms = n ? sqrt(sum / (double)n) : 0;
    for (size_t i = 0; i < n; i++) {
        const double e = fabs((double)a[i] - b[i]) / (rms > 0 ? fabs((double)b[i]) + rms : 1);
        worst = isnan(worst) || worst >= e ? worst : e; /* a NaN e is kept */
    }
    return worst;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void tn_sort_doubles(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
}

uint32_t tn_hash_u32(uint32_t seed, uint32_t counter)
{
    uint32_t x = counter * 0x9E3779B9u + seed;
    for (int i = 0; i < 2; i++) {
        x = (x ^ (x >> 16)) * 0x7FEB352Du;
        x = (x ^ (x >> 15)) * 0x846CA68Bu;
        x = (x ^ (x >> 16)) + seed * 0x85EBCA6Bu;
    }
    return x ^ (x >> 15);
}

bool tn_keeps(uint32_t seed, uint32_t i, uint32_t threshold)
{
    uint32_t x = (i / 16 * 4 + i / 2 % 4) * 0x9E3779B9u + seed;
    const uint32_t least = threshold / 256 + (x >> 24 < threshold % 256), byte = i % 2 + i / 8 % 2 * 2;
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    x ^= x >> 16;
    return (x >> 8 * byte & 0xffu) >= least;
}

#define STEP 0x9E3779B97F4A7C15ull

static uint64_t next_u64(tn_rng *r)
{
    uint64_t z = (r->state += STEP);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

void tn_rng_skip(tn_rng *r, uint64_t n)
{
    r->state += n * STEP;
}

double tn_rng_uniform(tn_rng *r)
{
    return (double)(next_u64(r) >> 11) * 0x1p-53;
}

double tn_rng_normal(tn_rng *r)
{
    double u = 1.0 - tn_rng_uniform(r), v = tn_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint32_t tn_rng_below(tn_rng *r, uint32_t n)
{
    return n ? (uint32_t)(tn_rng_uniform(r) * n) : 0;
}

tn_rng tn_rng_named(uint64_t seed, const char *purpose)
{
    uint64_t h = tn_hash(TN_HASH0, purpose, strlen(purpose));
    tn_rng r = {h ^ (seed * 0xD1342543DE82EF95ull + 1)};
    next_u64(&r);
    return r;
}

size_t tn_bits_words(int rows, int cols)
{
    return (size_t)TN_CEIL_DIV(rows, 16) * (size_t)(cols / 32) * 32;
}
