/* Descriptors for Hopper's tensor copy engine (PTX ISA, tensor map), written by a kernel: tensormap.replace on 128 zero bytes makes
 * a valid one, and no CUDA call is needed. Rewritten PTX. */
#include "ptx.h"

#if ACT == 2
#define ELEMENT "6"
#else
#define ELEMENT "10"
#endif

/* maps[index], 128 bytes, describes 16-bit numbers at base + off, taken in boxes of 64 columns with the 128-byte swizzle (narrow: of 16
 * with the 32-byte swizzle), zeros outside; ld elements from row to row. Rows are a matrix's, w of them, and a box has `wide`; or,
 * where there are images, the pixels of `images` images of h lines of w pixels, and a box has tall x wide of them, `step` apart.
 * base + off and ld are aligned to 16 bytes. One item. */
__kernel void make_map(__global ulong *maps, uint index, const __global ushort *base, uint off, int inner, int ld, int w, int h,
                       int images, int wide, int tall, int step, int narrow)
{
    __global ulong *map = maps + index * 16;
    const ulong address = (ulong)(base + off), pitch = (ulong)ld * 2;
    for (int i = 0; i < 16; i++) map[i] = 0;
#define FIELD(name, type)    HIDDEN "tensormap.replace.tile." name ".global.b1024." type " [%0], "
#define SET32(name, args, v) __asm volatile(FIELD(name, "b32") args ";" ::"l"(map), "r"(v) : "memory")
#define SET64(name, args, v) __asm volatile(FIELD(name, "b64") args ";" ::"l"(map), "l"(v) : "memory")
#define CHOOSE(name, v)      __asm volatile(FIELD(name, "b32") v ";" ::"l"(map) : "memory")
    SET64("global_address", "%1", address);
    SET32("rank", "%1", images ? 3 : 1); /* one less than it is */
    SET32("box_dim", "0, %1", narrow ? 16 : 64);
    SET32("box_dim", "1, %1", (wide - 1) * step + 1);
    SET32("global_dim", "0, %1", inner);
    SET32("global_dim", "1, %1", w);
    SET64("global_stride", "0, %1", pitch);
    SET32("element_stride", "0, %1", 1);
    SET32("element_stride", "1, %1", step);
    if (images) {
        SET32("box_dim", "2, %1", (tall - 1) * step + 1);
        SET32("box_dim", "3, %1", 1);
        SET32("global_dim", "2, %1", h);
        SET32("global_dim", "3, %1", images);
        SET64("global_stride", "1, %1", pitch * (ulong)w);
        SET64("global_stride", "2, %1", pitch * (ulong)w * (ulong)h);
        SET32("element_stride", "2, %1", step);
        SET32("element_stride", "3, %1", 1);
    }
    CHOOSE("elemtype", ELEMENT);
    CHOOSE("interleave_layout", "0");
    if (narrow) CHOOSE("swizzle_mode", "1");
    else CHOOSE("swizzle_mode", "3");
    CHOOSE("fill_mode", "0");
}
