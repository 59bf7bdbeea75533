/* The loader under ThreadSanitizer: several workers, passes begun anew midway, a frame that cannot be read, and an end while
 * everybody is busy. What comes out must be what one worker gives, whatever the timing. test-tsan-loader SOURCE_DIR */
#include "loader.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 96, HEIGHT = 54, BATCH = 3, FRAMES = 11, EPOCHS = 4, FRAME = WIDTH * HEIGHT * 3 };
static const tn_prep prep = {.width = WIDTH, .height = HEIGHT, .heat_w = 48, .heat_h = 27, .flip_prob = 0.5, .seed = 3};

static int passed, failed;

static void check(bool good, const char *what)
{
    good ? passed++ : failed++;
    if (!good) printf("FAILED: %s\n", what);
}

static tn_loader *loader_of(const tn_dataset *d, int threads, size_t keep)
{
    tn_loader *l = NULL;
    tn_error e = {0};
    check(!tn_loader_new(&l, d, &prep, BATCH, threads, 3, keep, &e), e.message);
    return l;
}

/* A hash of everything that at most `batches` batches of a pass hold; 0 after a failure. */
static uint64_t hash_of_pass(tn_loader *l, const int *order, int n, int epoch, int batches, tn_error *e)
{
    uint64_t h = TN_HASH0;
    if (tn_loader_start(l, order, n, epoch, e)) return 0;
    for (int i = 0; i < batches; i++) {
        tn_batch b;
        if (tn_loader_next(l, &b, e)) return 0;
        if (!b.n) break;
        h = tn_hash(h, b.frames, (size_t)b.n * FRAME);
        h = tn_hash(h, b.labels, (size_t)b.n * 3 * sizeof *b.labels);
        h = tn_hash(h, b.index, (size_t)b.n * sizeof *b.index);
    }
    return h;
}

/* Whole passes and ones left midway, with nothing, some and all of the frames kept. */
static void same_as_one_worker(const tn_dataset *d, int *order)
{
    static const size_t keep[] = {1 << 30, 7 * FRAME + 5, 0};
    static const int kept[] = {FRAMES, 7, 0};
    uint64_t want[EPOCHS] = {0};
    for (size_t k = 0; k < TN_COUNT(keep); k++) {
        tn_loader *one = loader_of(d, 1, keep[0]), *many = loader_of(d, 5, keep[k]);
        size_t bytes;
        check(tn_loader_keeps(many, &bytes) == kept[k] && bytes == FRAME, "how many frames are kept");
        for (int epoch = 0; epoch < EPOCHS; epoch++) {
            tn_error e = {0};
            const int batches = epoch % 2 ? 1 : d->n;
            tn_shuffle(order, d->n, 11, epoch);
            for (int i = 0; epoch == 0 && i < d->n; i++) order[i] = i / 4; /* one frame in several hands at once */
            if (k == 0) want[epoch] = hash_of_pass(one, order, d->n, epoch, batches, &e);
            check(want[epoch] && hash_of_pass(many, order, d->n, epoch, batches, &e) == want[epoch],
                  "several workers give what one gives");
        }
        tn_loader_free(one);
        tn_loader_free(many);
    }
}

static void unreadable_frame(tn_dataset *d, int *order)
{
    tn_error e = {0};
    char *real = d->f[9].path, missing[] = "/nowhere/frame.jpg";
    d->f[9].path = missing;
    tn_loader *l = loader_of(d, 4, 1 << 20);
    for (int i = 0; i < d->n; i++) order[i] = i;
    for (int again = 0; again < 3; again++) {
        e.status = 0;
        check(!hash_of_pass(l, order, d->n, 0, d->n, &e) && strstr(e.message, missing), "an unreadable frame is named");
    }
    check(hash_of_pass(l, order, 8, 0, 8, &e) != 0, "a pass without it goes on");
    tn_loader_free(l);
    d->f[9].path = real;
}

static void end_while_busy(const tn_dataset *d, const int *order)
{
    for (int i = 0; i < 8; i++) {
        tn_error e = {0};
        tn_batch b;
        tn_loader *l = loader_of(d, 6, 1 << 20);
        check(!tn_loader_start(l, order, d->n, i, &e), e.message);
        if (i % 2) check(!tn_loader_next(l, &b, &e) && b.n == BATCH, e.message);
        tn_loader_free(l);
    }
}

int main(int argc, char **argv)
{
    tn_dataset d;
    tn_error e = {0};
    char game[] = "game1", *games[] = {game}, *root = argc == 2 ? tn_strf("%s/tests/data/volleyball", argv[1]) : NULL;
    const tn_strs names = {.v = games, .n = 1};
    if (!root || tn_dataset_read(&d, root, &names, "train", true, NULL, &e)) {
        fprintf(stderr, "test-tsan-loader: %s\n", root ? e.message : "give the source folder");
        return 2;
    }
    const int all = d.n;
    int *order = malloc(sizeof *order * FRAMES);
    d.n = FRAMES;
    for (int i = 0; i < d.n; i++) order[i] = i;
    same_as_one_worker(&d, order);
    unreadable_frame(&d, order);
    end_while_busy(&d, order);
    free(order);
    free(root);
    d.n = all;
    tn_dataset_free(&d);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
