#include "builders.h"
#include "clock.h"
#include "cpu_threads.h"
#include "helper.h"
#include "machine.h"
#include "text.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { MOST = 8, PATIENCE = 60 /* seconds for one program */, IDLE = 30 /* seconds that a builder waits for work */ };

typedef struct {
    pid_t pid;
    int fd;
    bool busy;
} builder;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static builder builders[MOST];
static atomic_int n_builders;
static unsigned long long *had; /* hashes of jobs */
static size_t n_had;

int tn_builders_most(void)
{
    const int limit = tn_cpu_threads_limit(), n = limit ? TN_MIN(limit, tn_processors()) : tn_processors();
    return TN_MIN(n, (int)MOST);
}

bool tn_builders_wait(void)
{
    return atomic_load(&n_builders) > 0;
}

static unsigned long long hash_of(const tn_dev *d, const tn_ahead_job *j)
{
    unsigned long long h = tn_hash(TN_HASH0, &d->index, sizeof d->index);
    h = tn_hash(h, j->file, strlen(j->file) + 1);
    h = tn_hash(h, j->entry, strlen(j->entry) + 1);
    h = tn_hash(h, j->options, strlen(j->options) + 1);
    return tn_hash(h, j->range.local, sizeof j->range.local);
}

bool tn_builders_had(const tn_dev *d, const tn_ahead_job *j)
{
    const unsigned long long h = hash_of(d, j);
    bool found = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_had && !found; i++) found = had[i] == h;
    pthread_mutex_unlock(&lock);
    return found;
}

static void remember(const tn_dev *d, const tn_ahead_job *j, int n)
{
    unsigned long long *v = realloc(had, sizeof *v * (n_had + (size_t)n));
    if (!v) return;
    had = v;
    for (int i = 0; i < n; i++) had[n_had++] = hash_of(d, &j[i]);
}

static void start_one(const char *helper)
{
    int fd[2];
    builder b = {0};
    const struct timeval idle = {IDLE, 0};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd)) return;
    setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
    const bool started = tn_helper_start(&b.pid, helper, "build-kernels", fd[1], -1);
    close(fd[1]);
    b.fd = fd[0];
    if (started) builders[n_builders++] = b;
    else close(fd[0]);
}

static void dismiss(int i)
{
    close(builders[i].fd);
    tn_helper_stop(builders[i].pid);
    const int last = atomic_load(&n_builders) - 1;
    builders[i] = builders[last];
    atomic_store(&n_builders, last);
}

static void dismiss_all(void)
{
    while (n_builders) dismiss(0);
}

/* Those that have waited for too long are gone. */
static void dismiss_ended(void)
{
    for (int i = n_builders - 1; i >= 0; i--) {
        char c;
        if (recv(builders[i].fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) >= 0 || errno != EAGAIN) dismiss(i);
    }
}

/* Gives the program's jobs to those who wait, one after the other, until one takes them. */
static void give(tn_dev *d, const tn_ahead_job *j, int n, size_t buffer_bytes)
{
    tn_ahead_order o = {.n = n, .buffer_bytes = buffer_bytes};
    tn_ahead_stamp(&o, d);
    remember(d, j, n);
    for (int i = n_builders - 1; i >= 0; i--) {
        builder *b = &builders[i];
        if (b->busy) continue;
        b->busy = tn_helper_send(b->fd, &o, sizeof o) && tn_helper_send(b->fd, j, sizeof *j * (size_t)n);
        if (b->busy) return;
        dismiss(i);
    }
}

static int busy(void)
{
    int n = 0;
    for (int i = 0; i < n_builders; i++) n += builders[i].busy;
    return n;
}

/* Waits for answers, for a while; how many programs are done with. Whoever ends leaves its program. */
static int collect(void)
{
    enum { WHILE = 100 /* ms */ };
    struct pollfd f[MOST];
    const int n = n_builders;
    int done = 0;
    for (int i = 0; i < n; i++) f[i] = (struct pollfd){builders[i].busy ? builders[i].fd : -1, POLLIN, 0};
    if (poll(f, (nfds_t)n, WHILE) <= 0) return 0;
    for (int i = n - 1; i >= 0; i--) {
        char c;
        if (!f[i].revents) continue;
        done++;
        if (recv(builders[i].fd, &c, 1, 0) == 1) builders[i].busy = false;
        else dismiss(i);
    }
    return done;
}

static int jobs_of(const tn_ahead_job *j, int n)
{
    int k = 1;
    while (k < n && j[k].program == j->program) k++;
    return k;
}

static int run(tn_dev *d, const tn_ahead_job *j, int n, int programs, size_t buffer_bytes, tn_error *err)
{
    int done = 0, rc = tn_watch_tell(&d->watch, TN_PHASE_BUILDING, NULL, 0, programs, err);
    double last = tn_now();
    while (!rc && (busy() || (n && n_builders))) {
        while (n && busy() < n_builders) {
            const int k = jobs_of(j, n);
            give(d, j, k, buffer_bytes);
            j += k, n -= k;
        }
        const int now = collect();
        if (now) last = tn_now(), rc = tn_watch_tell(&d->watch, TN_PHASE_BUILDING, NULL, done += now, programs, err);
        if (tn_now() - last > PATIENCE) break;
    }
    if (busy()) dismiss_all();
    return rc || done == programs ? rc : tn_watch_tell(&d->watch, TN_PHASE_BUILDING, NULL, programs, programs, err);
}

/* A GPU's would keep some of its memory. */
static bool may_stay(const tn_dev *d)
{
    const size_t each = (size_t)300 << 20; /* what one takes on PoCL */
    return (d->quirk_flags & TN_QUIRK_OBJECTS) && 4 * each * (size_t)n_builders < tn_memory_free();
}

int tn_builders_run(tn_dev *d, const tn_ahead_job *jobs, int n, int programs, size_t buffer_bytes, tn_error *err)
{
    pthread_mutex_lock(&lock);
    dismiss_ended();
    for (int i = tn_builders_most() - n_builders; i > 0; i--) start_one(d->helper);
    const int rc = run(d, jobs, n, programs, buffer_bytes, err);
    if (!may_stay(d)) dismiss_all();
    pthread_mutex_unlock(&lock);
    return rc;
}
