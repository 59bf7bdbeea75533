/* Videos: what is read back, what a damaged file gives, frames decoded ahead, and what is written. */
#include "video_av.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { W = 33, H = 18, N = 40 }; /* an odd width */

static char dir[32];
static tn_error err;

static const char *in_dir(const char *name)
{
    static char path[4][300];
    static int i;
    char *s = path[i++ % 4];
    snprintf(s, sizeof path[0], "%s/%s", dir, name);
    return s;
}

/* Frame i's pixel: noise, so that frames do not compress to nothing and none is like another. */
static uint8_t pixel(int i, int k)
{
    unsigned v = (unsigned)(i * 7919 + k) * 2654435761U;
    return (uint8_t)(v >> 24);
}

/* Milliseconds; uneven. */
static long long at(int i)
{
    return 40LL * i + i % 3 * 5;
}

static void drain(AVFormatContext *f, AVCodecContext *c)
{
    AVPacket *p = av_packet_alloc();
    while (avcodec_receive_packet(c, p) >= 0) {
        av_packet_rescale_ts(p, c->time_base, f->streams[0]->time_base);
        p->stream_index = 0;
        ck_assert_int_ge(av_interleaved_write_frame(f, p), 0);
    }
    av_packet_free(&p);
}

static void fill_noise(AVFrame *a, int i)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int k = 0; k < 3; k++) a->data[0][y * a->linesize[0] + 4 * x + 2 - k] = pixel(i, 3 * (y * W + x) + k);
}

/* N lossless frames. */
static void make(const char *path, enum AVPixelFormat format, void (*fill)(AVFrame *a, int i))
{
    AVFormatContext *f;
    ck_assert_int_ge(avformat_alloc_output_context2(&f, NULL, NULL, path), 0);
    AVCodecContext *c = avcodec_alloc_context3(avcodec_find_encoder(AV_CODEC_ID_FFV1));
    AVStream *s = avformat_new_stream(f, NULL);
    c->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    c->width = W, c->height = H, c->pix_fmt = format, c->time_base = (AVRational){1, 1000};
    s->avg_frame_rate = (AVRational){25, 1};
    if (f->oformat->flags & AVFMT_GLOBALHEADER) c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    ck_assert_int_ge(avcodec_open2(c, NULL, NULL), 0);
    ck_assert_int_ge(avcodec_parameters_from_context(s->codecpar, c), 0);
    s->time_base = c->time_base;
    ck_assert_int_ge(avio_open(&f->pb, path, AVIO_FLAG_WRITE), 0);
    ck_assert_int_ge(avformat_write_header(f, NULL), 0);
    for (int i = 0; i < N; i++) {
        AVFrame *a = av_frame_alloc();
        a->format = c->pix_fmt, a->width = W, a->height = H, a->pts = at(i);
        ck_assert_int_ge(av_frame_get_buffer(a, 0), 0);
        fill(a, i);
        ck_assert_int_ge(avcodec_send_frame(c, a), 0);
        av_frame_free(&a);
        drain(f, c);
    }
    avcodec_send_frame(c, NULL);
    drain(f, c);
    av_write_trailer(f);
    avio_closep(&f->pb);
    avcodec_free_context(&c);
    avformat_free_context(f);
}

static bool same_pixels(const uint8_t *rgb, int i)
{
    for (int k = 0; k < 3 * W * H; k++)
        if (rgb[k] != pixel(i, k)) return false;
    return true;
}

/* ---- reading ---- */

