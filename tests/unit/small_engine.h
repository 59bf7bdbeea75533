/** What the tests of the engine's steps share: the smallest model's configuration, and the parameters that training has moved. */
#ifndef TN_SMALL_ENGINE_H
#define TN_SMALL_ENGINE_H
#include "engine.h"
#include "../testlib.h"

#include <stdlib.h>

static inline void must(int rc, const tn_error *e)
{
    ck_assert_msg(rc == 0, "%s", e->message);
}

/* A model of configs/model with n keys of its own, trained as `overfit` says. The caller frees it with tn_config_free. */
static inline tn_config *small_config(const char *model, const char *const *keys, int n)
{
    tn_config *c;
    tn_error e = {0};
    const tn_config_source s = {.version = TN_CONFIG_SOURCE_VERSION,
                                .config_dir = SOURCE_DIR "/configs",
                                .model = model,
                                .training = "overfit",
                                .overrides = keys,
                                .n_overrides = n};
    must(tn_config_load(&c, &s, &e), &e);
    return c;
}

/* All parameters but the backbone's, one after the other, *n in all. Caller frees. */
static inline float *trained_params(const tn_engine *e, size_t *n)
{
    tn_error err = {0};
    float *params = NULL;
    for (int pass = 0; pass < 2; pass++) {
        size_t at = 0;
        for (int i = 0; i < e->model->n_slots; i++) {
            const tn_slot *s = &e->model->slots[i];
            if (s->group == TN_GROUP_BACKBONE) continue;
            if (pass) must(tn_store_get(e->session->store, i, params + at, &err), &err);
            at += (size_t)s->rows * (size_t)s->cols;
        }
        if (!pass) params = malloc((*n = at) * sizeof *params);
    }
    return params;
}
#endif
