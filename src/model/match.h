/** Names and regular expressions over dotted module paths, by PEFT's rules (tuners_utils). */
#ifndef TN_MATCH_H
#define TN_MATCH_H
#include "fail.h"
#include "text.h"
#include <stdbool.h>

/** Equal, or ending with "." + item. */
bool tn_match_suffix(const char *module, const char *item);
/** Does the whole of `module` match the regular expression? A pattern that does not compile is TN_ERR_CONFIG naming `key`. */
int tn_match_full(bool *hit, const char *pattern, const char *module, const char *key, tn_error *err);
/** A key of rank_pattern or alpha_pattern: (.*\.)?(key)$ */
int tn_match_pattern(bool *hit, const char *pattern, const char *module, const char *key, tn_error *err);
/** The number of a module's layer as PEFT's layers_to_transform counts them: behind a component that one of `patterns` matches
 * (regular expressions, of which the first that fits anywhere decides), or without patterns behind any component but the first; -1:
 * none. */
int tn_match_layer(int *layer, const tn_strs *patterns, const char *module, const char *key, tn_error *err);
/** modules_to_save: is `item` a run of whole components of the path? */
bool tn_match_component(const char *path, const char *item);
#endif
