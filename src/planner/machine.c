#include "machine.h"
#include "files.h"
#include "yaml_tree.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NODES = 4096, MOST_COUNT = 64, MOST_DEVICES = 4096 };

/* A number under a key: where it goes, and what it is multiplied by. */
typedef struct {
    const char *key;
    size_t at;
    double unit, least; /* least: what is not above it is refused */
} number;

#define AT(f) offsetof(tn_described, f)
static const number device_numbers[] = {
    {"memory_gib", AT(memory), 1073741824, 0},
    {"product_tflops", AT(rate[TN_WORK_PRODUCT]), 1e12, 0},
    {"attention_tflops", AT(rate[TN_WORK_ATTENTION]), 1e12, 0},
    {"memory_gbs", AT(rate[TN_WORK_OTHER]), 1e9, 0},
    {"launch_us", AT(launch), 1e-6, -1e-9},
    {"link_gbs", AT(bandwidth), 1e9, 0},
    {"link_us", AT(latency), 1e-6, -1e-9},
};
static const number network_numbers[] = {
    {"gbit", offsetof(tn_machine, bandwidth), 1.25e8, 0},
    {"latency_us", offsetof(tn_machine, latency), 1e-6, -1e-9},
};

static int wrong(const tn_ynode *at, tn_error *err, const char *what)
{
    char place[512];
    return tn_fail(err, TN_ERR_CONFIG, "%s: %s", tn_yaml_place(place, sizeof place, at), what);
}

static int wrong_key(const tn_ynode *at, tn_error *err, const char *key, const char *what)
{
    char place[512];
    return tn_fail(err, TN_ERR_CONFIG, "%s: '%s' %s", tn_yaml_place(place, sizeof place, at), key, what);
}

static int read_numbers(void *to, const tn_ynode *map, const number *v, size_t n, tn_error *err)
{
    for (size_t i = 0; i < n; i++) {
        double x = 0;
        const tn_ynode *at = tn_yaml_get(map, v[i].key);
        if (!at) return wrong_key(map, err, v[i].key, "is missing; a described machine says it");
        if (!tn_yaml_number(at, &x) || !(x > v[i].least)) return wrong_key(at, err, v[i].key, "is a positive number");
        *(double *)((char *)to + v[i].at) = x * v[i].unit;
    }
    return 0;
}

/* A whole number from 1 to most; 1 where it is not said. */
static int read_count(int *out, const tn_ynode *map, const char *key, int most, tn_error *err)
{
    uint64_t x = 1;
    const tn_ynode *at = tn_yaml_get(map, key);
    char what[48];
    snprintf(what, sizeof what, "is a whole number from 1 to %d", most);
    if (at && (!tn_yaml_whole(at, &x) || x < 1 || x > (uint64_t)most)) return wrong_key(at, err, key, what);
    *out = (int)x;
    return 0;
}

/* Every key of the mapping is one of the numbers', or among the other words. */
static int check_keys(const tn_ynode *map, const number *v, size_t n, const char *const *others, size_t n_others, tn_error *err)
{
    for (int i = 0; i < map->n; i++) {
        bool known = false;
        for (size_t k = 0; k < n; k++) known |= !strcmp(map->child[i]->key, v[k].key);
        for (size_t k = 0; k < n_others; k++) known |= !strcmp(map->child[i]->key, others[k]);
        if (!known) return wrong_key(map->child[i], err, map->child[i]->key, "is no key of a described machine");
    }
    return 0;
}

static int read_device(tn_described *d, const tn_ynode *map, tn_error *err)
{
    static const char *const others[] = {"name", "count"};
    if (map->kind != TN_Y_MAP) return wrong(map, err, "a device is a mapping with name, memory_gib and the others");
    const tn_ynode *name = tn_yaml_get(map, "name");
    TN_TRY(check_keys(map, device_numbers, TN_COUNT(device_numbers), others, TN_COUNT(others), err));
    if (!name || name->kind != TN_Y_SCALAR || !name->text[0]) return wrong(map, err, "a device has a name");
    snprintf(d->name, sizeof d->name, "%s", name->text);
    TN_TRY(read_count(&d->count, map, "count", MOST_COUNT, err));
    return read_numbers(d, map, device_numbers, TN_COUNT(device_numbers), err);
}

