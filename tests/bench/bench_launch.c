/* bench_launch [device]: what the host spends on a launch, with a kernel's buffers named to the driver and, where the device takes
 * them (address.h), given by their addresses. Recorded launches of AdamW over no element, which has six buffers, played as a step
 * plays its own. Medians over the turns of both. */
#include "../testdev.h"
#include "clock.h"
#include "ops.h"
#include "tape.h"

#include <string.h>

enum { LAUNCHES = 200, TURNS = 41, BUFFERS = 6 };

static int record(tn_tape *t, tn_dev *d, tn_buffer *const *b, const char *options, tn_error *err)
{
    tn_kernel *k;
    TN_TRY(tn_kernel_get(&k, d, "portable/optim.cl", "adamw", options, err));
    const tn_arg args[] = {TN_BUF(b[0]), TN_BUF(b[1]), TN_BUF(b[2]), TN_BUF(b[3]), TN_UINT(0), TN_UINT(0), TN_INT(0),
                           TN_BUF(b[4]), TN_BUF(b[5]), TN_FLT(0.9),  TN_FLT(0.9),  TN_FLT(1),  TN_FLT(0)};
    const tn_range r = {1, {64}, {64}};
    for (int i = 0; i < LAUNCHES; i++) TN_TRY(tn_tape_launch(t, k, args, TN_COUNT(args), &r, err));
    return 0;
}

/* Seconds of a launch: enqueued, and until all are done. */
static int play(tn_tape *t, tn_dev *d, double *enqueued, double *whole, tn_error *err)
{
    TN_TRY(tn_dev_finish(d, err));
    const double begin = tn_now();
    TN_TRY(tn_tape_play(t, err));
    *enqueued = (tn_now() - begin) / LAUNCHES;
    TN_TRY(tn_dev_finish(d, err));
    *whole = (tn_now() - begin) / LAUNCHES;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static int run(tn_dev *d, tn_error *err)
{
    tn_buffer *b[BUFFERS];
    tn_tape *tape[2];
    double seconds[2][2][TURNS];
    const int ways = d->bare ? 2 : 1;
    d->slice_seconds = 0;
    for (int i = 0; i < BUFFERS; i++) TN_TRY(tn_buffer_new(&b[i], d, 4096, "a test", err));
    for (int w = 0; w < ways; w++) {
        d->bare = w == 1;
        TN_TRY(tn_tape_new(&tape[w], d, err));
        TN_TRY(record(tape[w], d, b, w ? "-DBARE" : "-DNAMED", err));
    }
    for (int i = 0; i < TURNS; i++)
        for (int w = 0; w < ways; w++) TN_TRY(play(tape[w], d, &seconds[w][0][i], &seconds[w][1][i], err));
    for (int w = 0; w < ways; w++) {
        for (int k = 0; k < 2; k++) qsort(seconds[w][k], TURNS, sizeof(double), by_value);
        printf("%-22s %6.2f us to enqueue, %6.2f us in all, a launch\n", w ? "buffers by address" : "buffers named",
               1e6 * seconds[w][0][TURNS / 2], 1e6 * seconds[w][1][TURNS / 2]);
        tn_tape_free(tape[w]);
    }
    for (int i = BUFFERS - 1; i >= 0; i--) tn_buffer_free(b[i]);
    return 0;
}

int main(int argc, char **argv)
{
    tn_dev *d;
    tn_error err;
    int rc = test_device(&d, argc > 1 ? argv[1] : "gpu", &err);
    if (!rc) rc = run(d, &err);
    if (rc) fprintf(stderr, "bench_launch: %s\n", err.message);
    return rc != 0;
}
