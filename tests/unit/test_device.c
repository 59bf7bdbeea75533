/* The device layer: buffers that know their size, transfers that do not stop the host, launches cut into slices, recorded
 * programs, and a device that is lost. Runs on the device TRACKNET_TEST_DEVICE names (default cpu). */
#include "address.h"
#include "objects.h"
#include "ops.h"
#include "ptx.h"
#include "source.h"
#include "../testdev.h"
#include "../testlib.h"

#include <string.h>

static tn_error err;

static tn_dev *open_device(void)
{
    tn_dev *d = NULL;
    const char *name = getenv("TRACKNET_TEST_DEVICE");
    ck_assert_msg(!test_device(&d, name ? name : "cpu", &err), "%s", err.message);
    return d;
}

#define OK(x) ck_assert_msg(!(x), "%s", err.message)

enum { N = 1000 };

/* What the driver would be given for a kernel with instructions that its own target refuses. */
START_TEST(ptx_is_uncovered)
{
    static const char text[] = ".version 9.0\n.target sm_90, texmode_independent\n.entry a(\n)\n.reqntid 384, 1, 1\n{\n"
                               "\t// begin inline asm\n\t//@@minnctapersm 2\n\t//@@ wgmma.fence.sync.aligned;\n}\n"
                               ".entry b(\n)\n.reqntid 64, 1, 1\n{\n\tadd.s32 %r1, %r2, 1; //@@ x;\n}\n";
    static const char want[] = ".version 9.0\n.target sm_90a, texmode_independent\n.entry a(\n)\n.reqntid 384, 1, 1\n"
                               ".minnctapersm 2\n{\n\t// begin inline asm\n\t wgmma.fence.sync.aligned;\n}\n"
                               ".entry b(\n)\n.reqntid 64, 1, 1\n{\n\tadd.s32 %r1, %r2, 1;  x;\n}\n// 1f\n";
    char *got = tn_ptx_rewrite(text, false, 0x1f), *again = tn_ptx_rewrite(want, true, 0x20);
    ck_assert(tn_ptx_has_hidden(text) && !tn_ptx_has_hidden(want));
    ck_assert_str_eq(got, want);
    ck_assert_str_eq(again, want);
    free(got);
    free(again);
}
END_TEST

/* Pointers to global memory become numbers, others stay what they are. */
START_TEST(ptx_gets_bare_parameters)
{
    static const char text[] =
        ".target sm_90\n.entry a(\n\t.param .u64 .ptr .global .align 16 a_0,\n\t.param .u64 .ptr .shared .align 4 a_1,\n"
        "\t.param .u64 .ptr .global a_2\n)\n";
    static const char want[] = ".target sm_90\n.entry a(\n\t.param .u64 a_0,\n\t.param .u64 .ptr .shared .align 4 a_1,\n"
                               "\t.param .u64 a_2\n)\n";
    char *got = tn_ptx_rewrite(text, true, 1), *same = tn_ptx_rewrite(text, false, 1);
    ck_assert(tn_ptx_has_pointers(text) && !tn_ptx_has_pointers(want));
    ck_assert_str_eq(got, want);
    ck_assert_str_eq(same, text);
    free(got);
    free(same);
}
END_TEST

START_TEST(code_is_found_in_objects)
{
    static const unsigned char object[] = "poclbin\0\x0b\0\0\0/program.bc\x08\0\0\0BC\xc0\xde"
                                          "code/more";
    unsigned char other[sizeof object];
    size_t n = 0;
    const unsigned char *code = tn_object_code(object, sizeof object, &n);
    ck_assert_ptr_nonnull(code);
    ck_assert_uint_eq(n, 8);
    ck_assert_mem_eq(code + 4, "code", n - 4);
    for (size_t end = 0; end < (size_t)(code - object) + n; end++) ck_assert_ptr_null(tn_object_code(object, end, &n));
    memcpy(other, object, sizeof object);
    other[code - object + 2] = 0; /* of another kind */
    ck_assert_ptr_null(tn_object_code(other, sizeof other, &n));
    memcpy(other, object, sizeof object);
    other[code - object - 1] = 0xff; /* longer than the whole */
    ck_assert_ptr_null(tn_object_code(other, sizeof other, &n));
}
END_TEST

