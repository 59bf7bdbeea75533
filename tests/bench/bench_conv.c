/* bench_conv [device] [part of a name] [turns]: the convolutions of ConvNeXt-T, an FPN and HRNet-W32 at 512x288, batch 4, and those
 * of the upsampling decoder's stages that enlarge their map by 2 on the way ("doubled"), batch 32, in float32 and bfloat16,
 * forward, towards the input (dx) and of the kernel (dw), beside PyTorch's (peer_conv.py, run by PEER_PYTHON or python3). Rows are
 * chosen by measurement first, as an engine does. Each is checked first: 300 elements against float64, NaN where nothing was
 * written, two runs equal bit by bit. Then both sides take turns; milliseconds are medians over the turns, the ratio is the median
 * of each turn's. */
#include "../testdev.h"
#include "clock.h"
#include "ops.h"
#include "tape.h"
#include "tuning.h"

#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NORM_GROUPS = 8, BATCH = 4, DOUBLED_BATCH = 32, SAMPLES = 300, TURNS = 9, MOST_TURNS = 99 };

/* STATS: forward with the statistics of a GroupNorm behind it, of doubled maps. */
typedef enum { FORWARD, DX, DW, BOTH, STATS, DIRECTIONS } direction;
static const char *const directions[] = {"forward", "dx", "dw", "both", "stats"};

typedef struct {
    const char *name;
    int h, w, C, O, kernel, stride, pad, groups;
    bool bias, first; /* first: of the pixels, which get no gradient */
    bool doubled;     /* DOUBLED_BATCH images come half as high and as wide */
} shape;

static const shape shapes[] = {
    {"ConvNeXt depthwise 1", 72, 128, 96, 96, 7, 1, 3, 96, true, false, false},
    {"ConvNeXt depthwise 2", 36, 64, 192, 192, 7, 1, 3, 192, true, false, false},
    {"ConvNeXt depthwise 3", 18, 32, 384, 384, 7, 1, 3, 384, true, false, false},
    {"ConvNeXt depthwise 4", 9, 16, 768, 768, 7, 1, 3, 768, true, false, false},
    {"decoder depthwise", 72, 128, 128, 128, 3, 1, 1, 128, false, false, false},
    {"doubled 1", 36, 64, 256, 256, 3, 1, 1, 256, false, false, true},
    {"doubled 2", 72, 128, 128, 128, 3, 1, 1, 128, false, false, true},
    {"doubled 3", 144, 256, 64, 64, 3, 1, 1, 64, false, false, true},
    {"ConvNeXt stem", 288, 512, 3, 96, 4, 4, 0, 1, true, true, false},
    {"ConvNeXt down 2", 72, 128, 96, 192, 2, 2, 0, 1, true, false, false},
    {"ConvNeXt down 3", 36, 64, 192, 384, 2, 2, 0, 1, true, false, false},
    {"ConvNeXt down 4", 18, 32, 384, 768, 2, 2, 0, 1, true, false, false},
    {"FPN 1/4", 72, 128, 256, 256, 3, 1, 1, 1, true, false, false},
    {"FPN 1/8", 36, 64, 256, 256, 3, 1, 1, 1, true, false, false},
    {"FPN 1/16", 18, 32, 256, 256, 3, 1, 1, 1, true, false, false},
    {"FPN 1/32", 9, 16, 256, 256, 3, 1, 1, 1, true, false, false},
    {"FPN lateral", 72, 128, 96, 256, 1, 1, 0, 1, true, false, false},
    {"HRNet stem 1", 288, 512, 3, 64, 3, 2, 1, 1, false, true, false},
    {"HRNet stem 2", 144, 256, 64, 64, 3, 2, 1, 1, false, false, false},
    {"HRNet 1/4", 72, 128, 32, 32, 3, 1, 1, 1, false, false, false},
    {"HRNet 1/8", 36, 64, 64, 64, 3, 1, 1, 1, false, false, false},
    {"HRNet 1/16", 18, 32, 128, 128, 3, 1, 1, 1, false, false, false},
    {"HRNet down 1/8", 72, 128, 32, 64, 3, 2, 1, 1, false, false, false},
    {"HRNet down 1/16", 36, 64, 64, 128, 3, 2, 1, 1, false, false, false},
};

