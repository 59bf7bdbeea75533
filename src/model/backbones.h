/** Shared by the backbone files; a new family is one such file and one row of backbones.c. */
#ifndef TN_BACKBONES_H
#define TN_BACKBONES_H
#include "jsonio.h"
#include "model.h"

/** Of a struct that holds nothing but names. */
#define TN_NAMES(names) (const char *const *)&(names), sizeof(names) / sizeof(const char *)

extern const tn_architecture tn_vit_architecture;      /* vit.c */
extern const tn_architecture tn_convnext_architecture; /* convnext.c */

/* vit_config.c, convnext_config.c */

/** hidden_act. */
int tn_common_config(tn_fn *act, const json_t *config, tn_error *err);
/** hidden_size, layers, heads, patch, eps (with the family's default), hidden_act; checked. */
int tn_vit_common(tn_backbone *b, const json_t *config, float eps, tn_error *err);
/** pos_h and pos_w from image_size (a number or a pair). */
int tn_vit_image_grid(tn_backbone *b, const json_t *config, int dflt, tn_error *err);
/** hidden_sizes, depths, patch_size, layer_scale_init_value, hidden_act; checked. */
int tn_convnext_common(tn_backbone *b, const json_t *config, tn_error *err);
#endif
