#include "cli.h"
#include "fail.h"
#include "files.h"
#include "text.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PART ".part" /* of a file: what a process for one device writes */

enum { PATIENCE = 1800 }; /* seconds for one device */

/* ---- what stays out ---- */

static void put(tn_text *out, const char *text, const char *what, const char *instead)
{
    const size_t n = what ? strlen(what) : 0;
    for (const char *hit; n > 1 && (hit = strstr(text, what)) != NULL; text = hit + n) {
        tn_text_add(out, text, (size_t)(hit - text));
        tn_text_addf(out, "%s", instead);
    }
    tn_text_addf(out, "%s", text);
}

/* Every "what" becomes "instead". */
static void replace(tn_text *t, const char *what, const char *instead)
{
    tn_text out = {.oom = t->oom};
    put(&out, t->s ? t->s : "", what, instead);
    tn_text_free(t);
    *t = out;
}

/* Drivers name files in what they say. */
static void anonymous(tn_text *t, const tn_cli *c)
{
    struct utsname u;
    char user[64];
    if (c->run.cache && strchr(c->run.cache, '/')) replace(t, c->run.cache, "CACHE"); /* no path: 'on' or 'off' */
    replace(t, getenv("XDG_CACHE_HOME"), "CACHE");
    replace(t, getenv("HOME"), "~");
    snprintf(user, sizeof user, "/%s/", getenv("USER") ? getenv("USER") : "");
    if (user[1] != '/') replace(t, user, "/USER/");
    if (!uname(&u)) replace(t, u.nodename, "HOST");
}

/* ---- the machine ---- */

static void add_line_of(tn_text *out, const char *path, const char *key)
{
    char line[256];
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) {
            tn_text_addf(out, "%s", line);
            break;
        }
    if (f) fclose(f);
}

/* Names alone: values may be paths. */
static void add_variables(tn_text *out)
{
    static const char *const about[] = {"POCL_", "OCL_ICD_", "OPENCL_", "RUSTICL_", "CL_CONFIG_",
                                        "CUDA_", "ROCR_",    "GPU_",    "TRACKNET_"};
    tn_text_addf(out, "variables that are set:");
    for (char **e = environ; *e; e++)
        for (size_t i = 0; i < TN_COUNT(about); i++)
            if (tn_starts(*e, about[i])) tn_text_addf(out, " %.*s", (int)strcspn(*e, "="), *e);
    tn_text_addf(out, "\n");
}

static void add_machine(tn_text *out)
{
    struct utsname u;
    tn_text_addf(out, "tracknet %s\n", tn_version());
    if (!uname(&u)) tn_text_addf(out, "%s %s %s\n", u.sysname, u.release, u.machine);
    add_line_of(out, "/etc/os-release", "PRETTY_NAME");
    add_line_of(out, "/proc/cpuinfo", "model name");
    add_line_of(out, "/proc/meminfo", "MemTotal");
    add_line_of(out, "/proc/meminfo", "MemAvailable");
    add_variables(out);
}

/* ---- devices ---- */

/* In this process. */
static int examine(const tn_cli *c, const tn_device_info *d, tn_text *out, bool *works, tn_error *err)
{
    char *report;
    TN_TRY(tn_device_report(d->index, &c->run, c->tune, works, &report, err));
    tn_bar_clear();
    printf("%d  %s (%s): %s\n", d->index, d->name, d->platform, *works ? "works" : "FAILS");
    const char *why = *works ? NULL : strstr(report, "FAILED ");
    if (why) printf("   %.*s\n", (int)strcspn(why, "\n"), why);
    fflush(stdout);
    tn_text_addf(out, "%s", report);
    free(report);
    return 0;
}