typedef struct {
    tn_ctx c;
    tn_conv s;
    tn_dtype act;
    tn_tensor x, w, b, y, dy, dx, dw, db, stats;
} bench;

static int fill(bench *b, tn_tensor *t, tn_dtype dt, int rows, int cols, tn_error *err)
{
    TN_TRY(tn_tensor_new(t, b->c.dev, dt, rows, cols, "bench", err));
    return tn_tensor_random(b->c.dev, t, err);
}

static tn_conv conv_of(const shape *z)
{
    const tn_size2 in = {z->h, z->w};
    const tn_size2 out = {tn_conv_size(z->h, z->kernel, z->stride, z->pad), tn_conv_size(z->w, z->kernel, z->stride, z->pad)};
    return (tn_conv){z->doubled ? DOUBLED_BATCH : BATCH, in, out, z->kernel, z->stride, z->pad, z->groups, z->doubled};
}

static int run(bench *b, const shape *z, direction d, tn_error *err)
{
    tn_tensor none = {0};
    tn_ws_reset(&b->c);
    if (d == STATS)
        return tn_conv_forward_stats(&b->c, &b->s, &b->x, &b->w, &none, &b->y, &(tn_conv_norm){NORM_GROUPS, 1e-5f, &b->stats}, err);
    if (d == FORWARD) return tn_conv_forward(&b->c, &b->s, &b->x, &b->w, z->bias ? &b->b : &none, &b->y, err);
    const bool dx = d != DW, dw = d != DX;
    const tn_conv_grads g = {&b->x, &b->w, &b->dy, dx ? &b->dx : &none, dw ? &b->dw : &none, dw && z->bias ? &b->db : &none};
    return tn_conv_backward(&b->c, &b->s, &g, err);
}

/* A dry pass of all directions. */
static int walk(bench *b, const shape *z, tn_error *err)
{
    int rc = 0;
    b->c.dry = true;
    for (direction k = FORWARD; !rc && k < (z->doubled ? DIRECTIONS : STATS); k++) rc = run(b, z, k, err);
    b->c.dry = false;
    return rc;
}

/* Chooses by measurement, as an engine does. */
static int tune(bench *b, const shape *z, tn_error *err)
{
    tn_wanted wanted = {0};
    b->c.wanted = &wanted;
    int rc = walk(b, z, err);
    b->c.wanted = NULL;
    if (!rc) rc = tn_tune(&wanted, b->c.dev, err);
    tn_wanted_free(&wanted);
    return rc;
}

static int open_bench(bench *b, tn_dev *d, const shape *z, tn_dtype act, tn_error *err)
{
    *b = (bench){.s = conv_of(z), .act = act};
    const int X = b->s.batch * tn_conv_given(&b->s), Y = b->s.batch * b->s.out.h * b->s.out.w,
              K = z->C / z->groups * z->kernel * z->kernel;
    tn_ctx_init(&b->c, d);
    TN_TRY(fill(b, &b->x, act, X, z->C, err));
    TN_TRY(fill(b, &b->w, act, z->O, K, err));
    TN_TRY(fill(b, &b->b, TN_F32, 1, z->O, err));
    TN_TRY(fill(b, &b->y, act, Y, z->O, err));
    TN_TRY(fill(b, &b->dy, act, Y, z->O, err));
    TN_TRY(fill(b, &b->dx, act, X, z->C, err));
    TN_TRY(fill(b, &b->dw, TN_F32, z->O, K, err));
    TN_TRY(fill(b, &b->db, TN_F32, 1, z->O, err));
    TN_TRY(fill(b, &b->stats, TN_F32, b->s.batch * NORM_GROUPS, 2, err));
    TN_TRY(walk(b, z, err));
    TN_TRY(tune(b, z, err)); /* the chosen rows may take more workspace */
    TN_TRY(walk(b, z, err));
    return tn_ctx_reserve(&b->c, b->c.ws_peak, err);
}

