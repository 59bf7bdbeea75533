#include "cli.h"

#include <stdio.h>

static int show(void *user, int done, int total)
{
    tn_progress_show(user, (double)done / total, done == total, "%d/%d frames", done, total);
    return tn_interrupted;
}

int tn_cmd_synth(tn_cli *c, tn_error *err)
{
    tn_progress bar = tn_progress_begin();
    tn_synth_options o = c->synth;
    if (!c->output_dir) {
        snprintf(err->message, sizeof err->message, "no --output-dir given");
        return err->status = TN_ERR_ARGUMENT;
    }
    o.out = c->output_dir;
    o.progress = show;
    o.user = &bar;
    int rc = tn_synth(&o, err);
    tn_progress_end(&bar);
    return rc;
}
