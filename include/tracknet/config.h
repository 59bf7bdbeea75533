/** The configuration: three YAML files (data, model, training) merged, checked against one schema, overridden by key. */
#ifndef TRACKNET_CONFIG_H
#define TRACKNET_CONFIG_H
#include <tracknet/error.h>
#include <tracknet/log.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_config tn_config;

/** Where a configuration comes from. Zero-initialise; everything is borrowed for the call. */
typedef struct tn_config_source {
    const char *config_dir;              /**< NULL: ./configs where it exists, else the installed ones */
    const char *data, *model, *training; /**< names below config_dir/{data,model,training}/, or paths; NULL: tracknet,
                                              vit_heatmap, default */
    const char *merged;                  /**< one file with data:, model: and training:, as --dry-run prints; replaces the three */
    const char *const *overrides;        /**< "training.optimizer.lr=1e-4", "data.split.train_games=[game1,game2]" */
    int n_overrides;
    const tn_log *log; /**< where one warning for each unused key goes */
} tn_config_source;

/** Loads, merges and checks. Errors name file:line:column, the key and the nearest known one. Free with tn_config_free. */
int tn_config_load(tn_config **out, const tn_config_source *source, tn_error *err);
void tn_config_free(tn_config *c);
/** One more override, "key=value". */
int tn_config_set(tn_config *c, const char *assignment, tn_error *err);
/** The whole configuration as YAML that loads again to the same (source.merged). *yaml is the caller's to free(). */
int tn_config_dump(const tn_config *c, char **yaml, tn_error *err);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
