/* Find the ball in raw RGB frames from standard input, as a camera or ffmpeg -f rawvideo -pix_fmt rgb24 gives them:
 * camera CHECKPOINT WIDTH HEIGHT < frames */
#include <stdio.h>
#include <stdlib.h>
#include <tracknet/tracknet.h>

static int watch(const char *checkpoint, int width, int height, tn_error *err)
{
    tn_run_options options = TN_RUN_OPTIONS_INIT;
    options.checkpoint = checkpoint;
    const size_t bytes = (size_t)width * (size_t)height * 3;
    unsigned char *pixels = malloc(bytes);
    tn_model_handle *model = NULL;
    tn_rgb frame = {pixels, width, height, 0};
    tn_ball ball;
    int rc = tn_model_open(&model, NULL, &options, err);
    while (!rc && pixels && fread(pixels, 1, bytes, stdin) == bytes) {
        rc = tn_model_predict(model, &frame, 1, &ball, NULL, err);
        if (!rc) printf("%.2f %.2f %.4f\n", ball.x, ball.y, ball.confidence);
    }
    tn_model_close(model);
    free(pixels);
    return rc;
}

int main(int argc, char **argv)
{
    tn_error err;
    const int width = argc == 4 ? atoi(argv[2]) : 0, height = argc == 4 ? atoi(argv[3]) : 0;
    if (width < 1 || height < 1) return printf("usage: camera CHECKPOINT WIDTH HEIGHT < frames\n"), 2;
    if (!watch(argv[1], width, height, &err)) return 0;
    fprintf(stderr, "camera: %s\n", err.message);
    return 1;
}