static void close_bench(bench *b)
{
    tn_tensor *const all[] = {&b->x, &b->w, &b->b, &b->y, &b->dy, &b->dx, &b->dw, &b->db, &b->stats};
    for (size_t i = 0; i < TN_COUNT(all); i++) tn_tensor_free(b->c.dev, all[i]);
    tn_ctx_free(&b->c);
}

/* ---- what is right ---- */

typedef struct {
    float *x, *w, *b, *dy; /* x: as the convolution sees it */
} host;

/* What pixel i of n has of pixel `at` of twice as many. */
static double share_of(int at, int i, int n)
{
    const double f = fmax(0.5 * (at + 0.5) - 0.5, 0);
    const int low = (int)f, high = TN_MIN(low + 1, n - 1);
    return (i == low ? 1 - (f - low) : 0) + (i == high ? f - low : 0);
}

/* *x becomes the enlarged images. */
static int enlarge(float **x, const tn_conv *s, int C, tn_error *err)
{
    const int h = s->in.h / 2, w = s->in.w / 2;
    const size_t n = (size_t)s->batch * (size_t)(s->in.h * s->in.w) * (size_t)C;
    float *u = malloc(sizeof *u * n);
    if (!u) return tn_oom(err);
    for (size_t e = 0; e < n; e++) {
        const int c = (int)(e % (size_t)C), p = (int)(e / (size_t)C), i = p / s->in.w % s->in.h, j = p % s->in.w;
        double v = 0;
        for (int y = TN_MAX(0, (i - 1) / 2); y < TN_MIN(h, i / 2 + 2); y++)
            for (int z = TN_MAX(0, (j - 1) / 2); z < TN_MIN(w, j / 2 + 2); z++)
                v += share_of(i, y, h) * share_of(j, z, w) *
                     (double)(*x)[((size_t)(p / s->in.w / s->in.h * h + y) * (size_t)w + (size_t)z) * (size_t)C + (size_t)c];
        u[e] = (float)v;
    }
    free(*x);
    *x = u;
    return 0;
}

/* Element e of y. */
static double expect_y(const host *h, const tn_conv *s, const shape *z, size_t e)
{
    const int o = (int)(e % (size_t)z->O), p = (int)(e / (size_t)z->O), n = z->C / z->groups, k = z->kernel;
    const int image = p / (s->out.h * s->out.w), top = p / s->out.w % s->out.h * z->stride - z->pad,
              left = p % s->out.w * z->stride - z->pad;
    double v = z->bias ? (double)h->b[o] : 0;
    for (int t = 0; t < k * k; t++) {
        const int i = top + t / k, j = left + t % k;
        if (i < 0 || i >= z->h || j < 0 || j >= z->w) continue;
        const float *x = h->x + (((size_t)image * (size_t)z->h + (size_t)i) * (size_t)z->w + (size_t)j) * (size_t)z->C +
                         o / (z->O / z->groups) * n;
        for (int c = 0; c < n; c++) v += (double)x[c] * (double)h->w[(o * n + c) * k * k + t];
    }
    return v;
}