START_TEST(buffers_know_their_device_and_size)
{
    tn_dev *d = open_device();
    tn_buffer *b, *sub;
    OK(tn_buffer_new(&b, d, 2 * d->align + 5, "a test", &err));
    ck_assert_uint_eq(tn_buffer_size(b), 2 * d->align + 8);
    ck_assert_uint_eq(d->allocated, 2 * d->align + 8);
    ck_assert_ptr_eq(tn_buffer_device(b), d);
    OK(tn_buffer_sub(&sub, b, d->align, 64, &err));
    ck_assert_uint_eq(d->allocated, 2 * d->align + 8);
    tn_buffer_free(sub);
    tn_buffer_free(b);
    tn_buffer_free(NULL);
    ck_assert_uint_eq(d->allocated, 0);
    tn_dev_close(d);
}
END_TEST

/* A region lies in its buffer, and no two buffers in each other. */
START_TEST(buffers_know_where_they_lie)
{
    tn_dev *d = open_device();
    tn_buffer *b, *sub, *other;
    cl_ulong at = 0, at_sub = 0, at_other = 0, none = 1;
    OK(tn_buffer_new(&b, d, 2 * d->align, "a test", &err));
    OK(tn_buffer_new(&other, d, 2 * d->align, "a test", &err));
    OK(tn_buffer_sub(&sub, b, d->align, 64, &err));
    OK(tn_buffer_address(&at_sub, sub, &err));
    OK(tn_buffer_address(&at, b, &err));
    OK(tn_buffer_address(&at_other, other, &err));
    OK(tn_buffer_address(&none, NULL, &err));
    ck_assert(at && at_sub == at + d->align && !none);
    ck_assert(at_other >= at + 2 * d->align || at >= at_other + 2 * d->align);
    tn_buffer_free(sub);
    tn_buffer_free(other);
    tn_buffer_free(b);
    tn_dev_close(d);
}
END_TEST

/* Given up in any order, they are released the last made first. */
START_TEST(regions_are_given_up_in_any_order)
{
    tn_dev *d = open_device();
    tn_buffer *b, *r[5];
    static const int order[] = {1, 0, 4, 2, 3};
    OK(tn_buffer_new(&b, d, 8 * d->align, "a test", &err));
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 5; i++) OK(tn_buffer_sub(&r[i], b, i * d->align, 64, &err));
        OK(tn_buffer_fill(r[round], 0, 64, 9u, &err));
        for (int i = 0; i < 5; i++) tn_buffer_free(r[order[i]]);
    }
    OK(tn_dev_finish(d, &err));
    tn_buffer_free(b);
    ck_assert_uint_eq(d->allocated, 0);
    tn_dev_close(d);
}
END_TEST

/* Upload on the copy queue, doubled by the main queue after it, read back by the copy queue after that. */
START_TEST(transfers_run_beside_the_computation)
{
    tn_dev *d = open_device();
    tn_staging up, down;
    tn_buffer *b;
    tn_event *here, *done, *back;
    tn_kernel *k;
    const tn_range r = {1, {N / 4}, {0}};
    OK(tn_staging_new(&up, d, N * 4, &err));
    OK(tn_staging_new(&down, d, N * 4, &err));
    OK(tn_buffer_new(&b, d, N * 4, "a test", &err));
    OK(tn_kernel_get(&k, d, "portable/elementwise.cl", "residual", "-DVW=4 -DACT=0", &err));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) ((float *)up.host)[i] = (float)(i + round);
        memset(down.host, 0xff, N * 4);
        const tn_arg args[] = {TN_BUF(b), TN_BUF(b), TN_BUF(b), TN_INT(N / 4)};
        const long long before = d->blocking;
        OK(tn_buffer_write_async(b, TN_QUEUE_COPY, 0, up.host, N * 4, NULL, &here, &err));
        OK(tn_queue_wait(d, TN_QUEUE_MAIN, here, &err));
        OK(tn_launch(d, k, args, TN_COUNT(args), &r, &err));
        OK(tn_queue_mark(d, TN_QUEUE_MAIN, &done, &err));
        OK(tn_buffer_read_async(b, TN_QUEUE_COPY, 0, down.host, N * 4, done, &back, &err));
        OK(tn_dev_flush(d, &err));
        ck_assert_int_eq(d->blocking, before);
        OK(tn_event_wait(back, &err));
        ck_assert_int_eq(tn_event_done(back, &err), 1);
        for (int i = 0; i < N; i++) ck_assert_float_eq(((float *)down.host)[i], 2.0f * (float)(i + round));
        tn_event_free(here);
        tn_event_free(done);
        tn_event_free(back);
    }
    tn_buffer_free(b);
    tn_staging_free(&down);
    tn_staging_free(&up);
    ck_assert_uint_eq(d->allocated, 0);
    tn_dev_close(d);
}
END_TEST

