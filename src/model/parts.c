/* Slots of the modules that backbones and decoders are made of. */
#include "emit.h"

#include <stdio.h>
#include <string.h>

static int slot(const tn_parts *p, const char *name, tn_slot s)
{
    char full[200];
    snprintf(full, sizeof full, "%s%s", p->prefix, name);
    s.group = p->group;
    s.backbone = p->group == TN_GROUP_BACKBONE;
    s.trainable = !s.buffer && (p->group == TN_GROUP_HEAD || p->m->train_backbone);
    return tn_model_add(p->m, s, full) < 0 ? tn_oom(p->err) : 0;
}

int tn_parts_add(const tn_parts *p, const char *name, int ndim, const int *shape, tn_init init)
{
    tn_slot s = {.ndim = ndim, .init = init};
    memcpy(s.shape, shape, sizeof *shape * (size_t)ndim);
    s.init_fan = ndim > 1 ? shape[1] : 1;
    return slot(p, name, s);
}

int tn_parts_vector(const tn_parts *p, const char *name, int n, tn_init init)
{
    return tn_parts_add(p, name, 1, &n, init);
}

int tn_parts_linear(const tn_parts *p, const char *module, int out, int in, bool bias, bool joins)
{
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    const tn_slot w = {.ndim = 2, .shape = {out, in}, .init = TN_INIT_TRUNC, .init_fan = in, .linear = true, .joins = joins};
    TN_TRY(slot(p, name, w));
    if (!bias) return 0;
    snprintf(name, sizeof name, "%s.bias", module);
    return tn_parts_vector(p, name, out, TN_INIT_ZERO);
}

int tn_parts_norm(const tn_parts *p, const char *module, int n)
{
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    TN_TRY(tn_parts_vector(p, name, n, TN_INIT_ONE));
    snprintf(name, sizeof name, "%s.bias", module);
    return tn_parts_vector(p, name, n, TN_INIT_ZERO);
}

int tn_parts_batch_norm(const tn_parts *p, const char *module, int n)
{
    char name[160];
    tn_slot s = {.ndim = 1, .shape = {n}, .init = TN_INIT_ZERO, .init_fan = 1, .buffer = true};
    TN_TRY(tn_parts_norm(p, module, n));
    snprintf(name, sizeof name, "%s.running_mean", module);
    TN_TRY(slot(p, name, s));
    s.init = TN_INIT_ONE;
    snprintf(name, sizeof name, "%s.running_var", module);
    return slot(p, name, s);
}

int tn_parts_conv(const tn_parts *p, const char *module, int out, int in, int k, bool bias)
{
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    const tn_slot w = {.ndim = 4, .shape = {out, in, k, k}, .init = TN_INIT_KAIMING_OUT, .init_fan = out * k * k};
    TN_TRY(slot(p, name, w));
    if (!bias) return 0;
    snprintf(name, sizeof name, "%s.bias", module);
    const tn_slot b = {.ndim = 1, .shape = {out}, .init = TN_INIT_CONV_BIAS, .init_fan = out};
    return slot(p, name, b);
}

int tn_parts_kernel(const tn_parts *p, const char *module, int out, int in, int k)
{
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    TN_TRY(tn_parts_add(p, name, 4, (int[]){out, in, k, k}, TN_INIT_TRUNC));
    snprintf(name, sizeof name, "%s.bias", module);
    return tn_parts_vector(p, name, out, TN_INIT_ZERO);
}

void tn_parts_plain(const tn_parts *p, int fan_in)
{
    tn_slot *weight = &p->m->slots[p->m->n_slots - 2];
    weight->init = TN_INIT_LORA_A, weight->init_fan = fan_in;
}

int tn_parts_pixels(const tn_parts *p, const char *module, int out, int side)
{
    const int first = p->m->n_slots, frames = p->m->frames;
    TN_TRY(tn_parts_kernel(p, module, out, 3 * frames, side));
    p->m->slots[first].frames = frames;
    return 0;
}
