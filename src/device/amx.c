#include "amx.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OSXSAVE = 1 << 27, AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AVX512_BF16 = 1 << 5 };     /* of cpuid */
enum { TILE_DATA = 18, TILE_STATE = 1 << 17 | 1 << TILE_DATA, ARCH_REQ_XCOMP_PERM = 0x1023 }; /* XCR0, arch_prctl */

static bool processor_has_tiles(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE)) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (~d & (AMX_BF16 | AMX_TILE)) || !a) return false; /* a: the last sub-leaf */
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX512_BF16);
}

static bool system_saves_tiles(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & TILE_STATE) == TILE_STATE;
}

static bool allowed;

static void ask_for_tiles(void)
{
    allowed = processor_has_tiles() && system_saves_tiles() && !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA);
}

bool tn_amx_bf16(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ask_for_tiles);
    return allowed;
}
#else
bool tn_amx_bf16(void)
{
    return false;
}
#endif
