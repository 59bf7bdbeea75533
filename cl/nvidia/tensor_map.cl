/* Descriptors for Hopper's tensor copy engine (PTX ISA, tensor map), written by a kernel: tensormap.replace on 128 zero bytes makes
 * a valid one, and no CUDA call is needed. Rewritten PTX. */
#include "ptx.h"

#if ACT == 2
#define ELEMENT "6"
#else
#define ELEMENT "10"
#endif

/* maps[index], 128 bytes, describes the view [outer, inner] of 16-bit numbers at base + off, ld elements from row to row, taken in
 * boxes of box_outer rows x 64 columns with the 128-byte swizzle (narrow: x 16 with the 32-byte swizzle), zeros outside. base + off
 * and ld are aligned to 16 bytes. One item. */
__kernel void make_map(__global ulong *maps, uint index, const __global ushort *base, uint off, int inner, int outer, int ld,
                       int box_outer, int narrow)
{
    __global ulong *map = maps + index * 16;
    const ulong address = (ulong)(base + off), pitch = (ulong)ld * 2;
    for (int i = 0; i < 16; i++) map[i] = 0;
#define FIELD(name, type)    HIDDEN "tensormap.replace.tile." name ".global.b1024." type " [%0], "
#define SET32(name, args, v) __asm volatile(FIELD(name, "b32") args ";" ::"l"(map), "r"(v) : "memory")
#define SET64(name, args, v) __asm volatile(FIELD(name, "b64") args ";" ::"l"(map), "l"(v) : "memory")
#define CHOOSE(name, v)      __asm volatile(FIELD(name, "b32") v ";" ::"l"(map) : "memory")
    SET64("global_address", "%1", address);
    SET32("rank", "%1", 1); /* of two dimensions */
    SET32("box_dim", "0, %1", narrow ? 16 : 64);
    SET32("box_dim", "1, %1", box_outer);
    SET32("global_dim", "0, %1", inner);
    SET32("global_dim", "1, %1", outer);
    SET64("global_stride", "0, %1", pitch);
    SET32("element_stride", "0, %1", 1);
    SET32("element_stride", "1, %1", 1);
    CHOOSE("elemtype", ELEMENT);
    CHOOSE("interleave_layout", "0");
    if (narrow) CHOOSE("swizzle_mode", "1");
    else CHOOSE("swizzle_mode", "3");
    CHOOSE("fill_mode", "0");
}
