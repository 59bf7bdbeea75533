/** Tiles of x86 processors (AMX). */
#ifndef TN_AMX_H
#define TN_AMX_H
#include <stdbool.h>

/** May this process multiply tiles of bfloat16 and round to them (AMX-BF16, AVX512-BF16)? The system is asked once, for all
 * threads, those already there included; where it refuses (an old kernel, a sandbox), or saves no tiles, the answer is no. */
bool tn_amx_bf16(void);
#endif
