/** Which of the platforms that offer one piece of hardware is faster: measured by a process for each device. */
#ifndef TN_PLATFORMS_H
#define TN_PLATFORMS_H
#include "dev.h"

/** What the process is asked. */
typedef struct tn_rate_request {
    char stamp[64]; /* of the library that wrote it: another one reads nothing */
    char cache_dir[1024], key[512];
    int index; /* of tn_device_list */
} tn_rate_request;

/** What it answers: operations and bytes a second; 0 and a reason where it found none. */
typedef struct tn_rate_answer {
    double product, copy;
    char why[200];
} tn_rate_answer;

void tn_rate_stamp(char *out, size_t n);
/** A product that a run would launch, by the row that one would take which has measured nothing; and a copy of device memory. */
int tn_rate_measure(tn_rate_answer *out, tn_dev *d, tn_error *err);
#endif