/* Element e of the gradient of what the convolution sees. */
static double expect_plain(const host *h, const tn_conv *s, const shape *z, size_t e)
{
    const int c = (int)(e % (size_t)z->C), p = (int)(e / (size_t)z->C), n = z->C / z->groups, m = z->O / z->groups, k = z->kernel;
    const int image = p / (z->h * z->w), i = p / z->w % z->h + z->pad, j = p % z->w + z->pad;
    double v = 0;
    for (int t = 0; t < k * k; t++) {
        const int y = i - t / k, x = j - t % k;
        if (y < 0 || x < 0 || y % z->stride || x % z->stride || y / z->stride >= s->out.h || x / z->stride >= s->out.w) continue;
        const size_t q = ((size_t)image * (size_t)s->out.h + (size_t)(y / z->stride)) * (size_t)s->out.w + (size_t)(x / z->stride);
        for (int o = c / n * m; o < (c / n + 1) * m; o++)
            v += (double)h->dy[q * (size_t)z->O + (size_t)o] * (double)h->w[(o * n + c % n) * k * k + t];
    }
    return v;
}

/* Element e of dx. */
static double expect_dx(const host *h, const tn_conv *s, const shape *z, size_t e)
{
    if (!z->doubled) return expect_plain(h, s, z, e);
    const size_t C = (size_t)z->C, c = e % C;
    const int rows = z->h / 2, cols = z->w / 2, p = (int)(e / C), i = p / cols % rows, j = p % cols;
    double v = 0;
    for (int y = TN_MAX(0, 2 * i - 1); y < TN_MIN(z->h, 2 * i + 3); y++)
        for (int x = TN_MAX(0, 2 * j - 1); x < TN_MIN(z->w, 2 * j + 3); x++)
            v += share_of(y, i, rows) * share_of(x, j, cols) *
                 expect_plain(h, s, z, ((size_t)(p / cols / rows * z->h + y) * (size_t)z->w + (size_t)x) * C + c);
    return v;
}

/* Element e of dw. */
static double expect_dw(const host *h, const tn_conv *s, const shape *z, size_t e)
{
    const int k = z->kernel, n = z->C / z->groups, t = (int)(e % (size_t)(k * k)), c = (int)(e / (size_t)(k * k)) % n;
    const int o = (int)(e / (size_t)(k * k * n)), C = o / (z->O / z->groups) * n + c;
    double v = 0;
    for (int p = 0; p < s->batch * s->out.h * s->out.w; p++) {
        const int i = p / s->out.w % s->out.h * z->stride - z->pad + t / k, j = p % s->out.w * z->stride - z->pad + t % k;
        if (i < 0 || i >= z->h || j < 0 || j >= z->w) continue;
        const size_t q = ((size_t)(p / s->out.w / s->out.h) * (size_t)z->h + (size_t)i) * (size_t)z->w + (size_t)j;
        v += (double)h->dy[(size_t)p * (size_t)z->O + (size_t)o] * (double)h->x[q * (size_t)z->C + (size_t)C];
    }
    return v;
}

static int get(float **out, bench *b, const tn_tensor *t, tn_error *err)
{
    *out = malloc(sizeof **out * (tn_tensor_count(t) + 1));
    return *out ? tn_tensor_get(b->c.dev, t, *out, err) : tn_oom(err);
}

