/* AMX tiles in software, for processors without them: linked into a program before the library's amx.c, it says that there are
 * tiles, and carries out each of their instructions when the processor stumbles over it (SIGILL). A few microseconds an
 * instruction. Values are those of the processor but for the order of a tile's sums over K. */
#include "amx.h"

#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

enum { ROWS = 16, BYTES = 64, WORDS = BYTES / 4, TILES = 8 };

typedef union {
    uint8_t bytes[ROWS][BYTES];
    uint32_t words[ROWS][WORDS];
    float sums[ROWS][WORDS];
} tile;

static __thread tile tiles[TILES];

/* The parts of an instruction: C4, two bytes of prefix, the operation, registers, an address. */
typedef struct {
    int prefix, operation, mod, reg, rm, other, length;
    char *at;
    long stride;
} instruction;

static long long register_of(const ucontext_t *u, int n)
{
    static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return u->uc_mcontext.gregs[order[n]];
}

/* Base, index and displacement; the index times the scale is the stride between a tile's rows. */
static void decode_address(instruction *i, const uint8_t *p, int base_high, int index_high, const ucontext_t *u)
{
    int base = i->rm, n = 5;
    i->stride = 0;
    if (i->rm == 4) {
        const int sib = p[n++], index = (sib >> 3 & 7) | index_high;
        base = sib & 7;
        if (index != 4) i->stride = (long)register_of(u, index) << (sib >> 6);
    }
    i->at = (char *)register_of(u, base | base_high);
    if (i->mod == 1) i->at += (int8_t)p[n++];
    if (i->mod == 2) {
        int32_t far;
        memcpy(&far, p + n, sizeof far);
        i->at += far;
        n += 4;
    }
    i->length = n;
}

static bool decode(instruction *i, const ucontext_t *u)
{
    const uint8_t *p = (const uint8_t *)u->uc_mcontext.gregs[REG_RIP];
    if (p[0] != 0xc4 || (p[1] & 31) != 2) return false;
    *i = (instruction){.prefix = p[2] & 3, .operation = p[3], .mod = p[4] >> 6, .reg = p[4] >> 3 & 7, .rm = p[4] & 7, .length = 5};
    i->other = ~p[2] >> 3 & 15;
    if (i->mod != 3) decode_address(i, p, p[1] & 32 ? 0 : 8, p[1] & 64 ? 0 : 8, u);
    return i->mod == 3 || i->mod || (i->rm != 5 && !(i->rm == 4 && (p[5] & 7) == 5)); /* no address without a base comes here */
}

static float value(uint32_t half)
{
    float v;
    const uint32_t word = half << 16;
    memcpy(&v, &word, sizeof v);
    return v;
}

static void multiply(tile *sum, const tile *a, const tile *b)
{
    for (int m = 0; m < ROWS; m++)
        for (int k = 0; k < WORDS; k++) {
            const float even = value(a->words[m][k] & 0xffff), odd = value(a->words[m][k] >> 16);
            for (int n = 0; n < WORDS; n++)
                sum->sums[m][n] += even * value(b->words[k][n] & 0xffff) + odd * value(b->words[k][n] >> 16);
        }
}

/* Prefixes: 0 none, 1 66, 2 F3, 3 F2. */
static bool carry_out(const instruction *i)
{
    if (i->operation == 0x49 && i->prefix == 3 && i->mod == 3) memset(&tiles[i->reg], 0, sizeof *tiles);
    else if (i->operation == 0x49 && i->prefix == 0) memset(tiles, 0, sizeof tiles); /* ldtilecfg and tilerelease */
    else if (i->operation == 0x4b && i->prefix == 3)
        for (int r = 0; r < ROWS; r++) memcpy(tiles[i->reg].bytes[r], i->at + r * i->stride, BYTES);
    else if (i->operation == 0x4b && i->prefix == 2)
        for (int r = 0; r < ROWS; r++) memcpy(i->at + r * i->stride, tiles[i->reg].bytes[r], BYTES);
    else if (i->operation == 0x5c && i->prefix == 2 && i->mod == 3) multiply(&tiles[i->reg], &tiles[i->rm], &tiles[i->other]);
    else return false;
    return true;
}

static void on_illegal(int number, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    instruction i;
    (void)info;
    if (decode(&i, u) && carry_out(&i)) u->uc_mcontext.gregs[REG_RIP] += i.length;
    else signal(number, SIG_DFL); /* it happens once more, and ends the program */
}

bool tn_amx_bf16(void)
{
    unsigned a = 0, b, c, d;
    const struct sigaction act = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1) && !sigaction(SIGILL, &act, NULL);
}
