/** What the search over replicas works on: what each choice of devices takes, and what stocks of devices take within a time. */
#ifndef TN_SEARCH_H
#define TN_SEARCH_H
#include "pipeline.h"

enum { TN_MOST_MICROS = 64 };

/** The best replica of a choice of devices that takes a number of images. */
typedef struct {
    double seconds;
    int micro;
    bool alone;
} tn_part;

/** The most images that a stock of devices takes within some time: those of a replica of `choice`, and what the rest takes. */
typedef struct {
    int images, choice;
} tn_most;

typedef struct {
    const tn_planner_problem *p;
    tn_kinds kinds;
    tn_costs costs;
    tn_pipelines *pipes;
    int choices, stocks; /* stocks: how many ways there are to have devices left */
    tn_part *part;       /* [choices][batch + 1] */
    int *useful;         /* choices that fewer devices do not match for every number of images */
    int n_useful;
    double *exchange; /* [choices] */
    int *stock_of;    /* [choices]: the stock that a choice takes */
    int *holds;       /* [stocks][kinds] */
    int *within;      /* [n_useful]: images that it takes within the time in question */
    tn_most *best;    /* [stocks] */
    double *times;    /* of replicas that pay for the sum of gradients, sorted: a plan takes one of them */
    int n_times;
    int micro[TN_MOST_MICROS], n_micros;
    bool desperate; /* nothing else fits: with many devices too, pipelines that hold one micro-batch's activations are tried */
} tn_search;

/** slower: as in tn_kinds_new. *s is to be freed also when this fails. */
int tn_search_new(tn_search *s, const tn_planner_problem *p, const double *slower, tn_error *err);
void tn_search_free(tn_search *s);
/** Few devices, for which the search is exact. */
bool tn_is_few(const tn_search *s);
/** What replicas of at most `depth` stages take, better than before: parts, useful choices, times. near: micro-batch of the best
 * plan so far; 0: there is none. */
int tn_find_parts(tn_search *s, int depth, int near, tn_error *err);
tn_part *tn_part_at(const tn_search *s, int choice, int images);
/** The images that a replica of a choice takes within a time. */
int tn_images_within(const tn_search *s, int choice, double seconds);
/** What one more of a kind adds to a stock's number. */
int tn_stock_weight(const tn_kinds *k, int kind);
/** Fills s->best for the stocks up to `last` and a time. */
void tn_fill_stocks(tn_search *s, int last, double seconds);
/** The least of the times, below `bound`, in which replicas of a stock take the batch, one of them with a device of `kind` (-1:
 * any); INFINITY where there is none, else the stocks are filled for it. */
double tn_least_time(tn_search *s, int stock, int kind, double bound);
/** left.c: the devices that a plan does not use, and why. */
int tn_list_left(tn_search *s, tn_planner_result *r, tn_error *err);
#endif
