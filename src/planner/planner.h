/**
 * Which device runs which layers: the search. Pure numbers in, a tn_split out; no device is touched.
 *
 * The cost model. A layer takes forward, backward and, where its activations are made again, again: each a line in the images n
 * that go through together, fixed + image * n seconds (a launch costs the same for any n). A replica of S stages takes its images
 * in M micro-batches of m, the last one counted as whole. For a stage over layers a..b on a device with a link of L seconds and W
 * bytes a second to the host, t and x seconds of a micro-batch are spent computing and on the link:
 *
 *     t = sum of forward + backward (+ again) of a..b at m
 *     x = 2 (L + m in/W) + 2 (L + m out/W)       in, out: bytes an image of the activation there; its gradient is as large.
 *                                                A first stage has no `in`, a last one no `out`
 *
 * Both run at once, so a stage is busy for max(t, x); where two stages lie on different hosts, the network between them is busy for
 * y = 2 (latency + m out/bandwidth). A micro-batch goes down all stages and back up, the others follow at the pace of the slowest:
 *
 *     pipeline = sum of (t + x + update) + sum of y + (M - 1) max(t, x, y)
 *
 * update: the optimiser over the stage's parameters. A stage holds activations of as many micro-batches as there are stages from it
 * to the last (one where M is 1: 1F1B), and needs, N of them in flight,
 *
 *     weights + 4 parameters + inputs + (N - 1) kept + peak + m (in + 2 out)    (parameters, gradients, moments)
 *
 * kept: the sum over its layers, an activation counting with the layer whose backward pass reads it last; peak: the largest, over
 * its layers, of what they and those before them keep and the layer's own transient. Where that is more than the device has, the
 * stage makes activations again: those of its layers that are no blocks, and of as many of its first blocks as it takes. Such a
 * layer keeps kept_again, and the peak is then the stage's kept and the largest transient, which is transient_again for layers
 * whose activations can be made again.
 *
 * Stages on the same cores are one for the pace: their t is added up, as are the times of replicas that share some.
 *
 * Replicas take shares of the batch; the slowest decides. With more than one, each also pays for the sum of gradients: 2 (L + G/W)
 * of its slowest link for G bytes of parameters, and 2 (G/bandwidth + latency log2 hosts) where the plan uses several hosts.
 *
 * tn_planner_solve finds the least step time over all contiguous splits, orders of devices, replicas, shares and micro-batches,
 * devices left out included. Suffixes of the layers are divided by dynamic programming, where the state is how many devices of each
 * kind the suffix has, and what is kept of a state are the pairs (sum, slowest) that no other pair beats. Then the least time is
 * searched in which replicas, dealt from the kinds' devices by a second dynamic programme, take all of the batch. Devices that are
 * alike are one kind, which keeps 64 of them cheap.
 *
 * With 4 devices or fewer, or 8 of two kinds, that is exact for batches of up to 16; above, pipelines take micro-batches of powers
 * of two. With more, pipelines of 1, 2, 4, and while that gains 4 % of 6, 8 ... stages are tried, with micro-batches of 1, 2, 4, 8
 * and 16, and a stage may lose 1 % by what is not told apart; of many kinds (TN_PLANNER_STATES) the two nearest in speed become
 * one, for which the slower stands. Hosts that are alike are interchangeable, and a pipeline begins with a fresh one.
 */
#ifndef TN_PLANNER_H
#define TN_PLANNER_H
#include "split.h"
#include <stdbool.h>

enum { TN_PLANNER_LAYERS = 128, TN_PLANNER_KINDS = 12, TN_PLANNER_STATES = 1000, TN_PLANNER_SHARES = 8 };

/** fixed + image * n */
typedef struct tn_line {
    double fixed, image;
} tn_line;
double tn_line_at(tn_line l, double n);

/** Seconds of a layer on a device. again: of making its activations again. */
typedef struct tn_layer_time {
    tn_line forward, backward, again;
} tn_layer_time;

/** Bytes. */
typedef struct tn_planner_layer {
    int block;                          /* of the backbone: bit of tn_split_stage.kept; -1: none */
    bool again;                         /* its activations can be made again */
    double weights, parameters;         /* frozen ones as stored; trained ones as float32, once */
    tn_line kept, kept_again;           /* from its forward to its backward pass, by images */
    tn_line transient, transient_again; /* beside what is kept, while it runs */
    double inputs;                      /* frames that wait for it, whatever the micro-batch */
    double out;                         /* an image's activation for the next layer */
} tn_planner_layer;

typedef struct tn_planner_device {
    const char *name;
    int id;                    /* what tn_split_stage.device gets */
    int host;                  /* which machine it is in */
    int shares;                /* not 0: devices of the same number compute on the same cores, each at its part of their speed */
    double memory;             /* bytes that it may take */
    double bandwidth, latency; /* of its link to the host: bytes a second, seconds */
    tn_line update;            /* seconds of the optimiser, by bytes of parameters */
    const tn_layer_time *time; /* one a layer; borrowed. Devices are alike only where it is the same pointer */
} tn_planner_device;

typedef struct tn_planner_problem {
    const tn_planner_layer *layer;
    const tn_planner_device *device;
    int n_layers, n_devices;
    int batch;                 /* images of a step */
    int min_micro, max_micro;  /* 0: none */
    double bandwidth, latency; /* of the network between hosts */
} tn_planner_problem;

/** A stage as the model has it. */
typedef struct tn_planner_stage {
    int device;                         /* of the problem */
    int shares;                         /* the device's */
    int first, last, again;             /* again: how many blocks make their activations again; with kept other than TN_KEEPS_ALL */
    uint64_t kept;                      /* as in tn_split_stage */
    double forward, backward;           /* seconds of a micro-batch, making again included in the latter */
    double link, in, out;               /* seconds of a micro-batch on the link; of these one way, from before and to behind */
    double network;                     /* to the next stage; 0: on this host, or the last */
    double update;                      /* seconds a step */
    double weights, state, activations; /* bytes; state: parameters, gradients, moments */
} tn_planner_stage;

typedef struct tn_planner_replica {
    int images, micro, n_stages;
    double seconds;          /* pipeline */
    tn_planner_stage *stage; /* owned */
} tn_planner_replica;

typedef struct tn_planner_left {
    int device; /* of the problem */
    char why[200];
} tn_planner_left;

typedef struct tn_planner_result {
    double seconds;  /* of a step, by the model */
    double exchange; /* of these: the sum of gradients */
    int n_replicas, n_left;
    tn_planner_replica *replica; /* owned */
    tn_planner_left *left;       /* owned; devices that the plan does not use, and why */
} tn_planner_result;

/** The best plan. TN_ERR_MEMORY: the layers fit no division of the devices; the sentence says how much they would need at least. */
int tn_planner_solve(tn_planner_result *out, const tn_planner_problem *p, tn_error *err);
/** What the model says of a division by hand, which tn_split_check has passed. Activations are made again where they must be.
 * TN_ERR_MEMORY: a stage does not fit; the sentence names it. */
int tn_planner_judge(tn_planner_result *out, const tn_planner_problem *p, const tn_split *s, tn_error *err);
void tn_planner_free(tn_planner_result *r);
/** The plan as execution takes it: devices by their ids. Free with tn_split_free. */
int tn_planner_split(tn_split *out, const tn_planner_result *r, const tn_planner_problem *p, tn_error *err);
#endif
