/** The values behind the keys of the schema (schema.c), inside the configuration room. */
#ifndef TN_VALUES_H
#define TN_VALUES_H
#include "log.h"
#include "settings.h"
#include "yaml_tree.h"

/** The file of nodes that come from KEY=VALUE. */
#define TN_COMMAND_LINE "command line"

/** Sets the field of k from a node; the error names the node's place and what the key takes. */
int tn_value_set(tn_settings *s, const tn_key *k, const tn_ynode *n, tn_error *err);
/** Sets it to the schema's default, if there is one. */
int tn_value_set_default(tn_settings *s, const tn_key *k, tn_error *err);
/** Whether a number or a switch is what the schema's default says. */
int tn_value_is_default(bool *is, const tn_settings *s, const tn_key *k, tn_error *err);
/** The key of that name, or NULL. */
const tn_key *tn_key_find(const char *name);
/** The key of that name or of another name of it (layer.h), or NULL. */
const tn_key *tn_key_find_moved(const char *name);
/** The value of KEY=VALUE for key k (NULL: a section): YAML, but for a text key, and one name of a list, the text as it is. It is
 * YAML there too in quotes, where the key may be null as null or nothing at all, and for lists in brackets. */
int tn_override_value(tn_ynode **out, const tn_key *k, const char *text, tn_error *err);
/** Puts a value (taken over) under a dotted key and settles; on failure the configuration is as before. */
int tn_config_put(tn_config *c, const char *key, tn_ynode *value, tn_error *err);
/** Whether the field is a text, path or not. */
static inline bool tn_key_is_text(const tn_key *k)
{
    return k->type == TN_S_STR || k->type == TN_S_PATH;
}
/** Settles what keys of the training section mean together: spellings of precision, amp beside it, early stopping without a
 * patience, numbers that the choice beside them does not read. tree: what was read, for which keys are there. */
int tn_settle_training(tn_settings *s, tn_ynode *tree, const tn_log *log, tn_error *err);
/** Whether the windows of data.sequence and the model that takes them go together. */
int tn_settle_frames(const tn_settings *s, const tn_log *log, tn_error *err);
/** A backbone's folder that is not there from the working folder is looked for from the folder of the file that names it. */
int tn_settle_backbone(tn_settings *s, tn_ynode *tree, tn_error *err);
/** Frees what the settings own and zeroes them. */
void tn_values_free(tn_settings *s);
#endif
