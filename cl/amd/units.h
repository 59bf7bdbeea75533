/* What the kernels for AMD's matrix units share; after words.h.
 *
 * UNIT 9: MFMA 32x32x8, waves of 64 (gfx90a, gfx942). 11, 12: WMMA 16x16x16, waves of 32 (gfx11xx; gfx12xx). Layouts (AMD's matrix
 * instruction calculator), lane l, half h = l / U:
 *   operands: row l % U of either; which k stands where does not matter as long as both sides agree, so a lane takes
 *   k = 8h .. 8h+7 of 16 with one 16-byte read (two instructions of depth 8 on MFMA); gfx11 wants all 16, in both halves.
 *   sums[e]: column l % U, row ROW_OF(e). */
#ifndef UNIT
#define UNIT 9
#endif
#if UNIT == 9
#define WAVE      64
#define U         32
#define RUN       4 /* neighbours a lane holds */
#define ROW_OF(e) ((e) / 4 * 8 + half_wave * 4 + (e) % 4)
typedef ushort8 operand;
typedef float16 sums;
typedef ushort4 words;
#if ACT == 2
#define MFMA(a, b, c) __builtin_amdgcn_mfma_f32_32x32x8f16(as_half4(a), as_half4(b), c, 0, 0, 0)
#else
#define MFMA(a, b, c) __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(as_short4(a), as_short4(b), c, 0, 0, 0)
#endif
#define MAD(a, b, c) MFMA((a).hi, (b).hi, MFMA((a).lo, (b).lo, c))
#define SWAP_HALVES(v) ((uint)__builtin_amdgcn_ds_bpermute(4 * (((int)get_local_id(0) & 63) ^ 32), (int)(v)))
#else
#define WAVE 32
#define U    16
#define RUN  8
typedef float8 sums;
typedef ushort8 words;
#define SWAP_HALVES(v) __builtin_amdgcn_permlanex16(0, v, 0x76543210, 0xfedcba98, false, false)
#if UNIT == 11
#define ROW_OF(e) (2 * (e) + half_wave)
typedef ushort16 operand;
#if ACT == 2
#define MAD(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(as_half16(a), as_half16(b), c)
#else
#define MAD(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(as_short16(a), as_short16(b), c)
#endif
#else
#define ROW_OF(e) (8 * half_wave + (e))
typedef ushort8 operand;
#if ACT == 2
#define MAD(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(as_half8(a), as_half8(b), c)
#else
#define MAD(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(as_short8(a), as_short8(b), c)
#endif
#endif
#endif
#define COUNT (U / 2) /* sums a lane holds */
/* A lane's part of 16 words of a row. */
#if UNIT == 11
#define OPERAND(space, p) (operand)(*(const space ushort8 *)(p), *(const space ushort8 *)((p) + 8))
#else
#define OPERAND(space, p) *(const space operand *)((p) + 8 * half_wave)
#endif
