/** Devices that are alike as one kind, and how many of each a pipeline may take. */
#ifndef TN_KINDS_H
#define TN_KINDS_H
#include "cost.h"

typedef struct tn_kinds {
    tn_kind kind[TN_PLANNER_KINDS];
    tn_planner_device stands[TN_PLANNER_KINDS]; /* what kind[i].d points to */
    int *member;                                /* of all kinds, owned */
    int n, cap[TN_PLANNER_KINDS];               /* cap: the most that one pipeline takes */
    int hosts;                                  /* that the devices lie in */
    int choices, *count;                        /* count: [choices][n], owned */
} tn_kinds;

/** A choice of devices is a number: the kinds' counts, each to its cap, kind 0 changing fastest; they go from 0, which is none, to
 * choices - 1. How many of a kind, and of all, are in it: */
static inline int tn_choice_count(const tn_kinds *k, int choice, int kind)
{
    return k->count[choice * k->n + kind];
}
int tn_choice_devices(const tn_kinds *k, int choice);

/** slower[i]: of device i of the problem, 1 as it is; 0: it is not to be used. */
int tn_kinds_new(tn_kinds *k, const tn_planner_problem *p, const double *slower, tn_error *err);
void tn_kinds_free(tn_kinds *k);
/** Is the host between two devices of a pipeline another one? k, n: kind of the earlier one, and how many of it the pipeline has
 * from there on; next: kind of the one behind it. */
bool tn_kinds_cross(const tn_kinds *kinds, int k, int n, int next);
#endif
