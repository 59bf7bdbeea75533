/* A row's check in a process of its own: the side that asks. */
#include "verdict.h"
#include "helper.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static tn_check_request request_of(const tn_dev *d, const tn_variant_op *op, int row, const char *kind)
{
    tn_check_request q = {.index = d->index, .args_size = op->args_size};
    tn_check_stamp(q.stamp, sizeof q.stamp);
    snprintf(q.cache_dir, sizeof q.cache_dir, "%s", d->cache_dir ? d->cache_dir : "off");
    snprintf(q.device, sizeof q.device, "%s", d->info.name);
    snprintf(q.op, sizeof q.op, "%s", op->name);
    snprintf(q.row, sizeof q.row, "%s", op->rows[row].name);
    snprintf(q.kind, sizeof q.kind, "%s", kind);
    return q;
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

void tn_check_apart(tn_verdict *out, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like)
{
    const tn_check_request q = request_of(d, op, row, kind);
    const tn_question ask = {d->helper, "try-row", {&q, like}, {sizeof q, op->args_size}, d->trial_seconds};
    tn_verdict v;
    int status = 0;
    *out = (tn_verdict){.unsure = true, .error = -1, .why = "no process could be started to try it"};
    switch (tn_helper_ask(&v, sizeof v, &ask, &status)) {
    case TN_ASKED_TOLD:
        *out = v;
        out->why[sizeof out->why - 1] = 0;
        break;
    case TN_ASKED_NOBODY: break;
    case TN_ASKED_ENDED: judge_end(out, status); break;
    case TN_ASKED_LATE:
        out->unsure = false, out->fatal = true;
        snprintf(out->why, sizeof out->why, "the process that tried it was not done after %.0f s and was stopped",
                 d->trial_seconds);
        break;
    }
}
