/* A row's check in a process of its own: the side that asks. */
#include "verdict.h"
#include "clock.h"
#include "helper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST_WORDS = 5 }; /* seconds to end in, after the answer */

static bool send_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n) {
        const ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) return false;
        p += k, n -= (size_t)k;
    }
    return true;
}

static bool ask(int fd, const tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like)
{
    tn_check_request q = {.index = d->index, .args_size = op->args_size};
    tn_check_stamp(q.stamp, sizeof q.stamp);
    snprintf(q.cache_dir, sizeof q.cache_dir, "%s", d->cache_dir ? d->cache_dir : "off");
    snprintf(q.device, sizeof q.device, "%s", d->info.name);
    snprintf(q.op, sizeof q.op, "%s", op->name);
    snprintf(q.row, sizeof q.row, "%s", op->rows[row].name);
    snprintf(q.kind, sizeof q.kind, "%s", kind);
    return send_all(fd, &q, sizeof q) && send_all(fd, like, op->args_size) && !shutdown(fd, SHUT_WR);
}

/* What ended the process tells of the row, unless somebody else did it. */
static void judge_end(tn_verdict *out, int status)
{
    const int s = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    const bool refused = WIFEXITED(status) && WEXITSTATUS(status) == 1; /* it is another program, or another version */
    out->unsure = refused || s == SIGINT || s == SIGTERM || s == SIGHUP || s == SIGKILL;
    out->fatal = !out->unsure;
    if (s) snprintf(out->why, sizeof out->why, "the process that tried it was ended by signal %d (%s)", s, strsignal(s));
    else snprintf(out->why, sizeof out->why, "the process that tried it ended with status %d and no answer", WEXITSTATUS(status));
}

/* Waits for the answer, until `end`; false where there is none. */
static bool receive(tn_verdict *out, int fd, double end)
{
    tn_verdict v;
    char *p = (char *)&v;
    for (size_t have = 0; have < sizeof v;) {
        const double left = end - tn_now();
        struct pollfd f = {fd, POLLIN, 0};
        if (left <= 0) return false;
        if (poll(&f, 1, (int)(left * 1000) + 1) <= 0) continue; /* the time is up, or a signal came */
        const ssize_t k = read(fd, p + have, sizeof v - have);
        if (k <= 0) return false;
        have += (size_t)k;
    }
    *out = v;
    out->why[sizeof out->why - 1] = 0;
    return true;
}

void tn_check_apart(tn_verdict *out, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like)
{
    int fd[2], status = 0;
    pid_t pid;
    const double end = tn_now() + d->trial_seconds;
    *out = (tn_verdict){.unsure = true, .error = -1, .why = "no process could be started to try it"};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd)) return;
    fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    const bool started = tn_helper_start(&pid, d->helper, "try-row", fd[1], fd[1]);
    close(fd[1]);
    const bool told = started && ask(fd[0], d, op, row, kind, like) && receive(out, fd[0], end);
    close(fd[0]);
    if (!started) return;
    if (told && tn_helper_wait(pid, tn_now() + LAST_WORDS, &status)) return;
    if (!told && tn_helper_wait(pid, end, &status)) {
        judge_end(out, status);
        return;
    }
    tn_helper_stop(pid);
    if (told) return;
    out->unsure = false, out->fatal = true;
    snprintf(out->why, sizeof out->why, "the process that tried it was not done after %.0f s and was stopped", d->trial_seconds);
}
