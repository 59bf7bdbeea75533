/* Activations and their slopes, VW elements at once. FN: 0 gelu (exact), 1 relu, 2 silu, 3 sigmoid. */
#ifndef FN
#define FN 0
#endif

/* erf to 1.3e-7: own fit, x*P(x^2) below 1, 1 - exp(-Q(x)) to 4, 1 beyond. */
inline vec erf_v(vec x)
{
    const vec a = fmin(fabs(x), TO_VEC(4.0f)), t = a * a;
    const vec p = ((((((7.889119535e-05f * t - 8.020841281e-04f) * t + 5.189535339e-03f) * t - 2.685444459e-02f) * t +
                     1.128360018e-01f) * t - 3.761262714e-01f) * t + 1.128379166e+00f) * a;
    const vec q = (((((((-2.513265267e-07f * a + 2.531480707e-05f) * a - 4.637880099e-04f) * a + 4.282382589e-03f) * a -
                      2.537355566e-02f) * a + 1.086389976e-01f) * a + 6.330396127e-01f) * a + 1.129661157e+00f) * a -
                  2.043598723e-04f;
    return copysign(select(1.0f - exp(-q), p, isless(a, TO_VEC(1.0f))), x);
}

inline vec fn(vec x)
{
#if FN == 0
    return 0.5f * x * (1.0f + erf_v(x * 0.70710678118654752f));
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
    return 0.5f * (1.0f + erf_v(x * 0.70710678118654752f)) + x * 0.39894228040143268f * exp(-0.5f * x * x);
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
