/** The values behind the keys of the schema (schema.c), inside the configuration room. */
#ifndef TN_VALUES_H
#define TN_VALUES_H
#include "settings.h"
#include "yaml_tree.h"

/** Sets the field of k from a node; the error names the node's place and what the key takes. */
int tn_value_set(tn_settings *s, const tn_key *k, const tn_ynode *n, tn_error *err);
/** Sets it to the schema's default, if there is one. */
int tn_value_set_default(tn_settings *s, const tn_key *k, tn_error *err);
/** Frees what the settings own and zeroes them. */
void tn_values_free(tn_settings *s);
#endif
