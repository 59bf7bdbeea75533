/** The configuration: three YAML files (data, model, training) merged, checked against one schema, overridden by key. */
#ifndef TRACKNET_CONFIG_H
#define TRACKNET_CONFIG_H
#include <stdbool.h>
#include <tracknet/error.h>
#include <tracknet/log.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_config tn_config;

/** Where a configuration comes from. Begin with TN_CONFIG_SOURCE_INIT; everything is borrowed for the call. */
typedef struct tn_config_source {
    unsigned version;
    const char *config_dir;              /**< NULL: ./configs where it exists, else the installed ones */
    const char *data, *model, *training; /**< names below config_dir/{data,model,training}/, or paths; NULL: tracknet,
                                              vit_heatmap, default */
    const char *merged;                  /**< one file with data:, model: and training:, as --dry-run prints; replaces the three */
    const char *const *overrides;        /**< "training.optimizer.lr=1e-4", "data.split.train_games=[game1,game2]" */
    int n_overrides;
    const tn_log *log; /**< where one warning for each unused key goes */
} tn_config_source;
#define TN_CONFIG_SOURCE_VERSION 1
#define TN_CONFIG_SOURCE_INIT    TN_INIT(TN_CONFIG_SOURCE_VERSION)

/** Loads, merges and checks. Errors name file:line:column, the key and the nearest known one. source NULL: the defaults.
 * On failure *out is NULL. Free with tn_config_free. */
TN_API int tn_config_load(tn_config **out, const tn_config_source *source, tn_error *err);
/** A copy of its own, without the log. */
TN_API int tn_config_copy(tn_config **out, const tn_config *c, tn_error *err);
/** NULL is fine. */
TN_API void tn_config_free(tn_config *c);

/** One more override, "key=value", the value as YAML. When it fails the configuration is as before; so with all setters. */
TN_API int tn_config_set(tn_config *c, const char *assignment, tn_error *err);
/** Typed setters by dotted key: the value is taken as it is, whatever characters it holds. A NULL text is YAML's null. A list
 * of whole numbers fills a size, [width, height], too. */
TN_API int tn_config_set_str(tn_config *c, const char *key, const char *value, tn_error *err);
TN_API int tn_config_set_int(tn_config *c, const char *key, long long value, tn_error *err);
TN_API int tn_config_set_real(tn_config *c, const char *key, double value, tn_error *err);
TN_API int tn_config_set_bool(tn_config *c, const char *key, bool value, tn_error *err);
TN_API int tn_config_set_list(tn_config *c, const char *key, const char *const *values, int n, tn_error *err);
TN_API int tn_config_set_ints(tn_config *c, const char *key, const int *values, int n, tn_error *err);

/** What stands there now; a key of another kind is TN_ERR_CONFIG. Texts are borrowed until the next setter; *value is NULL
 * where the configuration says null. tn_config_get_real takes whole numbers too. */
TN_API int tn_config_get_str(const tn_config *c, const char *key, const char **value, tn_error *err);
TN_API int tn_config_get_int(const tn_config *c, const char *key, long long *value, tn_error *err);
TN_API int tn_config_get_real(const tn_config *c, const char *key, double *value, tn_error *err);
TN_API int tn_config_get_bool(const tn_config *c, const char *key, bool *value, tn_error *err);

/** The whole configuration as YAML that loads again to the same (source.merged). *yaml is the caller's to free(). */
TN_API int tn_config_dump(const tn_config *c, char **yaml, tn_error *err);

#ifdef __cplusplus
}
#endif
#endif
