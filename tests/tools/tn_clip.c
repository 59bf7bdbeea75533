/* Makes the videos of the tests from a folder's pictures: tn-clip OUT CODEC RATE[@START] SOUND PICTURE... with CODEC ffv1 (lossless
 * RGB) or another that takes YUV 4:2:0, and SOUND 1 for a tone beside it in AAC, as long as the pictures, or
 * CODEC[:SECONDS[:START]], or 0. RATE 0: frames at uneven times; the START is in seconds. `tn-clip --tell FILE` prints what a file
 * holds,
 * `--differ FILE FILE` how far two are apart. */
#include "image.h"
#include "video_files.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(e)                                                                                                                    \
    do {                                                                                                                           \
        if (!(e)) {                                                                                                                \
            fprintf(stderr, "tn-clip: %s failed\n", #e);                                                                           \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

static void drain(AVFormatContext *file, AVStream *stream, AVCodecContext *codec)
{
    AVPacket *p = av_packet_alloc();
    while (avcodec_receive_packet(codec, p) >= 0) {
        av_packet_rescale_ts(p, codec->time_base, stream->time_base);
        p->stream_index = stream->index;
        MUST(av_interleaved_write_frame(file, p) >= 0);
    }
    av_packet_free(&p);
}

static AVCodecContext *encoder(AVFormatContext *file, const char *name, AVStream **stream)
{
    const AVCodec *c = avcodec_find_encoder_by_name(name);
    MUST(c);
    AVCodecContext *x = avcodec_alloc_context3(c);
    if (file->oformat->flags & AVFMT_GLOBALHEADER) x->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    MUST((*stream = avformat_new_stream(file, NULL)) != NULL);
    return x;
}

static void open_encoder(AVCodecContext *x, AVStream *stream)
{
    MUST(avcodec_open2(x, NULL, NULL) >= 0);
    MUST(avcodec_parameters_from_context(stream->codecpar, x) >= 0);
    stream->time_base = x->time_base;
}

static void write_picture(AVFormatContext *file, AVStream *stream, AVCodecContext *x, const tn_image *im, int64_t pts)
{
    AVFrame *f = av_frame_alloc();
    const uint8_t *const from[4] = {im->rgb};
    const int stride[4] = {3 * im->w};
    f->format = x->pix_fmt, f->width = im->w, f->height = im->h, f->pts = pts;
    MUST(av_frame_get_buffer(f, 0) >= 0);
    struct SwsContext *s =
        sws_getContext(im->w, im->h, AV_PIX_FMT_RGB24, im->w, im->h, x->pix_fmt, SWS_BICUBIC | SWS_ACCURATE_RND, NULL, NULL, NULL);
    MUST(s);
    sws_scale(s, from, stride, 0, im->h, f->data, f->linesize);
    sws_freeContext(s);
    MUST(avcodec_send_frame(x, f) >= 0);
    av_frame_free(&f);
    drain(file, stream, x);
}

typedef struct tone {
    char codec[32];
    double seconds, start;
} tone;

static void write_sound(AVFormatContext *file, AVStream *stream, AVCodecContext *x, const tone *t)
{
    const int n = x->frame_size ? x->frame_size : 1024;
    for (int64_t at = 0; at < (int64_t)(t->seconds * x->sample_rate); at += n) {
        AVFrame *f = av_frame_alloc();
        f->format = x->sample_fmt, f->nb_samples = n, f->pts = at + (int64_t)(t->start * x->sample_rate),
        f->sample_rate = x->sample_rate;
        MUST(av_channel_layout_copy(&f->ch_layout, &x->ch_layout) >= 0 && av_frame_get_buffer(f, 0) >= 0);
        for (int i = 0; i < n; i++) {
            const float v = 0.2F * sinf(0.06F * (float)(at + i));
            if (x->sample_fmt == AV_SAMPLE_FMT_S16) ((int16_t *)f->data[0])[i] = (int16_t)(32767 * v);
            else ((float *)f->data[0])[i] = v;
        }
        MUST(avcodec_send_frame(x, f) >= 0);
        av_frame_free(&f);
        drain(file, stream, x);
    }
    MUST(avcodec_send_frame(x, NULL) >= 0);
    drain(file, stream, x);
}

static int64_t picture_time(int i, int rate)
{
    return rate ? i : 40LL * i + (i % 3) * 7; /* milliseconds */
}

static AVCodecContext *open_pictures(AVFormatContext *file, const char *codec, const tn_image *im, int rate, AVStream **stream)
{
    AVCodecContext *x = encoder(file, codec, stream);
    x->width = im->w, x->height = im->h;
    x->time_base = rate ? (AVRational){1, rate} : (AVRational){1, 1000};
    if (rate) x->framerate = (*stream)->avg_frame_rate = (AVRational){rate, 1};
    x->pix_fmt = strcmp(codec, "ffv1") ? AV_PIX_FMT_YUV420P : AV_PIX_FMT_BGR0;
    x->gop_size = 4;
    open_encoder(x, *stream);
    return x;
}

static AVCodecContext *open_sound(AVFormatContext *file, const char *codec, AVStream **stream)
{
    AVCodecContext *x = encoder(file, codec, stream);
    x->sample_rate = 44100, x->sample_fmt = x->codec->sample_fmts[0], x->time_base = (AVRational){1, 44100};
    x->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_MONO;
    open_encoder(x, *stream);
    return x;
}

static tone tone_of(const char *words, double whole)
{
    tone t = {"aac", whole, 0};
    if (strcmp(words, "1") != 0) MUST(sscanf(words, "%31[^:]:%lf:%lf", t.codec, &t.seconds, &t.start) >= 1);
    return t;
}

static void make(int n, char **v)
{
    const char *out = v[0];
    const int rate = atoi(v[2]), pictures = n - 4;
    const double start = strchr(v[2], '@') ? atof(strchr(v[2], '@') + 1) : 0;
    const tone t = tone_of(v[3], rate ? (double)pictures / rate : 1);
    AVFormatContext *file;
    AVStream *video, *sound = NULL;
    tn_image im;
    tn_error err;
    MUST(avformat_alloc_output_context2(&file, NULL, NULL, out) >= 0);
    MUST(!tn_image_load(&im, v[4], &err));
    AVCodecContext *x = open_pictures(file, v[1], &im, rate, &video),
                   *a = strcmp(v[3], "0") ? open_sound(file, t.codec, &sound) : NULL;
    MUST(avio_open(&file->pb, out, AVIO_FLAG_WRITE) >= 0 && avformat_write_header(file, NULL) >= 0);
    for (int i = 0; i < pictures; i++) {
        tn_image_free(&im);
        MUST(!tn_image_load(&im, v[4 + i], &err));
        write_picture(file, video, x, &im, picture_time(i, rate) + llround(start / av_q2d(x->time_base)));
    }
    MUST(avcodec_send_frame(x, NULL) >= 0);
    drain(file, video, x);
    if (a) write_sound(file, sound, a, &t);
    MUST(av_write_trailer(file) >= 0 && avio_closep(&file->pb) >= 0);
    tn_image_free(&im);
    avcodec_free_context(&x);
    avcodec_free_context(&a);
    avformat_free_context(file);
}

/* For each stream: its codec, packets, and a sum over the packets' bytes; of video also size, rate and the packets' times. */
static void tell(const char *path)
{
    AVFormatContext *file = NULL;
    MUST(avformat_open_input(&file, path, NULL, NULL) >= 0 && avformat_find_stream_info(file, NULL) >= 0);
    AVPacket *p = av_packet_alloc();
    int count[8] = {0};
    unsigned long long sum[8] = {0};
    double first[8] = {0}, last[8] = {0};
    while (av_read_frame(file, p) >= 0) {
        const int i = p->stream_index & 7;
        const double t = (double)p->pts * av_q2d(file->streams[i]->time_base);
        if (!count[i]++ || t < first[i]) first[i] = t;
        if (t > last[i]) last[i] = t;
        for (int k = 0; k < p->size; k++) sum[i] = sum[i] * 1099511628211ULL + p->data[k];
        av_packet_unref(p);
    }
    for (unsigned i = 0; i < file->nb_streams && i < 8; i++) {
        const AVStream *s = file->streams[i];
        printf("%s %s packets %d", s->codecpar->codec_type == AVMEDIA_TYPE_VIDEO ? "video" : "sound",
               avcodec_get_name(s->codecpar->codec_id), count[i]);
        if (s->codecpar->codec_type == AVMEDIA_TYPE_VIDEO)
            printf(" size %dx%d rate %.3f from %.3f to %.3f\n", s->codecpar->width, s->codecpar->height, av_q2d(s->avg_frame_rate),
                   first[i], last[i]);
        else printf(" sum %llx\n", sum[i]);
    }
    av_packet_free(&p);
    avformat_close_input(&file);
}

/* The largest difference between two videos' pixels, of frames of one number. */
static void differ(const char *a, const char *b)
{
    tn_video_in *v[2];
    tn_error err;
    int most = 0;
    MUST(!tn_video_open(&v[0], a, &err) && !tn_video_open(&v[1], b, &err));
    const size_t n = 3 * (size_t)tn_video_describe(v[0])->width * (size_t)tn_video_describe(v[0])->height;
    for (;;) {
        tn_video_frame f[2];
        bool end[2];
        for (int i = 0; i < 2; i++) MUST(!tn_video_next(v[i], &f[i], &end[i], &err));
        if (end[0] || end[1]) break;
        for (size_t k = 0; k < n; k++) {
            const int d = abs(f[0].rgb[k] - f[1].rgb[k]);
            most = d > most ? d : most;
        }
        free(f[0].rgb);
        free(f[1].rgb);
    }
    for (int i = 0; i < 2; i++) tn_video_close(v[i]);
    printf("%d\n", most);
}

int main(int n, char **v)
{
    av_log_set_level(AV_LOG_ERROR);
    if (n == 3 && !strcmp(v[1], "--tell")) tell(v[2]);
    else if (n == 4 && !strcmp(v[1], "--differ")) differ(v[2], v[3]);
    else if (n > 5) make(n - 1, v + 1);
    else return fprintf(stderr, "usage: tn-clip OUT CODEC RATE[@START] SOUND PICTURE...\n"), 2;
    return 0;
}
