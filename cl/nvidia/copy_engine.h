/* Hopper's copy engine, which brings boxes of a tensor map (tensor_map.cl) to local memory by itself, and the barriers that tell
 * when (PTX ISA, cp.async.bulk and mbarrier). Rewritten PTX. Needs ptx.h. */
#ifndef TN_COPY_ENGINE_H
#define TN_COPY_ENGINE_H

/* ---- barriers in local memory ---- */

inline void bar_init(uint bar, int count)
{
    __asm volatile(HIDDEN "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}

/* To the copy engine, once they are set up. */
inline void show_barriers(void)
{
    __asm volatile(HIDDEN "fence.mbarrier_init.release.cluster;" ::: "memory");
}

inline void bar_arrive(uint bar)
{
    __asm volatile(HIDDEN "mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

inline void bar_expect(uint bar, int bytes)
{
    __asm volatile(HIDDEN "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}

inline void bar_wait(uint bar, uint phase)
{
    __asm volatile(HIDDEN "{ .reg .pred p; WAIT: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @p bra DONE; bra WAIT; "
                          "DONE: }" ::"r"(bar),
                   "r"(phase)
                   : "memory");
}

/* What this item did to local memory by ordinary instructions comes before what the copy engine and wgmma do to it next. */
inline void publish(void)
{
    __asm volatile(HIDDEN "fence.proxy.async.shared::cta;" ::: "memory");
}

/* The same without a branch, by those items that are told to. */
inline void bar_arrive_if(bool yes, uint bar)
{
    __asm volatile(HIDDEN "{ .reg .pred p; setp.ne.s32 p, %1, 0; @p mbarrier.arrive.shared::cta.b64 _, [%0]; }" ::"r"(bar),
                   "r"((int)yes)
                   : "memory");
}

inline void bar_expect_if(bool yes, uint bar, int bytes)
{
    __asm volatile(HIDDEN
                   "{ .reg .pred p; setp.ne.s32 p, %2, 0; @p mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1; }" ::"r"(bar),
                   "r"(bytes), "r"((int)yes)
                   : "memory");
}

/* ---- the copy engine: a map's box to local memory, as the barrier is told ---- */

inline void load_box(uint to, const __global uchar *map, int x, int y, uint bar)
{
    __asm volatile(HIDDEN "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                          "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                   "l"(map), "r"(x), "r"(y), "r"(bar)
                   : "memory");
}

/* Of images: channels from c on, columns x, rows y. */
inline void load_patch(uint to, const __global uchar *map, int c, int x, int y, int image, uint bar)
{
    __asm volatile(HIDDEN "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
                          "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(to),
                   "l"(map), "r"(c), "r"(x), "r"(y), "r"(image), "r"(bar)
                   : "memory");
}

inline void load_patch_if(bool yes, uint to, const __global uchar *map, int c, int x, int y, int image, uint bar)
{
    __asm volatile(HIDDEN "{ .reg .pred p; setp.ne.s32 p, %7, 0; @p cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::"
                          "complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6]; }" ::"r"(to),
                   "l"(map), "r"(c), "r"(x), "r"(y), "r"(image), "r"(bar), "r"((int)yes)
                   : "memory");
}

/* `bytes` as they lie; all three are multiples of 16. */
inline void load_bytes_if(bool yes, uint to, const __global float *from, int bytes, uint bar)
{
    __asm volatile(HIDDEN
                   "{ .reg .pred p; setp.ne.s32 p, %4, 0; @p cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                   "[%0], [%1], %2, [%3]; }" ::"r"(to),
                   "l"(from), "r"(bytes), "r"(bar), "r"((int)yes)
                   : "memory");
}
#endif
