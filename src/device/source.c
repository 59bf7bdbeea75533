/* Building from text. For every program PoCL reads the declarations of all functions of OpenCL C, 18000 lines of clang's
 * opencl-c.h: two thirds of what its compiler takes for most of ours. It is told that it has read them, and given those that
 * kernels call. */
#include "source.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FUNCTIONS "shared/functions.h"
#define HAS_READ  " -D_OPENCL_H_" /* what opencl-c.h defines to be read once */

const tn_cl_source *tn_source_find(const char *file)
{
    for (const tn_cl_source *s = tn_cl_sources; s->file; s++)
        if (!strcmp(s->file, file)) return s;
    return NULL;
}

/* A driver whose own cache several processes fill at once (PoCL) may fail without a word on the text, and not the next time. */
static bool is_worth_another_try(const tn_dev *d, cl_program p, cl_int e)
{
    char *log = e == CL_BUILD_PROGRAM_FAILURE || e == CL_COMPILE_PROGRAM_FAILURE ? tn_build_log(d, p) : NULL;
    const bool worth = log && !strstr(log, "error:") && !strstr(log, "ERROR");
    free(log);
    return worth;
}

/* Of the text, or of two one after the other. */
static cl_int build_texts(cl_program *out, const tn_dev *d, const char *const texts[2], const char *options)
{
    enum { TRIES = 4 };
    const bool object = d->quirk_flags & TN_QUIRK_OBJECTS;
    cl_int e = CL_SUCCESS;
    for (int i = 1; i <= TRIES; i++) {
        cl_program p = *out = clCreateProgramWithSource(d->cl->ctx, texts[1] ? 2 : 1, (const char **)texts, NULL, &e);
        if (!e && object) e = clCompileProgram(p, 1, &d->cl->id, options, 0, NULL, NULL, NULL, NULL);
        else if (!e) e = clBuildProgram(p, 1, &d->cl->id, options, NULL, NULL);
        if (!e || i == TRIES || !p || !is_worth_another_try(d, p, e)) break;
        clReleaseProgram(p);
        nanosleep(&(struct timespec){0, i * 50000000L}, NULL);
    }
    return e;
}

/* With our declarations. */
static bool build_declared(cl_program *out, const tn_dev *d, const char *text, const char *options)
{
    const tn_cl_source *functions = tn_source_find(FUNCTIONS);
    char *all = functions ? tn_strf("%s" HAS_READ, options) : NULL;
    const bool built = all && !build_texts(out, d, (const char *[2]){functions->text, text}, all);
    free(all);
    if (built) return true;
    if (*out) clReleaseProgram(*out);
    *out = NULL;
    return false;
}

cl_int tn_source_build(cl_program *out, tn_dev *d, const char *text, const char *options)
{
    const bool declares = d->quirk_flags & TN_QUIRK_DECLARES;
    *out = NULL;
    if (declares && build_declared(out, d, text, options)) return CL_SUCCESS;
    const cl_int e = build_texts(out, d, (const char *[2]){text, NULL}, options);
    if (!e && declares) d->quirk_flags &= ~(unsigned)TN_QUIRK_DECLARES; /* the next one would not either */
    return e;
}
