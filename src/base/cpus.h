/** The processors of the machine, and what of them this process may use. */
#ifndef TN_CPUS_H
#define TN_CPUS_H
#include <sched.h>
#include <stdbool.h>

typedef struct tn_cpus {
    int online;  /* processors that run: 0 to online - 1, where `dense` */
    bool dense;  /* without a gap */
    int allowed; /* those that the mask holds */
    int cores;   /* cores that these belong to: two hardware threads of one count once */
    int leading; /* so many processors from 0 on are the first of a core each */
    int quota;   /* processors' time that the control group grants, rounded up; INT_MAX: no limit */
} tn_cpus;

/** What sys/ and proc/ below `root` ("": the machine's own) say of the processors in `mask`. Where they say nothing of cores, each
 * processor is one. */
void tn_cpus_read(tn_cpus *c, const cpu_set_t *mask, const char *root);
/** Threads to take: `wanted`, at most one for each allowed processor; for 0 as many as these and the quota are. At least 1. */
int tn_cpus_threads(const tn_cpus *c, int wanted);
/** Whether thread i of so many may be bound to processor i: the process has the whole machine, and no two would share a core while
 * another core is idle. */
bool tn_cpus_bindable(const tn_cpus *c, int threads);
#endif