/* The relative error of SAMPLES elements, corners among them; NaN where two runs differ. */
static int check(bench *b, const shape *z, direction d, double *error, tn_error *err)
{
    static double (*const expect[])(const host *, const tn_conv *, const shape *, size_t) = {expect_y, expect_dx, expect_dw,
                                                                                             expect_dx, expect_y};
    const tn_tensor *const out[] = {&b->y, &b->dx, &b->dw, &b->dx, &b->y}, *t = out[d];
    const size_t n = tn_tensor_count(t);
    host h = {0};
    float *got[2] = {0};
    int rc = 0;
    for (int i = 0; !rc && i < 2; i++) {
        rc = d == DW ? tn_buffer_fill(b->dw.mem, 0, tn_tensor_bytes(&b->dw), 0, err) : tn_tensor_poison(b->c.dev, t, err);
        if (!rc) rc = run(b, z, d, err);
        if (!rc) rc = get(&got[i], b, t, err);
    }
    const tn_tensor *const from[] = {&b->x, &b->w, &b->b, &b->dy};
    float **const to[] = {&h.x, &h.w, &h.b, &h.dy};
    for (size_t i = 0; !rc && i < TN_COUNT(to); i++) rc = get(to[i], b, from[i], err);
    if (!rc && z->doubled) rc = enlarge(&h.x, &b->s, z->C, err);
    double num = 0, den = 0;
    for (int i = 0; !rc && i < SAMPLES; i++) {
        const size_t e = i < 10 ? (size_t)i : i < 20 ? n - 1 - (size_t)i : tn_hash_u32(1, (uint32_t)i) % n;
        const double want = expect[d](&h, &b->s, z, e), off = (double)got[0][e] - want;
        num += off * off, den += want * want;
    }
    *error = sqrt(num / den);
    if (!rc && memcmp(got[0], got[1], sizeof(float) * n)) *error = NAN;
    for (size_t i = 0; i < TN_COUNT(to); i++) free(*to[i]);
    free(got[0]);
    free(got[1]);
    return rc;
}

/* ---- the peer ---- */

typedef struct {
    pid_t pid;
    FILE *to, *from; /* NULL: it does not run */
    int turns;
    double seconds; /* of a turn */
} peer;

