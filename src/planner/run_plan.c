#include "run_plan.h"
#include "clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- devices that are here ---- */

static int room_for(tn_run_plan *p, int devices, int speeds, tn_error *err)
{
    p->device = calloc((size_t)devices, sizeof *p->device);
    p->name = calloc((size_t)devices, sizeof *p->name);
    p->speed = calloc((size_t)speeds, sizeof *p->speed);
    if (!p->device || !p->name || !p->speed) return tn_oom(err);
    p->problem.device = p->device;
    p->problem.n_devices = devices;
    return 0;
}

/* Processors compute on the same cores, whichever platform shows them. */
static void describe(tn_run_plan *p, int i, const tn_device_info *d, const tn_speed *s)
{
    snprintf(p->name[i], sizeof p->name[i], "%s", d->name);
    p->device[i] = (tn_planner_device){.name = p->name[i],
                                       .id = d->index,
                                       .shares = d->type == TN_DEVICE_CPU,
                                       .memory = s->memory,
                                       .bandwidth = s->bandwidth,
                                       .latency = s->latency,
                                       .update = s->update,
                                       .time = s->time};
}

static void slow_down(tn_speed *s, int layers, double factor)
{
    for (int i = 0; i < layers; i++) {
        tn_line *const lines[] = {&s->time[i].forward, &s->time[i].backward, &s->time[i].again};
        for (size_t k = 0; k < TN_COUNT(lines); k++) lines[k]->fixed *= factor, lines[k]->image *= factor;
    }
}

static int measure_devices(tn_run_plan *p, const int *index, int n, const tn_run_options *o, const tn_slowness *slow, tn_error *err)
{
    tn_device_info **v = NULL;
    int all;
    TN_TRY(room_for(p, n, n, err));
    TN_TRY(tn_device_list(&v, &all, err));
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        rc = tn_speed_of(&p->speed[p->n_speeds], p->e, &p->layers, index[i], o, err);
        if (!rc && slow && index[i] < slow->n) slow_down(&p->speed[p->n_speeds], p->layers.n, slow->factor[index[i]]);
        if (!rc) describe(p, i, v[index[i]], &p->speed[p->n_speeds++]);
    }
    tn_device_list_free(v);
    return rc;
}

/* ---- devices that are described ---- */

static int describe_kind(tn_run_plan *p, const tn_described *d, tn_error *err)
{
    tn_speed *s = &p->speed[p->n_speeds];
    s->time = calloc((size_t)p->layers.n, sizeof *s->time);
    if (!s->time) return tn_oom(err);
    p->n_speeds++;
    tn_machine_time(s->time, d, &p->layers);
    s->update = tn_machine_update(d);
    return 0;
}

static int describe_machine(tn_run_plan *p, tn_error *err)
{
    const tn_machine *m = &p->machine;
    int host_size = 0, at = 0;
    for (int k = 0; k < m->n; k++) host_size += m->device[k].count;
    TN_TRY(room_for(p, host_size * m->nodes, m->n, err));
    for (int k = 0; k < m->n; k++) TN_TRY(describe_kind(p, &m->device[k], err));
    for (int host = 0; host < m->nodes; host++)
        for (int k = 0; k < m->n; k++)
            for (int i = 0; i < m->device[k].count; i++, at++) {
                const tn_described *d = &m->device[k];
                snprintf(p->name[at], sizeof p->name[at], "%s", d->name);
                p->device[at] = (tn_planner_device){
                    p->name[at], at, host, 0, d->memory, d->bandwidth, d->latency, p->speed[k].update, p->speed[k].time};
            }
    p->problem.bandwidth = m->bandwidth;
    p->problem.latency = m->latency;
    return 0;
}

/* ---- the run ---- */

/* The configuration may say that activations are made again, wherever they can be. */
static void always_again(tn_run_plan *p)
{
    for (int i = 0; i < p->layers.n; i++) {
        tn_planner_layer *l = &p->layers.layer[i];
        if (!l->again) continue;
        l->again = false;
        l->transient = l->transient_again;
        l->kept = l->kept_again;
        for (int k = 0; k < p->n_speeds; k++) {
            tn_layer_time *t = &p->speed[k].time[i];
            t->backward.fixed += t->again.fixed;
            t->backward.image += t->again.image;
        }
    }
}

static void take_settings(tn_run_plan *p, const tn_settings *s)
{
    tn_planner_problem *q = &p->problem;
    q->layer = p->layers.layer;
    q->n_layers = p->layers.n;
    q->batch = s->training.batch_size;
    q->min_micro = s->training.micro > 0 ? TN_MIN(s->training.micro, q->batch) : s->training.min_micro;
    q->max_micro = s->training.micro > 0 ? q->min_micro : 0;
    if (s->training.checkpointing) always_again(p);
}