START_TEST(frames_come_back_as_they_were)
{
    tn_video_in *v;
    tn_video_frame f;
    bool end;
    ck_assert_int_eq(tn_video_open(&v, in_dir("a.mkv"), &err), 0);
    const tn_video_info *i = tn_video_describe(v);
    ck_assert(i->width == W && i->height == H && i->frames > N - 3 && i->frames < N + 3);
    ck_assert_ptr_null(tn_video_damage(v));
    for (int k = 0; k < N; k++) {
        ck_assert_int_eq(tn_video_next(v, &f, &end, &err), 0);
        ck_assert(!end && same_pixels(f.rgb, k));
        for (int past = 0; past < 64; past++) ck_assert_int_eq(f.rgb[3 * W * H + past], 0); /* swscale reads there */
        ck_assert_double_eq_tol(f.seconds, 0.001 * (double)at(k), 1e-9);
        ck_assert_double_eq_tol((double)f.pts * i->base.num / i->base.den, f.seconds, 1e-9);
        free(f.rgb);
    }
    for (int k = 0; k < 2; k++) ck_assert(!tn_video_next(v, &f, &end, &err) && end);
    ck_assert_ptr_null(tn_video_damage(v));
    tn_video_close(v);
}
END_TEST

static int depth;

/* From black to white along a row, in so many bits. */
static void fill_grey(AVFrame *a, int i)
{
    (void)i;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            ((uint16_t *)(a->data[0] + (ptrdiff_t)y * a->linesize[0]))[x] = (uint16_t)(((1 << depth) - 1) * x / (W - 1));
}

START_TEST(grey_frames_use_all_their_values)
{
    static const enum AVPixelFormat formats[] = {AV_PIX_FMT_GRAY10, AV_PIX_FMT_GRAY12, AV_PIX_FMT_GRAY16};
    static const int depths[] = {10, 12, 16};
    for (int k = 0; k < 3; k++) {
        tn_video_in *v;
        tn_video_frame f;
        bool end;
        depth = depths[k];
        make(in_dir("grey.mkv"), formats[k], fill_grey);
        ck_assert_int_eq(tn_video_open(&v, in_dir("grey.mkv"), &err), 0);
        ck_assert(!tn_video_next(v, &f, &end, &err) && !end);
        for (int x = 0; x < W; x++)
            ck_assert_msg(abs(f.rgb[3 * x + 1] - 255 * x / (W - 1)) < 3, "%d bits: %d at %d", depth, f.rgb[3 * x + 1], x);
        free(f.rgb);
        tn_video_close(v);
    }
}
END_TEST

/* ---- one time line ---- */

/* The time that a packet of that decoding time is given. */
static long long put(tn_video_times *t, long long dts)
{
    AVPacket *p = av_packet_alloc();
    p->dts = dts;
    p->pts = dts + 80;
    tn_video_times_put(t, p);
    const long long at = p->dts;
    ck_assert_int_eq(p->pts - p->dts, 80);
    av_packet_free(&p);
    return at;
}

START_TEST(times_that_step_back_or_leap_go_on)
{
    tn_video_in *v;
    tn_video_times t;
    long long at = 0;
    ck_assert_int_eq(tn_video_open(&v, in_dir("a.mkv"), &err), 0);
    tn_video_times_begin(&t, v->file, v->stream);
    t.end = AV_NOPTS_VALUE;
    ck_assert_int_eq(t.step, 40);
    for (int i = 0; i < 300; i++, at += 40) ck_assert_int_eq(put(&t, i % 100 * 40), at);
    ck_assert_int_eq(t.joins, 2);
    for (int i = 0; i < 100; i++, at += 40) ck_assert_int_eq(put(&t, 40000000 + i * 40), at); /* eleven hours on */
    ck_assert_int_eq(t.joins, 3);
    ck_assert_int_eq(put(&t, 40000000 + 104 * 40 + 600000), at + 4 * 40 + 600000); /* a pause is one */
    ck_assert_int_eq(t.joins, 3);
    tn_video_close(v);
}
END_TEST

START_TEST(a_single_wrong_time_moves_nothing)
{
    tn_video_in *v;
    tn_video_times t;
    ck_assert_int_eq(tn_video_open(&v, in_dir("a.mkv"), &err), 0);
    tn_video_times_begin(&t, v->file, v->stream);
    t.end = AV_NOPTS_VALUE;
    for (int i = 0; i < 100; i++) {
        const long long wrong = i == 30 ? 0 : i == 60 ? 30000000 : i * 40;
        ck_assert_int_eq(put(&t, i == 80 ? i * 40 - 60 : wrong), i == 80 ? i * 40 - 60 : i * 40); /* a frame or two are no join */
    }
    tn_video_close(v);
}
END_TEST