static void peer_start(peer *p, const tn_dev *d)
{
    const char *python = getenv("PEER_PYTHON");
    int in[2], out[2];
    char threads[16], hello[80];
    *p = (peer){0};
    snprintf(threads, sizeof threads, "%u", d->info.compute_units);
    if (pipe(in) || pipe(out)) return;
    p->pid = fork();
    if (p->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        if (!python) python = "python3";
        execlp(python, python, "tests/bench/peer_conv.py", d->info.type == TN_DEVICE_CPU ? "cpu" : "cuda", threads, NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    p->to = fdopen(in[1], "w");
    p->from = fdopen(out[0], "r");
    if (!p->from || !fgets(hello, sizeof hello, p->from)) {
        printf("the peer (tests/bench/peer_conv.py) does not run here: ours alone\n");
        p->to = NULL;
    } else printf("%s", hello);
}

/* Milliseconds of a call, and of processor time that it takes; NaN without a peer. */
typedef struct {
    double wall, work;
} timing;

static timing peer_time(peer *p, const shape *z, tn_dtype act, direction d)
{
    timing ms = {NAN, NAN};
    if (!p->to) return ms;
    fprintf(p->to, "%s %s %d %d %d %d %d %d %d %d %d %d %d %g\n", directions[d == STATS ? FORWARD : d], tn_dtype_name(act),
            conv_of(z).batch, z->h, z->w, z->C, z->O, z->kernel, z->stride, z->pad, z->groups, z->bias, z->doubled, p->seconds);
    fflush(p->to);
    if (fscanf(p->from, "%lf %lf", &ms.wall, &ms.work) != 2) p->to = NULL;
    return ms;
}

/* ---- times ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

/* Of all threads. */
static double worked(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int play(bench *b, tn_tape *t, int n, timing *ms, tn_error *err)
{
    const double begin = tn_now(), work = worked();
    for (int i = 0; i < n; i++) TN_TRY(tn_tape_play(t, err));
    TN_TRY(tn_dev_finish(b->c.dev, err));
    *ms = (timing){(tn_now() - begin) / n * 1e3, (worked() - work) / n * 1e3};
    return 0;
}

typedef struct {
    double ours, theirs, work, ratio, work_ratio; /* medians over the turns */
} result;

static int measure(bench *b, const shape *z, direction d, peer *p, result *r, tn_error *err)
{
    double ours[MOST_TURNS], theirs[MOST_TURNS], work[MOST_TURNS], ratio[MOST_TURNS], work_ratio[MOST_TURNS];
    timing mine = {0};
    tn_tape *t;
    TN_TRY(tn_tape_new(&t, b->c.dev, err));
    b->c.tape = t;
    int rc = run(b, z, d, err);
    b->c.tape = NULL;
    for (int i = 0; !rc && i < 2; i++) rc = play(b, t, 1, &mine, err);
    const int n = TN_MAX(1, TN_MIN(400, (int)(1e3 * p->seconds / mine.wall)));
    for (int i = 0; !rc && i < p->turns; i++) {
        rc = play(b, t, n, &mine, err);
        const timing other = peer_time(p, z, b->act, d);
        ours[i] = mine.wall, work[i] = mine.work, theirs[i] = other.wall;
        ratio[i] = other.wall / mine.wall, work_ratio[i] = other.work / mine.work;
    }
    tn_tape_free(t);
    if (!rc)
        *r = (result){median(ours, p->turns), median(theirs, p->turns), median(work, p->turns), median(ratio, p->turns),
                      median(work_ratio, p->turns)};
    return rc;
}

/* Bytes of images that are read and written. */
static double moved(const bench *b, direction k)
{
    const size_t x = tn_tensor_bytes(&b->x), y = tn_tensor_bytes(&b->y);
    return (double)(k == BOTH ? 2 * x + y : x + y);
}

static int one(tn_dev *d, const shape *z, tn_dtype act, peer *p, tn_error *err)
{
    bench b;
    int rc = open_bench(&b, d, z, act, err);
    for (direction k = FORWARD; !rc && k < DIRECTIONS; k++) {
        result r = {0};
        double error = 0;
        if ((z->first && (k == DX || k == BOTH)) || (k == STATS && !z->doubled)) continue;
        rc = check(&b, z, k, &error, err);
        if (!rc) rc = measure(&b, z, k, p, &r, err);
        const double flops = 2.0 * b.y.rows * z->O * z->C / z->groups * z->kernel * z->kernel * (k == BOTH ? 2 : 1);
        if (rc) break;
        printf("| %-20s | %-8s | %-7s | %8.4f | %8.3f | %7.0f | %6.0f | %8.4f | %5.2f | %5.2f | %.1e%s |\n", z->name,
               tn_dtype_name(act), directions[k], r.ours, r.work, 1e-6 * flops / r.ours, 1e-6 * moved(&b, k) / r.ours, r.theirs,
               r.ratio, r.work_ratio, error, error < (act == TN_F32 ? 2e-5 : 6e-3) ? "" : " WRONG");
        fflush(stdout);
    }
    close_bench(&b);
    return rc;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    tn_dev *d;
    peer p;
    if (tn_cpu_threads(0, &err)) return fprintf(stderr, "bench_conv: %s\n", err.message), 1;
    int rc = test_device(&d, argc > 1 ? argv[1] : "cpu", &err);
    if (rc) return fprintf(stderr, "bench_conv: %s\n", err.message), 1;
    printf("%s, driver %s, ", d->info.name, d->info.driver);
    fflush(stdout);
    peer_start(&p, d);
    p.seconds = d->info.type == TN_DEVICE_CPU ? 0.1 : 0.02;
    p.turns = argc > 3 ? TN_MAX(1, TN_MIN(atoi(argv[3]), MOST_TURNS)) : TURNS;
    printf("| convolution | type | | ms | of processors | GFLOP/s | GB/s | PyTorch ms | ratio | of processor time | error "
           "|\n|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (int act = TN_F32; !rc && act <= TN_BF16; act++)
        for (size_t i = 0; !rc && i < TN_COUNT(shapes); i++)
            if (argc < 3 || strstr(shapes[i].name, argv[2])) rc = one(d, &shapes[i], (tn_dtype)act, &p, &err);
    if (rc) fprintf(stderr, "bench_conv: %s\n", err.message);
    if (p.to) fclose(p.to);
    if (p.pid > 0) waitpid(p.pid, NULL, 0);
    tn_dev_close(d);
    return rc != 0;
}
