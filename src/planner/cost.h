/** The cost model of planner.h: what stages take at one micro-batch. */
#ifndef TN_COST_H
#define TN_COST_H
#include "planner.h"

/** Sums over the layers a..b, in bytes at the table's micro-batch. */
typedef struct tn_run_sums {
    double weights, parameters, inputs, kept, peak;
    double rest, transient_again; /* rest: what layers that are no blocks keep less when they make it again */
} tn_run_sums;

/** A kind of devices: d stands for all of them. */
typedef struct tn_kind {
    const tn_planner_device *d;
    double slower;          /* 2: it has half of its cores */
    int n, per_host, hosts; /* how many; on one host; hosts that are alike */
    int set;                /* of hosts that are alike */
    const int *member;      /* [n], devices of the problem */
    /* prefix sums over the layers, at the table's micro-batch: [n_layers + 1] seconds of forward, of backward, and of what layers
     * that are no blocks make again; over the blocks: of what they do */
    double *forward, *backward, *rest_again, *block_again;
} tn_kind;

typedef struct tn_costs {
    const tn_planner_problem *p;
    int micro, n_blocks;
    tn_run_sums *run;   /* [n_layers][n_layers] */
    int *before;        /* [n_layers + 1]: blocks before a layer */
    double *block_less; /* [n_blocks + 1]: prefix sum of what blocks keep less when they make it again */
    tn_kind *kind;
    int n_kinds;
} tn_costs;

/** What a stage over a..b takes on a device of a kind. */
typedef struct tn_stage_cost {
    bool fits;
    int again;      /* blocks; -1: everything is kept */
    double compute; /* t */
    double link, update, bytes, activations;
} tn_stage_cost;

/** Memory for the tables of the kinds (borrowed, their prefix sums are filled). Free with tn_costs_free. */
int tn_costs_new(tn_costs *c, const tn_planner_problem *p, tn_kind *kind, int n_kinds, tn_error *err);
void tn_costs_free(tn_costs *c);
/** Fills the tables for a micro-batch. */
void tn_costs_at(tn_costs *c, int micro);
/** in_flight: micro-batches whose activations it holds. */
tn_stage_cost tn_cost_of_stage(const tn_costs *c, int kind, int a, int b, int in_flight);
/** Seconds of a micro-batch that goes over a device's link behind layer b, one way; 0 where nothing follows. */
double tn_cost_of_crossing(const tn_costs *c, const tn_planner_device *d, int b);
/** Seconds of a micro-batch on the network behind layer b, there and back. */
double tn_cost_of_network(const tn_costs *c, int b);
/** Seconds of the sum of gradients on a kind's link, and between so many hosts. */
double tn_cost_of_exchange(const tn_costs *c, int kind);
double tn_cost_of_hosts(const tn_planner_problem *p, int hosts);
/** Bits of the blocks that a stage from layer a on keeps when it makes the first `again` of them again (-1: TN_KEEPS_ALL). */
uint64_t tn_cost_kept(const tn_costs *c, int a, int b, int again);
#endif
