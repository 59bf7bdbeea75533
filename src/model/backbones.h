/** Shared by the backbone files; a new family is one such file and one row of backbones.c. */
#ifndef TN_BACKBONES_H
#define TN_BACKBONES_H
#include "jsonio.h"
#include "model.h"

/* vit_config.c */

/** hidden_size, layers, heads, patch, eps (with the family's default), hidden_act; checked. */
int tn_vit_common(tn_vit *v, const json_t *config, float eps, tn_error *err);
/** pos_h and pos_w from image_size (a number or a pair). */
int tn_vit_image_grid(tn_vit *v, const json_t *config, int dflt, tn_error *err);
#endif
