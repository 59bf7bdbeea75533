/* The functions of OpenCL C that kernels call, for a driver that reads the declarations of all of them, some 18000 lines, anew for
 * every program (TN_QUIRK_DECLARES): it is told that it has (-D_OPENCL_H_), and given these. A function has all the scalar types
 * that it has in OpenCL C, but for double and half, so that a call means the same, and those vectors that kernels use; with one
 * that is missing a program does not build, and is built with the driver's own. */
#define FUNCTION __attribute__((overloadable))
#define PURE     __attribute__((overloadable, const))
#define FENCE    __attribute__((overloadable, convergent))

/* of a type in each width, with what goes along with it */
#define EACH(f, t)     f(t) f(t##2) f(t##4) f(t##8) f(t##16)
#define EACH2(f, t, u) f(t, u) f(t##2, u##2) f(t##4, u##4) f(t##8, u##8) f(t##16, u##16)
#define VECTORS2(f, t) f(t##2, t) f(t##4, t) f(t##8, t) f(t##16, t)

#define ITEM(name) size_t PURE name(uint);
ITEM(get_global_size)
ITEM(get_global_id)
ITEM(get_local_size)
ITEM(get_local_id)
ITEM(get_num_groups)
ITEM(get_group_id)
ITEM(get_global_offset)

void FENCE barrier(uint);
void FUNCTION mem_fence(uint);

#define ATOMICS(space, t)                                                                                                          \
    t FUNCTION atomic_xchg(volatile space t *, t);                                                                                 \
    t FUNCTION atomic_cmpxchg(volatile space t *, t, t);                                                                           \
    t FUNCTION atomic_inc(volatile space t *);
ATOMICS(__global, int)
ATOMICS(__global, uint)
ATOMICS(__local, int)
ATOMICS(__local, uint)

#define MATHS(t)                                                                                                                   \
    t PURE exp(t);                                                                                                                 \
    t PURE exp2(t);                                                                                                                \
    t PURE expm1(t);                                                                                                               \
    t PURE native_exp2(t);                                                                                                         \
    t PURE log(t);                                                                                                                 \
    t PURE log1p(t);                                                                                                               \
    t PURE log2(t);                                                                                                                \
    t PURE fabs(t);                                                                                                                \
    t PURE ceil(t);                                                                                                                \
    t PURE floor(t);                                                                                                               \
    t PURE rint(t);                                                                                                                \
    t PURE rsqrt(t);                                                                                                               \
    t PURE sqrt(t);                                                                                                                \
    t PURE pow(t, t);                                                                                                              \
    t PURE fmax(t, t);                                                                                                             \
    t PURE fmin(t, t);                                                                                                             \
    t PURE fma(t, t, t);
EACH(MATHS, float)
#define WITH_SCALAR(v, t)                                                                                                          \
    v PURE fmax(v, t);                                                                                                             \
    v PURE fmin(v, t);
VECTORS2(WITH_SCALAR, float)
float PURE dot(float, float);
float PURE dot(float2, float2);
float PURE dot(float4, float4);

#define TESTS(t, i)                                                                                                                \
    i PURE isfinite(t);                                                                                                            \
    i PURE isnan(t);                                                                                                               \
    i PURE isgreater(t, t);                                                                                                        \
    i PURE isunordered(t, t);
EACH2(TESTS, float, int)

#define LIMITS(t)                                                                                                                  \
    t PURE min(t, t);                                                                                                              \
    t PURE max(t, t);                                                                                                              \
    t PURE clamp(t, t, t);
#define LIMITS_BY_SCALAR(v, t)                                                                                                     \
    v PURE min(v, t);                                                                                                              \
    v PURE max(v, t);                                                                                                              \
    v PURE clamp(v, t, t);
LIMITS(char)
LIMITS(uchar)
LIMITS(short)
LIMITS(ushort)
LIMITS(long)
LIMITS(ulong)
EACH(LIMITS, int)
EACH(LIMITS, uint)
EACH(LIMITS, float)
VECTORS2(LIMITS_BY_SCALAR, int)
VECTORS2(LIMITS_BY_SCALAR, uint)
VECTORS2(LIMITS_BY_SCALAR, float)

#define SELECTS(t, i) t PURE select(t, t, i);
#define SELECTS_BY(i)                                                                                                              \
    EACH2(SELECTS, i, i)                                                                                                           \
    EACH2(SELECTS, i, u##i)                                                                                                        \
    EACH2(SELECTS, u##i, i)                                                                                                        \
    EACH2(SELECTS, u##i, u##i)
SELECTS_BY(char)
SELECTS_BY(short)
SELECTS_BY(int)
SELECTS_BY(long)
EACH2(SELECTS, float, int)
EACH2(SELECTS, float, uint)

#define CONVERTS_TO(t, from)                                                                                                       \
    t PURE convert_##t(from);                                                                                                      \
    t##2 PURE convert_##t##2(from##2);                                                                                             \
    t##4 PURE convert_##t##4(from##4);                                                                                             \
    t##8 PURE convert_##t##8(from##8);                                                                                             \
    t##16 PURE convert_##t##16(from##16);
#define CONVERTS(from)                                                                                                             \
    CONVERTS_TO(uchar, from)                                                                                                       \
    CONVERTS_TO(ushort, from)                                                                                                      \
    CONVERTS_TO(uint, from)                                                                                                        \
    CONVERTS_TO(ulong, from)                                                                                                       \
    CONVERTS_TO(float, from)
CONVERTS(char)
CONVERTS(uchar)
CONVERTS(short)
CONVERTS(ushort)
CONVERTS(int)
CONVERTS(uint)
CONVERTS(long)
CONVERTS(ulong)
CONVERTS(float)

#define LOADS_N(space, t, n)                                                                                                       \
    t##n __attribute__((overloadable, pure)) vload##n(size_t, const space t *);                                                    \
    void FUNCTION vstore##n(t##n, size_t, space t *);
#define LOADS_FROM(space, t) LOADS_N(space, t, 2) LOADS_N(space, t, 4) LOADS_N(space, t, 8) LOADS_N(space, t, 16)
#define LOADS(t)             LOADS_FROM(__global, t) LOADS_FROM(__local, t) LOADS_FROM(__private, t)
LOADS(char)
LOADS(uchar)
LOADS(short)
LOADS(ushort)
LOADS(int)
LOADS(uint)
LOADS(float)

#define HALVES_N(space, n)                                                                                                         \
    float##n __attribute__((overloadable, pure)) vload_half##n(size_t, const space half *);                                        \
    void FUNCTION vstore_half##n##_rte(float##n, size_t, space half *);
#define HALVES(space) HALVES_N(space, ) HALVES_N(space, 2) HALVES_N(space, 4) HALVES_N(space, 8) HALVES_N(space, 16)
HALVES(__global)
HALVES(__local)
HALVES(__private)

#undef FUNCTION
#undef PURE
#undef FENCE
#undef EACH
#undef EACH2
#undef VECTORS2
#undef ITEM
#undef ATOMICS
#undef MATHS
#undef WITH_SCALAR
#undef TESTS
#undef LIMITS
#undef LIMITS_BY_SCALAR
#undef SELECTS
#undef SELECTS_BY
#undef CONVERTS_TO
#undef CONVERTS
#undef LOADS_N
#undef LOADS_FROM
#undef LOADS
#undef HALVES_N
#undef HALVES
