/**
 * Machines that are described instead of measured: a YAML file of hosts that are alike, each with devices, and a network between
 * them. Units are in the keys' names; every key but name and count is needed.
 *
 *     nodes: 64                # hosts that are alike; 1 where it is not said
 *     network: {gbit: 25, latency_us: 30}
 *     devices:                 # of each host
 *       - name: a card
 *         count: 8             # 1 where it is not said
 *         memory_gib: 80       # that a run may take
 *         product_tflops: 200  # dense products, in the storage type of the run
 *         attention_tflops: 80
 *         memory_gbs: 2000     # its own memory: everything else is counted by the bytes that it moves
 *         launch_us: 4         # a kernel more
 *         link_gbs: 25         # to the host and back
 *         link_us: 10
 */
#ifndef TN_MACHINE_H
#define TN_MACHINE_H
#include "layers.h"

/** Rates in operations and bytes a second. */
typedef struct tn_described {
    char name[64];
    int count;
    double memory, rate[TN_WORKS], launch, bandwidth, latency; /* rate[TN_WORK_OTHER]: bytes */
} tn_described;

typedef struct tn_machine {
    int nodes, n; /* n: kinds of devices on each */
    tn_described *device;
    double bandwidth, latency; /* of the network, bytes a second */
} tn_machine;

/** Reads the file. TN_ERR_CONFIG names the place of what is wrong. Free with tn_machine_free. */
int tn_machine_read(tn_machine *m, const char *path, tn_error *err);
void tn_machine_free(tn_machine *m);
/** Seconds of the layers on such a device: time[l->n]. */
void tn_machine_time(tn_layer_time *time, const tn_described *d, const tn_layers *l);
/** Seconds of the optimiser by bytes of parameters: seven of their arrays are read or written. */
tn_line tn_machine_update(const tn_described *d);
#endif
