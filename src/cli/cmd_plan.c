#include "cli.h"
#include "files.h"

#include <stdio.h>
#include <string.h>

int tn_cmd_plan(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    tn_schedule_report *r = NULL;
    tn_schedule_options s = TN_SCHEDULE_OPTIONS_INIT;
    s.machine = c->machine;
    s.stages = c->run.stages;
    s.measure = c->measure;
    int rc = tn_cli_config(&cfg, c, err);
    if (!rc) rc = tn_schedule(cfg, &c->run, &s, &r, err);
    tn_bar_clear();
    if (!rc && c->svg) rc = tn_write_file(c->svg, r->svg, strlen(r->svg), err);
    if (!rc) fputs(c->json ? r->json : r->table, stdout);
    if (!rc && c->json) putchar('\n');
    tn_schedule_free(r);
    tn_config_free(cfg);
    return rc;
}
