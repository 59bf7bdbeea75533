/* Activations and their slopes, VW elements at once. FN: 0 gelu (exact), 1 relu, 2 silu, 3 sigmoid. COARSE 1: gelu's tail to 4e-5 of
 * itself, for what 16 bits will hold. */
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

/* Own fits on 0 to 5.9 for erfc(a / sqrt 2). By its logarithm, to 9e-9 in what gelu makes of it; beyond, it keeps falling. By its
 * quotient with exp(-a^2 / 2), which the slope needs anyway, to 7e-8; beyond, that factor is all. */
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
inline vec slope_at(vec x)
{
    vec slope;
    fn_both(x, &slope);
    return slope;
}
