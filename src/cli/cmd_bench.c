#include "cli.h"
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints a text and releases it. */
static int show_text(char *text, int rc)
{
    if (!rc) fputs(text, stdout);
    free(rc ? NULL : text);
    return rc;
}

static int write_page(const tn_bench_result *const *r, int n, const char *path, tn_error *err)
{
    char *text;
    int rc = tn_bench_html(r, n, &text, err);
    if (rc) return rc;
    rc = tn_write_file(path, text, strlen(text), err);
    free(text);
    return rc;
}

/* ---- results that are there ---- */

/* What the command prints, or writes with --json FILE. */
static int text_of(const tn_cli *c, const tn_bench_result *const *r, int n, char **text, tn_error *err)
{
    if (!strcmp(c->action, "compare")) return tn_bench_compare(r, n, c->json, text, err);
    return c->json ? tn_bench_json(r[0], text, err) : tn_bench_table(r[0], text, err);
}

static int show_results(const tn_cli *c, const tn_bench_result *const *r, int n, tn_error *err)
{
    char *text = NULL;
    int rc = c->html ? write_page(r, n, c->html, err) : 0;
    if (!rc) rc = text_of(c, r, n, &text, err);
    if (rc || !c->json_file) return show_text(text, rc);
    rc = tn_write_file(c->json_file, text, strlen(text), err);
    free(text);
    return rc;
}

static int with_results(tn_cli *c, tn_error *err)
{
    enum { MOST = sizeof c->files / sizeof *c->files };
    tn_bench_result *r[MOST] = {0};
    int rc = 0, n = 0;
    for (; !rc && n < c->n_files; n++) rc = tn_bench_read(&r[n], c->files[n], err);
    if (!rc) rc = show_results(c, (const tn_bench_result *const *)r, n, err);
    for (int i = 0; i < MOST; i++) tn_bench_free(r[i]);
    return rc;
}

/* ---- a new one ---- */

static int keep_result(const tn_cli *c, const tn_bench_result *r, tn_error *err)
{
    char *text;
    int rc = c->json_file ? tn_bench_write(r, c->json_file, err) : 0;
    if (!rc && c->html) rc = write_page((const tn_bench_result *const *)&r, 1, c->html, err);
    if (rc) return rc;
    rc = c->json && !c->json_file ? tn_bench_json(r, &text, err) : tn_bench_table(r, &text, err);
    if (!rc && c->json && !c->json_file) puts(text);
    else return show_text(text, rc);
    free(text);
    return 0;
}

/* Where a file is to go is looked at before minutes are spent. */
static int check_target(const char *path, const char *option, tn_error *err)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    char *folder = slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : path ? strdup(".") : NULL;
    if (!folder) return 0;
    const bool there = tn_is_dir(folder) && !tn_is_dir(path);
    free(folder);
    return there ? 0 : tn_fail(err, TN_ERR_IO, "%s: there is no folder for %s, or it is one itself", option, path);
}

static int measure(tn_cli *c, tn_error *err)
{
    tn_bench_options p = TN_BENCH_OPTIONS_INIT;
    tn_bench_result *r = NULL;
    p.effort = c->quick ? TN_BENCH_QUICK : c->full ? TN_BENCH_FULL : TN_BENCH_NORMAL;
    p.parts = c->only;
    p.sizes = c->sizes;
    p.config_dir = c->source.config_dir;
    p.command = c->line;
    p.seconds = c->budget;
    int rc = check_target(c->json_file, "--json", err);
    if (!rc) rc = check_target(c->html, "--html", err);
    if (!rc) rc = tn_bench_run(&c->run, &p, &r, err);
    tn_bar_clear();
    if (!rc) rc = keep_result(c, r, err);
    const int failed = rc ? 0 : tn_bench_failures(r);
    tn_bench_free(r);
    if (!failed) return rc;
    return tn_fail(err, TN_ERR_NUMERIC,
                   "%d measurement(s) failed their check against plain C or did not run: see FAILED above, and "
                   "'tracknet devices --self-test'",
                   failed);
}

int tn_cmd_bench(tn_cli *c, tn_error *err)
{
    if (c->quick && c->full) return tn_fail(err, TN_ERR_ARGUMENT, "say --quick or --full, not both");
    if (!c->action) return measure(c, err);
    if (strcmp(c->action, "compare") != 0 && strcmp(c->action, "show") != 0)
        return tn_fail(err, TN_ERR_ARGUMENT, "there is no 'bench %s': say compare or show, and files, or options alone", c->action);
    if (!strcmp(c->action, "show") ? c->n_files != 1 : c->n_files < 1)
        return tn_fail(err, TN_ERR_ARGUMENT,
                       !strcmp(c->action, "show") ? "bench show takes one result file" : "name the files to compare");
    return with_results(c, err);
}
