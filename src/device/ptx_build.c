#include "ptx.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int build_text(cl_program *out, tn_dev *d, const char *text, const char *file, tn_error *err)
{
    const size_t n = strlen(text);
    const unsigned char *binary = (const unsigned char *)text;
    cl_int status, e;
    cl_program p = clCreateProgramWithBinary(d->cl->ctx, 1, &d->cl->id, &n, &binary, &status, &e);
    if (!e) e = clBuildProgram(p, 1, &d->cl->id, TN_PTX_OPTIONS, NULL, NULL);
    char *log = p ? tn_build_log(d, p) : NULL;
    const char *serial = log ? strstr(log, "serialized") : NULL;
    int rc = 0;
    if (e)
        rc = tn_fail_cl(err, TN_ERR_DEVICE, e, "device '%s': cl/%s does not build from its rewritten PTX (%s): %.400s",
                        d->info.name, file, tn_cl_error(e), log ? log : "");
    else if (serial)
        rc = tn_fail(err, TN_ERR_DEVICE, "device '%s': this driver's compiler runs the matrix products of cl/%s one by one",
                     d->info.name, file);
    free(log);
    if (rc && p) clReleaseProgram(p);
    *out = rc ? NULL : p;
    return rc;
}

int tn_ptx_rebuild(tn_program *p, tn_dev *d, const char *file, tn_error *err)
{
    size_t n = 0;
    char *ptx = (char *)tn_binary_of(p->p, &n); /* that is its text */
    if (!ptx) return tn_oom(err);
    const bool hidden = tn_ptx_has_hidden(ptx);
    struct timespec now; /* the salt: a program out of the driver's cache would come without the report */
    clock_gettime(CLOCK_REALTIME, &now);
    const unsigned long long salt = (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec;
    char *text = hidden || d->bare ? tn_ptx_rewrite(ptx, d->bare, salt) : NULL;
    cl_program again = NULL;
    const int rc = text ? build_text(&again, d, text, file, err) : hidden ? tn_oom(err) : 0;
    p->bare = d->bare && !tn_ptx_has_pointers(again ? text : ptx);
    if (again || hidden) {
        clReleaseProgram(p->p);
        p->p = again;
    }
    free(ptx);
    free(text);
    return hidden ? rc : 0;
}