static int read_devices(tn_machine *m, const tn_ynode *root, tn_error *err)
{
    const tn_ynode *list = tn_yaml_get(root, "devices");
    int all = 0;
    if (!list || list->kind != TN_Y_SEQ || !list->n) return wrong(list ? list : root, err, "'devices' lists the devices of a host");
    m->device = calloc((size_t)list->n, sizeof *m->device);
    if (!m->device) return tn_oom(err);
    m->n = list->n;
    for (int i = 0; i < m->n; i++) {
        TN_TRY(read_device(&m->device[i], list->child[i], err));
        all += m->device[i].count;
    }
    if (all > MOST_DEVICES / m->nodes) return wrong(list, err, "there are more than 4096 devices in all");
    return 0;
}

static int read_machine(tn_machine *m, const tn_ynode *root, tn_error *err)
{
    static const char *const words[] = {"nodes", "network", "devices"};
    if (root->kind != TN_Y_MAP) return wrong(root, err, "a described machine is a mapping with devices");
    TN_TRY(check_keys(root, NULL, 0, words, TN_COUNT(words), err));
    TN_TRY(read_count(&m->nodes, root, "nodes", MOST_NODES, err));
    const tn_ynode *network = tn_yaml_get(root, "network");
    if (m->nodes > 1 && (!network || network->kind != TN_Y_MAP)) return wrong(root, err, "several nodes have a 'network'");
    if (network && network->kind == TN_Y_MAP) {
        TN_TRY(check_keys(network, network_numbers, TN_COUNT(network_numbers), NULL, 0, err));
        TN_TRY(read_numbers(m, network, network_numbers, TN_COUNT(network_numbers), err));
    }
    return read_devices(m, root, err);
}

int tn_machine_read(tn_machine *m, const char *path, tn_error *err)
{
    char *text = NULL;
    size_t len = 0;
    tn_ynode *root = NULL;
    *m = (tn_machine){.nodes = 1};
    int rc = tn_read_file(&text, &len, path, err);
    if (!rc) rc = tn_yaml_parse(&root, text, len, path, err);
    if (!rc) rc = read_machine(m, root, err);
    tn_yaml_free(root);
    free(text);
    if (rc) tn_machine_free(m);
    return rc;
}

void tn_machine_free(tn_machine *m)
{
    free(m->device);
    *m = (tn_machine){0};
}

/* Products and attention by what they compute or move, whichever takes longer; the rest by what it moves. */
static tn_line line_of(const tn_described *d, const tn_layer_work *w)
{
    tn_line t = {w->launches * d->launch, 0};
    for (int k = 0; k < TN_WORKS; k++) {
        const double flops = k == TN_WORK_OTHER ? INFINITY : d->rate[k], bytes = d->rate[TN_WORK_OTHER];
        t.fixed += fmax(w->flops[k].fixed / flops, w->bytes[k].fixed / bytes);
        t.image += fmax(w->flops[k].image / flops, w->bytes[k].image / bytes);
    }
    return t;
}

void tn_machine_time(tn_layer_time *time, const tn_described *d, const tn_layers *l)
{
    for (int i = 0; i < l->n; i++)
        time[i] = (tn_layer_time){line_of(d, &l->work[i][TN_FORWARD]), line_of(d, &l->work[i][TN_BACKWARD]),
                                  line_of(d, &l->work[i][TN_AGAIN])};
}

tn_line tn_machine_update(const tn_described *d)
{
    return (tn_line){4 * d->launch, 7 / d->rate[TN_WORK_OTHER]};
}