static long copy_cut(const char *from, const char *to, double part, long noise_at)
{
    FILE *f = fopen(from, "rb"), *g = fopen(to, "wb");
    fseek(f, 0, SEEK_END);
    const long n = (long)(part * (double)ftell(f));
    rewind(f);
    for (long i = 0; i < n; i++) {
        const int c = fgetc(f);
        fputc(noise_at && i >= noise_at && i < noise_at + 3000 ? (c ^ 0x5a) : c, g);
    }
    fclose(f);
    fclose(g);
    return n;
}

static int count(const char *path, char damage[512])
{
    tn_video_in *v;
    bool end = false;
    int n = 0;
    ck_assert_msg(!tn_video_open(&v, path, &err), "%s", err.message);
    for (;; n++) {
        tn_video_frame f;
        ck_assert_int_eq(tn_video_next(v, &f, &end, &err), 0);
        if (end) break;
        free(f.rgb);
    }
    snprintf(damage, 512, "%s", tn_video_damage(v) ? tn_video_damage(v) : "");
    tn_video_close(v);
    return n;
}

START_TEST(a_damaged_file_gives_what_can_be_read)
{
    char damage[512];
    const long size = copy_cut(in_dir("a.mkv"), in_dir("cut.mkv"), 0.5, 0);
    int n = count(in_dir("cut.mkv"), damage);
    ck_assert_msg(n > N / 4 && n < N * 3 / 4 && damage[0], "%d frames, '%s'", n, damage);
    copy_cut(in_dir("a.mkv"), in_dir("noise.mkv"), 1, size);
    n = count(in_dir("noise.mkv"), damage);
    ck_assert_msg(n > N / 4 && damage[0], "%d frames, '%s'", n, damage);
}
END_TEST

START_TEST(what_is_no_video_is_refused)
{
    tn_video_in *v;
    FILE *f = fopen(in_dir("text.mp4"), "w");
    fputs("no video at all\n", f);
    fclose(f);
    ck_assert_int_ne(tn_video_open(&v, in_dir("text.mp4"), &err), 0);
    ck_assert(!v && strstr(err.message, "text.mp4"));
    ck_assert_int_ne(tn_video_open(&v, in_dir("none.mp4"), &err), 0);
    ck_assert(!v && strstr(err.message, "none.mp4"));
}
END_TEST

/* ---- ahead ---- */

START_TEST(frames_ahead_are_in_order_and_can_be_left)
{
    for (int take = 0; take <= N + 1; take += take ? N / 2 : 3) {
        tn_video_in *v;
        tn_video_ahead *a;
        bool end = false;
        ck_assert_int_eq(tn_video_open(&v, in_dir("a.mkv"), &err), 0);
        ck_assert_int_eq(tn_video_ahead_start(&a, v, 3, &err), 0);
        for (int i = 0; i < take; i++) {
            tn_video_frame f;
            ck_assert_int_eq(tn_video_ahead_next(a, &f, &end, &err), 0);
            ck_assert(end == (i >= N) && (end || same_pixels(f.rgb, i)));
            if (!end) free(f.rgb);
        }
        tn_video_ahead_stop(a);
        tn_video_close(v);
    }
}
END_TEST

/* ---- writing ---- */

static void write_all(const char *to, bool finish)
{
    tn_video_in *v;
    tn_video_out *o;
    tn_video_frame f;
    bool end = false;
    ck_assert_int_eq(tn_video_open(&v, in_dir("a.mkv"), &err), 0);
    ck_assert_msg(!tn_video_out_open(&o, to, v, NULL, &err), "%s", err.message);
    while (!tn_video_next(v, &f, &end, &err) && !end) {
        ck_assert_msg(!tn_video_out_frame(o, &f, &err), "%s", err.message);
        free(f.rgb);
    }
    ck_assert_int_ne(access(to, F_OK), 0);
    if (finish) ck_assert_msg(!tn_video_out_finish(o, true, &err), "%s", err.message);
    else tn_video_out_drop(o);
    tn_video_close(v);
}

