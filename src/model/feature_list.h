/**
 * What a backbone hands to a decoder: maps of the image at one or several scales. Neither knows the other; a ViT's one map and a
 * ConvNeXt's four stages differ in their number only.
 */
#ifndef TN_FEATURE_LIST_H
#define TN_FEATURE_LIST_H

enum { TN_MAX_FEATURES = 8 };

/** A map: a tensor of batch * (skip + height * width) rows of `channels`, positions row by row. */
typedef struct tn_feature {
    int tensor; /* id in the graph; -1: only the sizes are meant */
    int h, w, channels;
    int stride;       /* image pixels a position is apart from the next */
    int skip;         /* rows in front of each sample's map that are none of it: class token and registers */
    int own_h, own_w; /* the tensor's size where it is yet to be resized to h x w (tn_emit_project); 0: it has that size */
} tn_feature;

typedef struct tn_feature_list {
    tn_feature f[TN_MAX_FEATURES]; /* the finest first */
    int n;
} tn_feature_list;
#endif
