/* tn-heat CHECKPOINT PIXELS HEAT: raw float32 pixel values [B, 3 * frames, H, W] in, raw heatmaps [B, h, w, heatmaps] out, through
 * the checkpoint's own configuration; what tools/check_onnx.py compares other runtimes with. */
#include "checkpoint.h"
#include "files.h"

#include <stdio.h>
#include <stdlib.h>

static int forward(tn_engine *e, const float *pixels, int batch, float *heat, tn_error *err)
{
    tn_exec *x;
    tn_pass pass = tn_engine_eval_pass(e, batch, false);
    pass.frames = false;
    TN_TRY(tn_session_get(&x, e->session, &pass, err));
    TN_TRY(tn_session_upload(e->session, x, x->g.pixels, pixels, err));
    TN_TRY(tn_session_run(e->session, x, err));
    return tn_session_download(e->session, x, x->g.heat, heat, err);
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    tn_config *c = NULL;
    tn_engine *e = NULL;
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .checkpoint = argv[1]};
    char *pixels = NULL;
    float *heat = NULL;
    size_t bytes = 0;
    if (argc != 4) return fprintf(stderr, "usage: tn-heat CHECKPOINT PIXELS HEAT\n"), 2;
    int rc = tn_checkpoint_config(&c, argv[1], NULL, 0, NULL, &err);
    if (!rc) rc = tn_engine_open(&e, tn_config_settings(c), &o, false, false, &err);
    if (!rc) rc = tn_checkpoint_load(argv[1], e, &err);
    if (!rc) rc = tn_read_file(&pixels, &bytes, argv[2], &err);
    if (!rc) {
        const size_t one = (size_t)(3 * e->model->frames) * (size_t)e->image_w * (size_t)e->image_h * sizeof(float);
        const size_t batch = bytes / one, area = tn_engine_heat_size(e);
        heat = malloc(batch * area * sizeof *heat + 4);
        rc = heat ? forward(e, (const float *)(const void *)pixels, (int)batch, heat, &err) : tn_oom(&err);
        if (!rc) rc = tn_write_file(argv[3], heat, batch * area * sizeof *heat, &err);
    }
    if (rc) fprintf(stderr, "tn-heat: %s\n", err.message);
    free(pixels);
    free(heat);
    tn_engine_close(e);
    tn_config_free(c);
    return rc != 0;
}
