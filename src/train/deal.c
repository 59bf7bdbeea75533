#include "deal.h"
#include "recipe.h"

#include <stdlib.h>
#include <string.h>

int tn_deal_new(tn_deal *d, const tn_settings *s, int n, tn_error *err)
{
    const int size = s->training.batch_size;
    *d = (tn_deal){.frames = n, .share = {size, 0, size}};
    if (s->training.drop_last && n >= size) d->frames -= n % size;
    d->batches = tn_recipe_limit(TN_CEIL_DIV(d->frames, size), s->training.limit_train);
    d->order = malloc(2 * sizeof *d->order * (size_t)n);
    d->own = d->order + n;
    return d->order ? 0 : tn_oom(err);
}

void tn_deal_free(tn_deal *d)
{
    free(d->order);
}

int tn_deal_frames(const tn_deal *d, long long b)
{
    return (int)TN_MIN((long long)d->share.batch, d->frames - b * d->share.batch);
}

int tn_deal_start(tn_deal *d, tn_loader *l, int n, uint64_t seed, int epoch, tn_error *err)
{
    const int size = d->share.batch;
    int own = 0;
    tn_shuffle(d->order, n, seed, epoch);
    for (int b = 0; b * size < d->frames; b++) {
        const int share = tn_share_frames(&d->share, tn_deal_frames(d, b));
        memcpy(d->own + own, d->order + b * size + d->share.first, sizeof *d->own * (size_t)share);
        own += share;
    }
    return tn_loader_start(l, d->own, own, epoch, err);
}

tn_step_part tn_deal_part(const tn_deal *d, const tn_engine *e, const tn_dataset *data, int b)
{
    const int n = tn_deal_frames(d, b), *order = d->order + b * d->share.batch;
    int visible = 0;
    for (int i = 0; i < n; i++) visible += data->f[order[i]].visible;
    return (tn_step_part){.first = d->share.first, .counted = tn_engine_counts(e, n, visible)};
}
