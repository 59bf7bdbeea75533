/** A heatmap and an overlay for every frame. */
#ifndef TN_PICTURES_H
#define TN_PICTURES_H
#include "flow.h"
#include "text.h"
#include <tracknet/train.h>

typedef struct tn_pictures {
    const char *outdir;
    int heat_width, heat_height;
    tn_strs names, folders; /* of the images; of the adapters below outdir: none without adapters */
} tn_pictures;

/** Names that keep the pictures of all images, with each of the adapters, apart. Free with tn_pictures_free, also on failure. */
int tn_pictures_begin(tn_pictures *out, const char *outdir, const tn_strs *images, const tn_run_options *o, tn_error *err);
void tn_pictures_free(tn_pictures *p);
/** Writes NAME_heatmap.png and NAME_overlay.png of s->index; draws into s. adapter: index, or -1. */
int tn_pictures_save(const tn_pictures *p, int adapter, tn_shot *s, const tn_sight *a, tn_error *err);
#endif