/* On the copy queue behind a kernel of the main one, and a kernel behind the copy; neither stops the host. */
START_TEST(a_copy_waits_for_its_event_and_is_waited_for)
{
    tn_dev *d = open_device();
    tn_buffer *from, *to;
    tn_event *filled, *copied;
    uint32_t got[N];
    OK(tn_buffer_new(&from, d, N * 4, "a test", &err));
    OK(tn_buffer_new(&to, d, N * 4, "a test", &err));
    for (uint32_t round = 1; round <= 3; round++) {
        const long long before = d->blocking;
        OK(tn_buffer_fill(to, 0, N * 4, 100, &err));
        OK(tn_buffer_fill(from, 0, N * 4, round, &err));
        OK(tn_queue_mark(d, TN_QUEUE_MAIN, &filled, &err));
        OK(tn_buffer_copy_async(from, to, TN_QUEUE_COPY, (N - 1) * 4, filled, &copied, &err));
        OK(tn_queue_wait(d, TN_QUEUE_MAIN, copied, &err));
        OK(tn_buffer_fill(from, 0, N * 4, 200, &err)); /* too early, the copy would have it */
        OK(tn_dev_flush(d, &err));
        ck_assert_int_eq(d->blocking, before);
        OK(tn_event_wait(copied, &err));
        ck_assert_int_eq(tn_event_done(copied, &err), 1);
        OK(tn_buffer_read(to, 0, got, sizeof got, &err));
        for (int i = 0; i < N; i++) ck_assert_uint_eq(got[i], i < N - 1 ? round : 100);
        tn_event_free(filled);
        tn_event_free(copied);
    }
    tn_buffer_free(to);
    tn_buffer_free(from);
    tn_dev_close(d);
}
END_TEST

START_TEST(mapped_memory_is_the_buffer)
{
    tn_dev *d = open_device();
    tn_buffer *b;
    void *p;
    float got[N];
    OK(tn_buffer_new(&b, d, N * 4, "a test", &err));
    OK(tn_buffer_map(b, 0, N * 4, true, &p, &err));
    for (int i = 0; i < N; i++) ((float *)p)[i] = (float)i;
    OK(tn_buffer_unmap(b, p, &err));
    OK(tn_buffer_read(b, 0, got, N * 4, &err));
    for (int i = 0; i < N; i++) ck_assert_float_eq(got[i], (float)i);
    tn_buffer_free(b);
    tn_dev_close(d);
}
END_TEST

/* The driver's own fill, and the kernel that stands in for it. */
START_TEST(fills_reach_both_ends)
{
    tn_dev *d = open_device();
    tn_buffer *b;
    uint32_t got[N];
    OK(tn_buffer_new(&b, d, N * 4, "a test", &err));
    for (int by_kernel = 0; by_kernel < 2; by_kernel++) {
        if (by_kernel) d->quirk_flags |= TN_QUIRK_NO_FILL;
        OK(tn_buffer_fill(b, 0, N * 4, 1u, &err));
        OK(tn_buffer_fill(b, 12, (N - 5) * 4, 7u, &err));
        OK(tn_buffer_read(b, 0, got, sizeof got, &err));
        for (int i = 0; i < N; i++) ck_assert_uint_eq(got[i], i < 3 || i >= N - 2 ? 1u : 7u);
    }
    tn_buffer_free(b);
    tn_dev_close(d);
}
END_TEST

typedef struct {
    tn_ctx c;
    tn_tensor x, y;
} pair;

static void pair_new(pair *p, tn_dev *d, int rows, int cols)
{
    float *v = malloc(sizeof *v * (size_t)rows * (size_t)cols);
    tn_rng r = tn_rng_named(5, "device");
    for (int i = 0; i < rows * cols; i++) v[i] = (float)tn_rng_normal(&r);
    tn_ctx_init(&p->c, d);
    OK(tn_tensor_new(&p->x, d, TN_F32, rows, cols, "a test", &err));
    OK(tn_tensor_new(&p->y, d, TN_F32, rows, cols, "a test", &err));
    OK(tn_tensor_set(d, &p->x, v, &err));
    free(v);
}

