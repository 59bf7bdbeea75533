/** The host while it measures: what it is, and what others do on it. */
#ifndef TN_HOST_H
#define TN_HOST_H
#include <jansson.h>

typedef struct tn_load {
    double busy, own, at; /* seconds: of the processors that this process may use, of it, of the clock */
} tn_load;

/** root: where proc/ lies, "" the machine's own. */
void tn_load_now(tn_load *l, const char *root);
/** Processors that others kept busy between both; negative: not known. */
double tn_load_others(const tn_load *from, const tn_load *to);
/** processor, processors (that this process may use), memory in bytes, system. New reference; NULL when memory ran out. */
json_t *tn_host_describe(void);
#endif
