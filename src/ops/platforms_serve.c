/* What is measured of a device that two platforms offer: the process that measures. */
#include "entry.h"
#include "helper.h"
#include "platforms.h"
#include "rates.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_request(tn_rate_request *q)
{
    char stamp[sizeof q->stamp] = "";
    tn_rate_stamp(stamp, sizeof stamp);
    q->cache_dir[sizeof q->cache_dir - 1] = q->key[sizeof q->key - 1] = 0;
    return !memcmp(stamp, q->stamp, sizeof stamp);
}

static int measure_rate(tn_rate_answer *out, const tn_rate_request *q, tn_error *err)
{
    const tn_dev_options o = {.cache = q->cache_dir};
    char key[sizeof q->key];
    tn_dev *d;
    TN_TRY(tn_dev_open(&d, q->index, &o, err));
    tn_rate_key(key, sizeof key, &d->info);
    const bool same = !strcmp(key, q->key);
    const int rc = same ? tn_rate_measure(out, d, err) : tn_fail(err, TN_ERR_DEVICE, "the list of devices has changed");
    tn_dev_close(d);
    return rc;
}

int tn_device_rate(int in, int out, tn_error *err)
{
    TN_ENTRY(err);
    tn_rate_request q;
    tn_rate_answer a = {.product = 0};
    if (!tn_helper_read(in, &q, sizeof q) || !is_request(&q))
        return tn_fail(err, TN_ERR_ARGUMENT, "rate-device is for tracknet itself: its input names no device");
    const int answer = tn_helper_answers_to(out);
    if (measure_rate(&a, &q, err)) snprintf(a.why, sizeof a.why, "%.190s", err->message);
    const bool told = write(answer, &a, sizeof a) == (ssize_t)sizeof a;
    close(answer);
    return told ? 0 : tn_fail(err, TN_ERR_IO, "nobody waits for the answer");
}