static int files(void)
{
    char line[64], command[300];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", dir);
    FILE *p = popen(command, "r");
    const int n = fgets(line, sizeof line, p) ? atoi(line) : -1;
    pclose(p);
    return n;
}

START_TEST(what_is_written_has_the_times_of_the_source)
{
    static const char *const names[] = {"out.mp4", "out.mkv"};
    for (int k = 0; k < 2; k++) {
        tn_video_in *v;
        tn_video_frame f;
        bool end = false;
        int n = 0;
        write_all(in_dir(names[k]), true);
        ck_assert_int_eq(tn_video_open(&v, in_dir(names[k]), &err), 0);
        ck_assert(tn_video_describe(v)->width == W && tn_video_describe(v)->height == H);
        for (; !tn_video_next(v, &f, &end, &err) && !end; n++) {
            ck_assert_double_eq_tol(f.seconds, 0.001 * (double)at(n), 0.0011);
            free(f.rgb);
        }
        ck_assert_int_eq(n, N);
        tn_video_close(v);
    }
}
END_TEST

START_TEST(what_is_given_up_leaves_no_file)
{
    tn_video_in *v;
    tn_video_out *o;
    const int before = files();
    write_all(in_dir("dropped.mp4"), false);
    ck_assert_int_eq(files(), before);
    ck_assert_int_eq(tn_video_open(&v, in_dir("a.mkv"), &err), 0);
    ck_assert_int_ne(tn_video_out_open(&o, in_dir("x.nothing"), v, NULL, &err), 0);
    ck_assert(!o && strstr(err.message, ".mp4"));
    ck_assert_int_ne(tn_video_out_open(&o, in_dir("x.wav"), v, NULL, &err), 0);
    ck_assert(!o && strstr(err.message, "x.wav"));
    ck_assert_int_ne(tn_video_out_open(&o, in_dir("a.png"), v, NULL, &err), 0);
    ck_assert(!o && strstr(err.message, "a.png"));
    ck_assert_int_ne(tn_video_out_open(&o, in_dir("x.m3u8"), v, NULL, &err), 0);
    ck_assert(!o && strstr(err.message, "x.m3u8"));
    ck_assert_int_ne(tn_video_out_open(&o, in_dir("x.avi"), v, NULL, &err), 0); /* its times are uneven */
    ck_assert(!o && strstr(err.message, "x.avi"));
    ck_assert_int_ne(tn_video_out_open(&o, in_dir("nowhere/x.mp4"), v, NULL, &err), 0);
    ck_assert(!o && strstr(err.message, "nowhere/x.mp4"));
    ck_assert_int_eq(files(), before);
    tn_video_close(v);
}
END_TEST

static void setup(void)
{
    strcpy(dir, "/tmp/tn_video_XXXXXX"); /* one of its own for each test, also without fork() */
    ck_assert_ptr_nonnull(mkdtemp(dir));
    make(in_dir("a.mkv"), AV_PIX_FMT_BGR0, fill_noise);
}

static void teardown(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

int main(void)
{
    Suite *s = suite_create("video");
    TCase *t = tcase_create("video");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, frames_come_back_as_they_were);
    tcase_add_test(t, grey_frames_use_all_their_values);
    tcase_add_test(t, times_that_step_back_or_leap_go_on);
    tcase_add_test(t, a_single_wrong_time_moves_nothing);
    tcase_add_test(t, a_damaged_file_gives_what_can_be_read);
    tcase_add_test(t, what_is_no_video_is_refused);
    tcase_add_test(t, frames_ahead_are_in_order_and_can_be_left);
    tcase_add_test(t, what_is_written_has_the_times_of_the_source);
    tcase_add_test(t, what_is_given_up_leaves_no_file);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r), run = srunner_ntests_run(r);
    srunner_free(r);
    printf("%d passed, %d failed\n", run - failed, failed);
    return failed != 0;
}
