/** A result: the document that docs/bench.md describes. */
#ifndef TN_RESULT_H
#define TN_RESULT_H
#include "jsonio.h"
#include <tracknet/bench.h>

#define TN_BENCH_SCHEMA "tracknet-bench"
enum { TN_BENCH_SCHEMA_VERSION = 1 };

struct tn_bench_result {
    json_t *j;
    char *name; /* what it is called where several stand side by side: its file's, or "" */
};

/** Takes j over. */
int tn_bench_result_new(tn_bench_result **out, json_t *j, const char *name, tn_error *err);
/** Device i, and how many there are. Borrowed. */
json_t *tn_bench_device(const tn_bench_result *r, size_t i);
size_t tn_bench_devices(const tn_bench_result *r);
/** The device's name. Borrowed. */
const char *tn_bench_device_name(const json_t *device);
/** Was it measured, and did its check pass? */
bool tn_bench_has_value(const json_t *measurement);
/** The measurement that goes by this id, or NULL. Borrowed. */
json_t *tn_bench_find(const json_t *device, const char *id);
#endif