static void pair_free(pair *p)
{
    tn_tensor_free(p->c.dev, &p->y);
    tn_tensor_free(p->c.dev, &p->x);
    tn_ctx_free(&p->c);
}

START_TEST(slices_make_the_whole)
{
    enum { ROWS = 137, COLS = 52 };
    static float whole[ROWS * COLS], cut[ROWS * COLS];
    tn_dev *d = open_device();
    pair p;
    pair_new(&p, d, ROWS, COLS);
    d->quirk_flags |= TN_QUIRK_NO_FILL; /* as with NVIDIA's driver: a fill is a launch too */
    OK(tn_act_forward(&p.c, TN_GELU, &p.x, &p.y, &err));
    OK(tn_tensor_get(d, &p.y, whole, &err));
    OK(tn_tensor_poison(d, &p.y, &err));
    const long long before = d->launches;
    d->slice_groups = 2;
    OK(tn_act_forward(&p.c, TN_GELU, &p.x, &p.y, &err));
    OK(tn_tensor_get(d, &p.y, cut, &err));
    ck_assert_int_gt(d->launches - before, 2);
    ck_assert(!memcmp(whole, cut, sizeof whole));
    pair_free(&p);
    tn_dev_close(d);
}
END_TEST

/* A budget that no group keeps, one that all keep, and rests: what runs is the same. */
START_TEST(slices_keep_a_budget)
{
    enum { ROWS = 2048, COLS = 516 };
    static float whole[ROWS * COLS], cut[ROWS * COLS];
    tn_dev *d = open_device();
    pair p;
    tn_tape *t;
    long long launched[3];
    pair_new(&p, d, ROWS, COLS);
    OK(tn_act_forward(&p.c, TN_GELU, &p.x, &p.y, &err));
    OK(tn_tensor_get(d, &p.y, whole, &err));
    d->quirk_flags |= TN_QUIRK_NO_FILL;
    d->info.type = TN_DEVICE_GPU; /* CPU devices rest, but their launches stay whole */
    for (int i = 0; i < 3; i++) {
        OK(tn_tape_new(&t, d, &err));
        p.c.tape = t;
        OK(tn_act_forward(&p.c, TN_GELU, &p.x, &p.y, &err));
        p.c.tape = NULL;
        d->slice_seconds = i < 2 ? 100 : 1e-9;
        d->nice = i == 1 ? 1e-3 : 0;
        OK(tn_tape_play(t, &err)); /* takes the times */
        OK(tn_tensor_poison(d, &p.y, &err));
        d->queued = i == 1 ? 1e3 : 0;
        const long long launches = d->launches, waits = d->blocking;
        OK(tn_tape_play(t, &err));
        launched[i] = d->launches - launches;
        ck_assert_msg((d->blocking > waits) == (i == 1), "%d: waited %lld times", i, d->blocking - waits);
        OK(tn_tensor_get(d, &p.y, cut, &err));
        ck_assert(!memcmp(whole, cut, sizeof whole));
        tn_tape_free(t);
    }
    ck_assert_int_eq(launched[0], 1);
    ck_assert_int_eq(launched[1], 1);
    ck_assert_int_gt(launched[2], 8); /* a group each */
    pair_free(&p);
    tn_dev_close(d);
}
END_TEST

