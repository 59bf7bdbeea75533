/* A row's check in a process of its own: that process. */
#include "verdict.h"
#include "entry.h"
#include "helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_all(int fd, void *data, size_t n)
{
    char *p = data;
    while (n) {
        const ssize_t k = read(fd, p, n);
        if (k <= 0) return false;
        p += k, n -= (size_t)k;
    }
    return true;
}

/* A request of this very library. */
static bool is_ours(tn_check_request *q)
{
    char stamp[sizeof q->stamp] = "";
    char *const texts[] = {q->cache_dir, q->device, q->op, q->row, q->kind};
    const size_t sizes[] = {sizeof q->cache_dir, sizeof q->device, sizeof q->op, sizeof q->row, sizeof q->kind};
    tn_check_stamp(stamp, sizeof stamp);
    for (size_t i = 0; i < TN_COUNT(texts); i++) texts[i][sizes[i] - 1] = 0;
    return !memcmp(stamp, q->stamp, sizeof stamp);
}

static const tn_variant_op *operation(const tn_check_request *q)
{
    for (int i = 0; tn_variant_ops[i]; i++)
        if (!strcmp(tn_variant_ops[i]->name, q->op) && tn_variant_ops[i]->args_size == q->args_size) return tn_variant_ops[i];
    return NULL;
}

static int try_row(tn_verdict *out, const tn_check_request *q, const tn_variant_op *op, const void *args, tn_error *err)
{
    const tn_dev_options o = {.cache = q->cache_dir};
    const int row = tn_variant_find(op, q->row);
    tn_dev *d;
    TN_TRY(tn_dev_open(&d, q->index, &o, err));
    int rc = row >= 0 && !strcmp(d->info.name, q->device) ? 0 : tn_fail(err, TN_ERR_DEVICE, "the list of devices has changed");
    if (!rc) rc = tn_check_twice(out, d, op, row, q->kind, args, err);
    tn_dev_close(d);
    return rc;
}

int tn_device_try_row(int in, int out, tn_error *err)
{
    TN_ENTRY(err);
    tn_check_request q;
    tn_verdict v = {.unsure = true, .error = -1};
    const bool ours = read_all(in, &q, sizeof q) && is_ours(&q);
    const tn_variant_op *op = ours ? operation(&q) : NULL;
    void *args = op ? malloc(op->args_size) : NULL;
    if (!args || !read_all(in, args, op->args_size)) {
        free(args);
        return tn_fail(err, TN_ERR_ARGUMENT, "try-row is for tracknet itself: its input asks for no row");
    }
    const int answer = tn_helper_answers(out);
    if (try_row(&v, &q, op, args, err)) snprintf(v.why, sizeof v.why, "%.240s", err ? err->message : "");
    free(args);
    const bool told = write(answer, &v, sizeof v) == (ssize_t)sizeof v;
    close(answer);
    return told ? 0 : tn_fail(err, TN_ERR_IO, "nobody waits for the answer");
}
