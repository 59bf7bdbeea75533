/* A launch's buffers are copied to memory whose end is a page that may not be touched, and what the kernel changed is copied back.
 */
#include "launch.h"
#include "lanes.h"
#include "files.h"
#include "ops.h"
#include "text.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_PROGRAMS = 256, MOST_ARGS = 32, FLOATS = 8, PAGE = 4096, ALIGN = 64 };

static const char *folder, *prelude_file;
static char launched[256]; /* a space and a kernel's name for each, as many as there is room for */

static void outside(int signal)
{
    static const char text[] = "FAILED: a kernel reads or writes outside of its buffers\n";
    (void)signal;
    if (write(1, text, sizeof text - 1) < 0) _exit(2);
    _exit(1);
}

void emulate_sources(const char *cl, const char *prelude)
{
    folder = cl, prelude_file = prelude;
    signal(SIGSEGV, outside);
    signal(SIGBUS, outside);
}

/* ---- programs ---- */

typedef struct {
    char *key, *ir;
    void *library;
} program;
static program programs[MOST_PROGRAMS];
static int n_programs;

/* The options that are macros: others are the vendor's. */
static char *macros_of(const char *options)
{
    char *copy = strdup(options), *out = tn_strf("%s", ""), *rest = NULL;
    for (char *o = copy ? strtok_r(copy, " ", &rest) : NULL; o && out; o = strtok_r(NULL, " ", &rest)) {
        if (strncmp(o, "-D", 2) != 0) continue;
        char *more = tn_strf("%s %s", out, o);
        free(out);
        out = more;
    }
    free(copy);
    return out;
}

/* By way of the compiler's IR, which says what a kernel's parameters are. */
static int build(program *p, const char *file, const char *options, tn_error *err)
{
    const char *clang = getenv("CLANG") ? getenv("CLANG") : "clang-15";
    char so[64], ll[64], *macros = macros_of(options);
    snprintf(so, sizeof so, "/tmp/emulate_%d_%d.so", (int)getpid(), n_programs);
    snprintf(ll, sizeof ll, "/tmp/emulate_%d_%d.ll", (int)getpid(), n_programs);
    char *command =
        tn_strf("%s -x cl -cl-std=CL2.0 -cl-no-stdinc -include '%s' -I '%s/intel' -I '%s/amd' -I '%s/nvidia' -I '%s/shared' "
                "'-Dinline=static inline' -DUNROLL= -mf16c -mfma -O1 -w -fPIC -S -emit-llvm %s -o %s '%s/%s' && "
                "%s -O0 -w -fPIC -shared -o %s %s -lm",
                clang, prelude_file, folder, folder, folder, folder, macros ? macros : "", ll, folder, file, clang, so, ll);
    size_t n;
    int rc = 0;
    if (!command || system(command)) rc = tn_fail(err, TN_ERR_DEVICE, "%s does not compile for the host with '%s'", file, options);
    if (!rc) rc = tn_read_file(&p->ir, &n, ll, err);
    if (!rc && !(p->library = dlopen(so, RTLD_NOW))) rc = tn_fail(err, TN_ERR_DEVICE, "%s: %s", file, dlerror());
    remove(so);
    remove(ll);
    free(command);
    free(macros);
    return rc;
}

static const program *program_of(const char *file, const char *options, tn_error *err)
{
    char *key = tn_strf("%s|%s", file, options);
    for (int i = 0; key && i < n_programs; i++)
        if (!strcmp(programs[i].key, key)) {
            free(key);
            return &programs[i];
        }
    program p = {.key = key};
    if (!key || n_programs == MOST_PROGRAMS || build(&p, file, options, err)) return NULL;
    programs[n_programs] = p;
    return &programs[n_programs++];
}

/* ---- memory ---- */

typedef struct {
    tn_buffer *of;
    char *pages, *at, *before; /* before: what it held */
    size_t bytes, whole;       /* whole: of the pages that may be touched */
} memory;

/* Aligned as a driver's buffers are; what is left to the page's end, and what comes first, must stay as it is. */
static int memory_new(memory *m, tn_buffer *b, tn_error *err)
{
    const size_t bytes = tn_buffer_size(b), room = TN_ROUND_UP(bytes, (size_t)ALIGN),
                 whole = TN_ROUND_UP(room + ALIGN, (size_t)PAGE);
    *m = (memory){.of = b, .bytes = bytes, .whole = whole, .before = malloc(bytes)};
    m->pages = mmap(NULL, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->pages == MAP_FAILED || !m->before || mprotect(m->pages + whole, PAGE, PROT_NONE)) return tn_oom(err);
    m->at = m->pages + whole - room;
    memset(m->pages, 0xff, whole);
    TN_TRY(tn_buffer_read(b, 0, m->at, bytes, err));
    memcpy(m->before, m->at, bytes);
    return 0;
}

static bool all_ones(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != (char)0xff) return false;
    return true;
}

static int memory_end(memory *m, tn_error *err)
{
    int rc = 0;
    if (!m->pages || m->pages == MAP_FAILED) return 0;
    const size_t first = (size_t)(m->at - m->pages);
    if (!all_ones(m->pages, first) || !all_ones(m->at + m->bytes, m->whole - first - m->bytes))
        rc = tn_fail(err, TN_ERR_NUMERIC, "a kernel writes outside of a buffer of %zu bytes", m->bytes);
    else if (memcmp(m->at, m->before, m->bytes) != 0) rc = tn_buffer_write(m->of, 0, m->at, m->bytes, err);
    munmap(m->pages, m->whole + PAGE);
    free(m->before);
    return rc;
}

