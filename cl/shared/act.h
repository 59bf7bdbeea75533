/* Activations and their slopes, VW elements at once. FN: 0 gelu (exact), 1 relu, 2 silu, 3 sigmoid. COARSE 1: gelu's tail to 4e-5
 * of itself, for what 16 bits will hold; on CPUs to 2e-4, and gelu's slope to 4e-4 of 1. */
#ifndef COARSE
#define COARSE 0
#endif
#ifndef FN
#define FN 0
#endif
#if VW == 16 && defined(__clang__)
#define EXP2(x) exp2_fast(x)
#else
#define EXP2(x) exp2(x)
#endif

#if COARSE && FN == 0 && VW == 16 && defined(__clang__)
/* 2^x to 8e-5 of itself, x from -126 to 126. */
inline float16 exp2_coarse(float16 x)
{
    const float16 t = x + 12582912.0f, f = x - (t - 12582912.0f);
    const float16 p = ((5.517167e-2f * f + 2.4261113e-1f) * f + 6.9326099e-1f) * f + 9.9992807e-1f;
    return as_float16(as_int16(p) + (as_int16(t) << 23));
}

/* |x|, but 6 beyond: there the tail is nothing, and a product with it stays so. NaN stays. */
inline float16 within_six(float16 x)
{
    const float16 a = fabs(x);
    return (float16)(6.0f) < a ? (float16)(6.0f) : a;
}

/* Own fits on 0 to 6 of half of erfc(a / sqrt 2), by its logarithm, and by its quotient with exp(-a^2 / 2), where 1e-5 is added to
 * what errors are parts of. */
/* clang-format off */
inline float16 half_tail(float16 a)
{
    return exp2_coarse(((((-3.27729515e-4f * a + 5.91753904e-3f) * a - 4.86389976e-2f) * a - 4.63352944e-1f) * a - 1.14976292f) * a -
                       1.0f);
}
inline float16 half_mills(float16 a, float less) /* less * a less */
{
    return ((((((-3.49253454e-5f * a + 7.27779434e-4f) * a - 6.4718567e-3f) * a + 3.2575698e-2f) * a - 1.04990424e-1f) * a +
             2.36151334e-1f) * a - (3.96406695e-1f + less)) * a + 0.5f;
}
/* clang-format on */
#define PEAK 0.39894228f /* of the bell, 1 / sqrt(2 pi) */

inline float16 fn(float16 x)
{
    const float16 a = within_six(x);
    return fmax(x, (float16)(0.0f)) - a * half_tail(a);
}

inline float16 fn_both(float16 x, float16 *slope)
{
    const float16 a = within_six(x), bell = exp2_coarse(-0.72134752f * a * a), tail = bell * half_mills(a, 0);
    const float16 below = tail - PEAK * a * bell; /* the slope at -a */
    *slope = x > (float16)(0.0f) ? 1.0f - below : below;
    return fmax(x, (float16)(0.0f)) - a * tail;
}

inline float16 fn_slope(float16 x)
{
    const float16 a = within_six(x), below = exp2_coarse(-0.72134752f * a * a) * half_mills(a, PEAK);
    return x > (float16)(0.0f) ? 1.0f - below : below;
}
#else
/* Own fits on 0 to 5.9 for erfc(a / sqrt 2). By its logarithm, to 9e-9 in what gelu makes of it; beyond, it keeps falling. By its
 * quotient with exp(-a^2 / 2), which the slope needs anyway, to 7e-8; beyond, that factor is all. */
/* clang-format off */
inline vec upper_tail(vec a)
{
#if COARSE
    a = fmin(a, TO_VEC(6.0f)); /* where it would begin to rise again it is nothing */
    return EXP2(-(((((-2.40369265e-05f * a + 6.29413280e-04f) * a - 7.31755016e-03f) * a + 5.15706658e-02f) * a +
                   4.60689027e-01f) * a + 1.15054466e+00f) * a);
#else
    return EXP2(-((((((((1.902064179e-06f * a - 2.805692078e-05f) * a + 1.314731148e-04f) * a + 2.720760383e-04f) * a -
                      7.245421701e-03f) * a + 5.262761122e-02f) * a + 4.591621430e-01f) * a + 1.151111046e+00f) * a));
#endif
}
inline vec mills_ratio(vec a)
{
    a = fmin(a, TO_VEC(8.0f));
    return (((((((((3.263376155e-06f * a - 7.041550397e-05f) * a + 6.794764316e-04f) * a - 3.949252934e-03f) * a +
                 1.587877682e-02f) * a - 4.862785336e-02f) * a + 1.223097662e-01f) * a - 2.650275928e-01f) * a +
             4.998335856e-01f) * a - 7.978730294e-01f) * a + 9.999998682e-01f;
}
/* clang-format on */

inline vec fn(vec x)
{
#if FN == 0
    const vec a = fabs(x);
    return fmax(x, TO_VEC(0.0f)) - 0.5f * a * upper_tail(a);
#elif FN == 1
    return fmax(x, TO_VEC(0.0f));
#elif FN == 2
    return x / (1.0f + exp(-x));
#else
    return 1.0f / (1.0f + exp(-x));
#endif
}

inline vec fn_slope(vec x)
{
#if FN == 0
    const vec bell = EXP2(-0.72134752044448170f * x * x), tail = 0.5f * bell * mills_ratio(fabs(x));
    return select(tail, 1.0f - tail, isgreater(x, TO_VEC(0.0f))) + x * 0.39894228040143268f * bell;
#elif FN == 1
    return select(TO_VEC(0.0f), TO_VEC(1.0f), isgreater(x, TO_VEC(0.0f)));
#elif FN == 2
    const vec s = 1.0f / (1.0f + exp(-x));
    return s * (1.0f + x * (1.0f - s));
#else
    const vec s = 1.0f / (1.0f + exp(-x));
    return s * (1.0f - s);
#endif
}

/* Both of them, both as good as COARSE says. */
inline vec fn_both(vec x, vec *slope)
{
#if FN == 0
    const vec bell = EXP2(-0.72134752044448170f * x * x), a = fabs(x);
#if COARSE
    const vec tail = 0.5f * upper_tail(a);
#else
    const vec tail = 0.5f * bell * mills_ratio(a);
#endif
    const vec part = select(tail, 1.0f - tail, isgreater(x, TO_VEC(0.0f)));
    *slope = part + x * 0.39894228040143268f * bell;
    return x * part;
#else
    *slope = fn_slope(x);
    return fn(x);
#endif
}
#endif
inline vec slope_at(vec x)
{
    vec slope;
    fn_both(x, &slope);
    return slope;
}
