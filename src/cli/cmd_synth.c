#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

int tn_cmd_synth(tn_cli *c, tn_error *err)
{
    tn_synth_options o = c->synth;
    if (!c->output_dir) return tn_fail(err, TN_ERR_ARGUMENT, "no --output-dir given");
    o.out = c->output_dir;
    if (c->seed) o.seed = strtoull(c->seed, NULL, 10);
    o.progress = tn_cli_progress;
    o.user = c;
    return tn_synth(&o, err);
}
