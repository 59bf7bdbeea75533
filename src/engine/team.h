/** The devices of a run and what each has of the model: one member for every stage of every replica (split.h). */
#ifndef TN_TEAM_H
#define TN_TEAM_H
#include "session.h"
#include "split.h"
#include <tracknet/run.h>

typedef struct tn_member {
    tn_dev *dev;
    tn_session *session;
    int replica, stage, n_stages;
    int first, last; /* layers; the whole model's where there is one member */
    int window;      /* backbone layers whose frozen weights are on the device at once (stream.h); 0: all of them */
} tn_member;

typedef struct tn_team {
    tn_split split;
    tn_dev **dev;
    int n_dev;
    tn_member *member; /* replica by replica, stage by stage */
    int n;
    char (*layers)[32]; /* names */
    int n_layers;
    int **stage_of; /* [replicas][n_layers] */
} tn_team;

/** Opens the devices that o->stages names, with the layers that it gives each; without stages one device, of a list the fastest,
 * with all of them. batch: images of a step. */
int tn_team_open(tn_team *t, const tn_model *m, int batch, const tn_run_options *o, const tn_log *log, tn_watch watch,
                 tn_error *err);
/** Stores and sessions. spec->held and spec->window are not looked at. */
int tn_team_store(tn_team *t, const tn_model *m, const tn_store_spec *spec, tn_error *err);
/** They are freed. */
void tn_team_unstore(tn_team *t);
void tn_team_close(tn_team *t);
/** The devices' names, separated by commas. */
void tn_team_names(const tn_team *t, char *out, size_t n);
#endif
