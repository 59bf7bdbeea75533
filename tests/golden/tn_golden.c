/* tn-golden FOLDER [options]: runs every case of a folder in the format of tests/golden/README.md on one device and
 * prints, case by case, the largest relative error ||a-b||/||b|| of each kind of value. Exit 1 when a bound is passed. */
#include "golden.h"
#include "../testdev.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

golden_options options;

/* The output of a name, or -1. */
static int output_of(const tn_graph *g, const char *name)
{
    for (int i = 0; i < g->n_t; i++)
        if (g->t[i].kind == TN_G_OUTPUT && !strcmp(g->t[i].name, name)) return i;
    return -1;
}

/* Every hidden state that is a map; DINOv3's ConvNeXts have the image in front of theirs. */
static int compare_hidden(test *t, tn_exec *e, const char *name, tn_error *err)
{
    int id = output_of(&e->g, name), state;
    if (id >= 0) return compare_tensor(t, e, id, HIDDEN, name, err);
    if (sscanf(name, "hidden_states.%d", &state) != 1 || state < t->model->backbone.first_state) return 0;
    return tn_fail(err, TN_ERR_FORMAT, "%s: there is no %s", t->dir, name);
}

/* last_hidden_state, which is the last of them or made of it, perhaps with what is pooled in front. */
static int compare_last(test *t, tn_exec *e, tn_error *err)
{
    char name[48] = "last_hidden_state";
    const tn_st_tensor *want = tn_st_find(t->golden, name);
    const int pooled = output_of(&e->g, "pooler_output");
    if (!want || want->ndim != 4) return pooled < 0 ? 0 : compare_tensor(t, e, pooled, HIDDEN, name, err);
    snprintf(name, sizeof name, "hidden_states.%d", t->model->backbone.last_state);
    return compare_tensor(t, e, output_of(&e->g, name), HIDDEN, "last_hidden_state", err);
}

static int run_backbone(test *t, tn_error *err)
{
    tn_pass p = {.batch = t->batch,
                 .act = options.act,
                 .hidden = true,
                 .unfused = options.unfused,
                 .merged = options.merged,
                 .norms = options.merged};
    tn_exec *e;
    if (options.merged) TN_TRY(tn_store_merge(t->session->store, err));
    TN_TRY(tn_session_get(&e, t->session, &p, err));
    TN_TRY(upload(t, e, e->g.pixels, "pixel_values", err));
    TN_TRY(tn_session_run(t->session, e, err));
    for (int i = 0; i < t->golden->n; i++) TN_TRY(compare_hidden(t, e, t->golden->t[i].name, err));
    TN_TRY(compare_last(t, e, err));
    return compared(HIDDEN) ? 0 : tn_fail(err, TN_ERR_FORMAT, "%s: no hidden state to compare", t->dir);
}

static int run_matrices(test *t, tn_error *err)
{
    tn_st_file *model = NULL;
    TN_TRY(test_device(&t->dev, options.device, err));
    TN_TRY(open_st(&model, t->dir, "model.safetensors", err));
    int rc = run_quantized(t->dev, t->golden, model, err);
    tn_st_close(model);
    return rc;
}

static int run_model(test *t, tn_error *err)
{
    TN_TRY(build(t, err));
    if (options.act == TN_BF16) TN_TRY(bounds_bf16(t->dir, err));
    return t->spec ? run_training(t, err) : run_backbone(t, err);
}

static int run_case(const char *folder, const char *name)
{
    test t = {.dir = tn_path(folder, name)};
    tn_error err = {0};
    bounds_begin(options.verbose);
    int rc = open_files(&t, &err);
    if (!rc) rc = is_quantized(&t) ? run_matrices(&t, &err) : run_model(&t, &err);
    int bad = rc != 0;
    printf("%s\n", name);
    if (rc) printf("  FAILED: %s\n", err.message);
    bad |= bounds_end();
    close_test(&t);
    return bad;
}

static int usage(void)
{
    printf("usage: tn-golden FOLDER [--device D] [--case PATTERN] [--recompute 0..4] [--unfused] [--merged] [--dtype "
           "float32|bfloat16|float16]\n"
           "                 [--verbose] [--bound KIND=VALUE ...]\n");
    bounds_list();
    return 2;
}

int main(int argc, char **argv)
{
    const char *folder = NULL, *only = NULL;
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--device")) options.device = v, i++;
        else if (!strcmp(argv[i], "--case")) only = v, i++;
        else if (!strcmp(argv[i], "--recompute")) options.recompute = (tn_recompute)atoi(v), i++;
        else if (!strcmp(argv[i], "--dtype"))
            options.act = !strcmp(v, "bfloat16") ? TN_BF16 : !strcmp(v, "float16") ? TN_F16 : TN_F32, i++;
        else if (!strcmp(argv[i], "--unfused")) options.unfused = true;
        else if (!strcmp(argv[i], "--merged")) options.merged = true;
        else if (!strcmp(argv[i], "--verbose")) options.verbose = true;
        else if (!strcmp(argv[i], "--bound") && bound_set(v)) i++;
        else if (argv[i][0] != '-' && !folder) folder = argv[i];
        else return usage();
    }
    if (!folder) return usage();
    tn_strs names = {0};
    tn_error err = {0};
    if (tn_list_dir(&names, folder, &err)) {
        fprintf(stderr, "tn-golden: %s\n", err.message);
        return 2;
    }
    int run = 0, failed = 0;
    for (int i = 0; i < names.n; i++) {
        char *g = tn_strf("%s/%s/golden.safetensors", folder, names.v[i]);
        if (tn_is_file(g) && (!only || !fnmatch(only, names.v[i], FNM_EXTMATCH))) {
            run++;
            failed += run_case(folder, names.v[i]);
        }
        free(g);
    }
    tn_strs_free(&names);
    printf("%d passed, %d failed\n", run - failed, failed);
    return failed || !run;
}