static double alone(const tn_run_plan *p, int device)
{
    tn_planner_problem one = p->problem;
    tn_planner_result r;
    tn_error unread;
    one.device = &p->device[device];
    one.n_devices = 1;
    if (tn_planner_solve(&r, &one, &unread)) return INFINITY;
    const double seconds = r.seconds;
    tn_planner_free(&r);
    return seconds;
}

/* Each kind once. */
static int find_alone(tn_run_plan *p, tn_error *err)
{
    p->alone = calloc((size_t)p->problem.n_devices, sizeof *p->alone);
    if (!p->alone) return tn_oom(err);
    for (int i = 0; i < p->problem.n_devices; i++) {
        int k = 0;
        while (p->device[k].time != p->device[i].time) k++;
        p->alone[i] = k < i ? p->alone[k] : alone(p, i);
    }
    return 0;
}

static int solve(tn_run_plan *p, const tn_split *by_hand, tn_error *err)
{
    const double begin = tn_now();
    TN_TRY(by_hand->n_replicas ? tn_planner_judge(&p->result, &p->problem, by_hand, err)
                               : tn_planner_solve(&p->result, &p->problem, err));
    p->planning_seconds = tn_now() - begin;
    TN_TRY(find_alone(p, err));
    return tn_timeline_play(&p->timeline, &p->result, err);
}

/* The engine is on the first device of the list, or where a machine is described on any. */
static int open_engine(tn_run_plan *p, const tn_settings *s, const tn_run_options *o, int index, tn_error *err)
{
    char device[16];
    tn_run_options one = *o;
    snprintf(device, sizeof device, "%d", index);
    one.device = device;
    one.stages = NULL;
    TN_TRY(tn_engine_open(&p->e, s, &one, true, true, err));
    return tn_layers_new(&p->layers, p->e, err);
}

/* A division by hand names its devices itself. */
static int read_by_hand(tn_split *split, int **index, int *n, const tn_run_plan *p, const char *stages, int batch, tn_error *err)
{
    int all = 0;
    TN_TRY(tn_split_read(split, stages, &(tn_layer_names){p->layers.names, p->layers.n}, batch, err));
    for (int r = 0; r < split->n_replicas; r++) all += split->replica[r].n_stages;
    free(*index);
    *n = 0;
    *index = malloc(sizeof **index * (size_t)all);
    if (!*index) return tn_oom(err);
    for (int r = 0; r < split->n_replicas; r++)
        for (int k = 0; k < split->replica[r].n_stages; k++) (*index)[(*n)++] = split->replica[r].stage[k].device;
    return 0;
}

int tn_run_plan_new(tn_run_plan *p, const tn_settings *s, const tn_run_options *o, const tn_schedule_options *what,
                    const tn_slowness *slow, tn_error *err)
{
    int *index = NULL, n = 0;
    tn_split by_hand = {0};
    *p = (tn_run_plan){0};
    int rc = what->machine && what->stages
                 ? tn_fail(err, TN_ERR_ARGUMENT, "stages by hand name devices of this machine, not of a described one")
                 : 0;
    if (!rc && what->machine) rc = tn_machine_read(&p->machine, what->machine, err);
    if (!rc) rc = tn_device_select_list(&index, &n, &p->left, o->device, err);
    if (!rc) rc = open_engine(p, s, o, index[0], err);
    if (!rc && what->stages) rc = read_by_hand(&by_hand, &index, &n, p, what->stages, s->training.batch_size, err);
    if (!rc) rc = p->machine.n ? describe_machine(p, err) : measure_devices(p, index, n, o, slow, err);
    if (!rc) {
        take_settings(p, s);
        rc = solve(p, &by_hand, err);
    }
    free(index);
    tn_split_free(&by_hand);
    if (rc) tn_run_plan_free(p);
    return rc;
}

void tn_run_plan_free(tn_run_plan *p)
{
    tn_timeline_free(&p->timeline);
    tn_planner_free(&p->result);
    for (int i = 0; i < p->n_speeds; i++) tn_speed_free(&p->speed[i]);
    free(p->speed);
    free(p->device);
    free(p->name);
    free(p->alone);
    free(p->left);
    tn_machine_free(&p->machine);
    tn_layers_free(&p->layers);
    tn_engine_close(p->e);
    *p = (tn_run_plan){0};
}

int tn_run_plan_stages(char **out, const tn_run_plan *p, tn_error *err)
{
    tn_split split;
    tn_text text = {0};
    TN_TRY(tn_planner_split(&split, &p->result, &p->problem, err));
    tn_split_text(&text, &split, &(tn_layer_names){p->layers.names, p->layers.n});
    tn_split_free(&split);
    *out = text.s;
    return text.oom ? tn_oom(err) : 0;
}