/* The same command for one device. */
static int spawn_for(pid_t *pid, const tn_cli *c, const char *index, const char *file)
{
    const char *argv[16] = {c->run.helper, "doctor", "--device", index, "--out", file};
    char threads[16];
    int n = 6;
    snprintf(threads, sizeof threads, "%d", c->threads);
    if (c->threads) argv[n++] = "--threads", argv[n++] = threads;
    if (c->run.cache) argv[n++] = "--cache", argv[n++] = c->run.cache;
    if (c->tune) argv[n++] = "--tune";
    return posix_spawn(pid, c->run.helper, NULL, NULL, (char *const *)(uintptr_t)argv, environ);
}

static int wait_for(pid_t pid, int *status)
{
    const time_t end = time(NULL) + PATIENCE;
    while (waitpid(pid, status, WNOHANG) == 0) {
        if (time(NULL) > end) kill(pid, SIGKILL);
        else if (tn_interrupted) kill(pid, tn_interrupted);
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
    return *status;
}

/* In a process of its own: a driver that crashes or hangs costs its own part of the report. */
static bool examine_apart(const tn_cli *c, const tn_device_info *d, const char *file, tn_text *out)
{
    char index[16], *text = NULL;
    size_t n = 0;
    int status = -1;
    pid_t pid;
    tn_error ignored;
    snprintf(index, sizeof index, "%d", d->index);
    if (spawn_for(&pid, c, index, file)) return false;
    wait_for(pid, &status);
    if (!tn_read_file(&text, &n, file, &ignored)) tn_text_add(out, text, n);
    if (WIFSIGNALED(status)) {
        tn_text_addf(out, "FAILED device %d '%s' (%s, driver %s): its process ended with signal %d\n", d->index, d->name,
                     d->platform, d->driver, WTERMSIG(status));
        printf("%d  %s (%s): FAILS, its driver ended the process with signal %d\n", d->index, d->name, d->platform,
               WTERMSIG(status));
    }
    free(text);
    unlink(file);
    return WIFEXITED(status) && !WEXITSTATUS(status);
}

static int examine_all(const tn_cli *c, tn_device_info *const *v, int n, const char *file, tn_text *out, int *good, tn_error *err)
{
    char *part = tn_strf("%s" PART, file);
    int rc = part ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < n && !tn_interrupted; i++) {
        tn_text_addf(out, "\n==== device %d ====\n", i);
        *good += examine_apart(c, v[i], part, out);
    }
    free(part);
    return rc || !tn_interrupted ? rc : tn_fail(err, TN_ERR_CANCELLED, "stopped; nothing was written");
}

static int examine_one(const tn_cli *c, tn_device_info *const *v, tn_text *out, int *good, tn_error *err)
{
    int one;
    bool works = false;
    TN_TRY(tn_device_select(&one, c->run.device, err));
    TN_TRY(examine(c, v[one], out, &works, err));
    *good = works;
    return 0;
}

int tn_cmd_doctor(tn_cli *c, tn_error *err)
{
    const char *file = c->out ? c->out : "tracknet-doctor.txt";
    tn_device_info **v = NULL;
    tn_error why = {0};
    tn_text out = {0};
    int n = 0, good = 0, rc = 0;
    if (!c->run.device) add_machine(&out);
    if (tn_device_list(&v, &n, &why)) tn_text_addf(&out, "FAILED: %s\n", why.message);
    else if (c->run.device) rc = examine_one(c, v, &out, &good, err);
    else rc = examine_all(c, v, n, file, &out, &good, err);
    anonymous(&out, c);
    if (!rc && out.oom) rc = tn_oom(err);
    if (!rc) rc = tn_write_file(file, out.s, out.len, err);
    tn_text_free(&out);
    tn_device_list_free(v);
    if (rc) return rc;
    if (!tn_ends(file, PART)) printf("%s has the report\n", file);
    if (why.message[0]) return tn_fail(err, TN_ERR_DEVICE, "%s", why.message);
    return good ? 0 : tn_fail(err, TN_ERR_DEVICE, "no device works; %s says why", file);
}