/* fill, gelu, copy: played twice it does what the calls did, and looks nothing up. */
START_TEST(a_tape_repeats_what_was_recorded)
{
    enum { ROWS = 5, COLS = 12 };
    float want[ROWS * COLS], got[ROWS * COLS];
    double seconds[8] = {-1, -1, -1, -1};
    const tn_note *note;
    tn_dev *d = open_device();
    pair p;
    tn_tape *t;
    const tn_note from = {"layer.3", "act", NULL, 17, 600, 240};
    pair_new(&p, d, ROWS, COLS);
    OK(tn_act_forward(&p.c, TN_GELU, &p.x, &p.y, &err));
    OK(tn_tensor_get(d, &p.y, want, &err));
    want[0] = 0; /* the fill comes last below */
    OK(tn_tape_new(&t, d, &err));
    p.c.tape = t;
    tn_tape_note(t, &from);
    OK(tn_act_forward(&p.c, TN_GELU, &p.x, &p.y, &err));
    OK(tn_op_fill(&p.c, p.y.mem, 0, 4, 0, &err));
    OK(tn_op_copy(&p.c, p.y.mem, p.x.mem, 0, 4, &err));
    p.c.tape = NULL;
    ck_assert_int_eq(tn_tape_count(t), 3);
    ck_assert_str_eq(tn_tape_entry(t, 0, &note), "act_forward");
    ck_assert_int_eq(note->node, 17);
    ck_assert_double_eq(note->flops, 600);
    tn_tape_entry(t, 1, &note);
    ck_assert_double_eq(note->flops, 0); /* a node's work counts once */
    for (int i = 0; i < 2; i++) {
        OK(tn_tensor_poison(d, &p.y, &err));
        OK(tn_tape_play(t, &err));
        OK(tn_tensor_get(d, &p.y, got, &err));
        if (i == 0) ck_assert(!memcmp(want, got, sizeof want));
    }
    OK(tn_tensor_get(d, &p.x, got, &err));
    ck_assert_float_eq(got[0], 0);
    OK(tn_tape_profile(t, seconds, &err));
    for (int i = 0; i < 3; i++) ck_assert_double_ge(seconds[i], 0);
    tn_tape_free(t);
    pair_free(&p);
    tn_dev_close(d);
}
END_TEST

/* Texts that build with our declarations, with the driver's alone, and with none. */
static const struct {
    const char *text;
    bool builds, ours;
} texts[] = {{"__kernel void f(__global float *x) { x[0] = exp2(x[1]) + max(x[2], x[3]); }", true, true},
             {"__kernel void f(__global float *x) { x[0] = lgamma(x[1]); }", true, false},
             {"__kernel void f(__global float *x) { x[0] = of_nobody(x[1]); }", false, true}};

START_TEST(texts_find_their_functions)
{
    tn_dev *d = open_device();
    const bool declares = d->quirk_flags & TN_QUIRK_DECLARES;
    cl_program p = NULL;
    ck_assert(!tn_source_build(&p, d, texts[_i].text, "") == texts[_i].builds);
    ck_assert(!(d->quirk_flags & TN_QUIRK_DECLARES) == !(declares && texts[_i].ours));
    char *log = p ? tn_build_log(d, p) : NULL;
    ck_assert(texts[_i].builds || (log && strstr(log, "of_nobody")));
    free(log);
    if (p) clReleaseProgram(p);
    tn_dev_close(d);
}
END_TEST

START_TEST(a_lost_device_repeats_its_first_cause)
{
    tn_dev *d = open_device();
    tn_buffer *b, *other = (tn_buffer *)1;
    float v = 0;
    OK(tn_buffer_new(&b, d, 4, "a test", &err));
    d->lost = true;
    d->cause = (tn_error){.status = TN_ERR_DEVICE, .message = "the first cause"};
    ck_assert_int_eq(tn_buffer_new(&other, d, 4, "a test", &err), TN_ERR_DEVICE);
    ck_assert_ptr_null(other);
    ck_assert_ptr_nonnull(strstr(err.message, "the first cause"));
    ck_assert_int_eq(tn_buffer_read(b, 0, &v, 4, &err), TN_ERR_DEVICE);
    ck_assert_int_eq(tn_buffer_fill(b, 0, 4, 0, &err), TN_ERR_DEVICE);
    ck_assert_int_eq(tn_dev_finish(d, &err), TN_ERR_DEVICE);
    ck_assert_ptr_nonnull(strstr(err.message, "the first cause"));
    tn_buffer_free(b);
    tn_dev_close(d);
}
END_TEST

int main(void)
{
    return run_tests("device", 120,
                     TESTS(ONCE(ptx_is_uncovered), ONCE(ptx_gets_bare_parameters), ONCE(code_is_found_in_objects),
                           ONCE(buffers_know_their_device_and_size), ONCE(buffers_know_where_they_lie),
                           ONCE(regions_are_given_up_in_any_order), ONCE(transfers_run_beside_the_computation),
                           ONCE(a_copy_waits_for_its_event_and_is_waited_for), ONCE(mapped_memory_is_the_buffer),
                           ONCE(fills_reach_both_ends), ONCE(slices_make_the_whole), ONCE(slices_keep_a_budget),
                           ONCE(a_tape_repeats_what_was_recorded), ONCE(a_lost_device_repeats_its_first_cause),
                           TIMES(texts_find_their_functions, TN_COUNT(texts))));
}
