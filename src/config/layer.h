/** One layer of a configuration (a file, an override) before it joins the others: each key under its one name. */
#ifndef TN_LAYER_H
#define TN_LAYER_H
#include "yaml_tree.h"

/**
 * Keys under another name (training.lora, bitsandbytes' bnb_4bit_quant_type ...) move to the schema's, so that later layers win
 * whatever name they use; transformers' load_in_4bit and load_in_8bit switch quantisation on, and off what `before`, the layers so
 * far, switched on. Two names of one thing with different values in one layer are an error with its place.
 */
int tn_layer_settle(tn_ynode *root, tn_ynode *before, tn_error *err);
/** The node of a dotted name, or NULL. */
tn_ynode *tn_layer_find(tn_ynode *root, const char *name);
/** The schema's name of a key; buf is used where it differs. */
const char *tn_layer_name(const char *name, char *buf, size_t n);
#endif