/* ---- a call ---- */

/* On x86-64 whole numbers and pointers go to registers and the stack by themselves, in their order, and so do floats: any kernel
 * can be called as one that takes all of the former first. */
static struct {
    void *f;
    long v[MOST_ARGS];
    float x[FLOATS];
} call;

static void call_kernel(void)
{
    typedef void any(long, long, long, long, long, long, long, long, long, long, long, long, long, long, long, long, long, long,
                     long, long, long, long, long, long, long, long, long, long, long, long, long, long, float, float, float, float,
                     float, float, float, float);
    const long *v = call.v;
    const float *x = call.x;
    any *f;
    memcpy(&f, &call.f, sizeof f);
    f(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15], v[16], v[17], v[18],
      v[19], v[20], v[21], v[22], v[23], v[24], v[25], v[26], v[27], v[28], v[29], v[30], v[31], x[0], x[1], x[2], x[3], x[4], x[5],
      x[6], x[7]);
}

/* Arguments in both orders, by the types that the kernel's definition names in the IR. */
static int put_arguments(const char *ir, const char *entry, const tn_arg *args, int n, const memory *m, tn_error *err)
{
    char *name = tn_strf("@%s(", entry), *at = name ? strstr(ir, name) : NULL;
    int whole = 0, floats = 0;
    at += at ? strlen(name) : 0;
    free(name);
    memset(call.v, 0, sizeof call.v);
    for (int i = 0; at && i < n && whole < MOST_ARGS && floats < FLOATS; i++) {
        const bool is_float = tn_starts(at, "float ");
        if (is_float) call.x[floats++] = args[i].v.f;
        else call.v[whole++] = args[i].size ? (long)args[i].v.i : (long)(intptr_t)m[i].at;
        at += strcspn(at, ",)");
        if ((*at == ')') != (i == n - 1)) at = NULL;
        else at += strspn(at, ", ");
    }
    return at ? 0 : tn_fail(err, TN_ERR_ARGUMENT, "kernel %s takes other arguments than the %d it is given", entry, n);
}

/* Lanes of a sub-group, by the options. */
static int lanes_of(const char *options)
{
    const char *sg = strstr(options, "-DSG="), *unit = strstr(options, "-DUNIT=");
    if (sg) return atoi(sg + strlen("-DSG="));
    return unit && atoi(unit + strlen("-DUNIT=")) == 9 ? 64 : 32;
}

static int run_in_memory(const program *p, const char *entry, const char *options, const tn_arg *args, int n, const tn_range *r,
                         const memory *m, tn_error *err)
{
    const size_t groups[] = {TN_CEIL_DIV(r->global[0], r->local[0]), r->dims > 1 ? r->global[1] : 1};
    TN_TRY(put_arguments(p->ir, entry, args, n, m, err));
    if (!(call.f = dlsym(p->library, entry))) return tn_fail(err, TN_ERR_DEVICE, "no kernel %s", entry);
    const char *wrong = emu_launch(call_kernel, groups, (int)r->local[0], lanes_of(options));
    return wrong ? tn_fail(err, TN_ERR_NUMERIC, "kernel %s: %s", entry, wrong) : 0;
}

/* The memory of the i-th argument: that of an earlier one, where it is the same buffer. */
static int memory_of(memory *m, const tn_arg *args, int i, tn_error *err)
{
    for (int k = 0; k < i; k++)
        if (!args[k].size && args[k].v.mem == args[i].v.mem) {
            m[i].at = m[k].at;
            return 0;
        }
    return args[i].v.mem ? memory_new(&m[i], args[i].v.mem, err) : 0;
}

static int emulate(const char *file, const char *entry, const char *options, const tn_arg *args, int n, const tn_range *r,
                   tn_error *err)
{
    memory m[MOST_ARGS + FLOATS] = {{0}};
    const program *p = program_of(file, options, err);
    int rc = !p ? TN_ERR_DEVICE : n > MOST_ARGS + FLOATS ? tn_fail(err, TN_ERR_ARGUMENT, "too many arguments") : 0;
    for (int i = 0; !rc && i < n; i++)
        if (!args[i].size) rc = memory_of(m, args, i, err);
    if (!rc) rc = run_in_memory(p, entry, options, args, n, r, m, err);
    for (int i = 0; i < n; i++) {
        const int e = memory_end(&m[i], rc ? NULL : err);
        if (!rc) rc = e;
    }
    return rc;
}

int __real_tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                     const tn_range *range, tn_error *err);
int __wrap_tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                     const tn_range *range, tn_error *err);
int __wrap_tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                     const tn_range *range, tn_error *err)
{
    const bool own = tn_starts(file, "intel/") || tn_starts(file, "amd/") || tn_starts(file, "nvidia/") ||
                     !strcmp(file, "portable/quant_operand.cl");
    if (c->dry || !own) return __real_tn_op_run(c, file, entry, options, args, n_args, range, err);
    snprintf(launched + strlen(launched), sizeof launched - strlen(launched), " %s", entry);
    return emulate(file, entry, options, args, n_args, range, err);
}

const char *emulated_launches(void)
{
    static char last[sizeof launched];
    memcpy(last, launched, sizeof last);
    launched[0] = 0;
    return last;
}
