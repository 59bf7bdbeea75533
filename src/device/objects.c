#include "objects.h"

#include <string.h>

/* A file within an object is its name's length, its name, its own length and itself; lengths are little-endian, of 4 bytes. */
static const char code_file[] = "/program.bc";
static const unsigned char code_begin[] = {'B', 'C', 0xC0, 0xDE};

static size_t length_at(const unsigned char *p)
{
    return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

const unsigned char *tn_object_code(const unsigned char *object, size_t bytes, size_t *n)
{
    const size_t name = sizeof code_file - 1, length = 4;
    const unsigned char *at = memmem(object, bytes, code_file, name);
    if (!at) return NULL;
    const size_t left = bytes - (size_t)(at - object) - name;
    if (left < length + sizeof code_begin) return NULL;
    const unsigned char *code = at + name + length;
    *n = length_at(at + name);
    return *n >= sizeof code_begin && *n <= left - length && !memcmp(code, code_begin, sizeof code_begin) ? code : NULL;
}

static cl_int build_code(cl_program *out, const tn_dev *d, const unsigned char *object, size_t bytes)
{
    size_t n = 0;
    const unsigned char *code = tn_object_code(object, bytes, &n);
    *out = NULL;
    if (!code) return CL_INVALID_BINARY;
    const cl_int e = tn_program_of_binary(out, d, code, n);
    return e ? e : clBuildProgram(*out, 1, &d->cl->id, NULL, NULL, NULL);
}

static cl_int link_whole(cl_program *p, const tn_dev *d)
{
    cl_int e = 0;
    cl_program linked = clLinkProgram(d->cl->ctx, 1, &d->cl->id, NULL, 1, p, NULL, NULL, &e);
    if (!linked) return e ? e : CL_LINK_PROGRAM_FAILURE;
    if (e) {
        clReleaseProgram(linked);
        return e;
    }
    clReleaseProgram(*p);
    *p = linked;
    return CL_SUCCESS;
}

static void release(cl_program *p)
{
    if (*p) clReleaseProgram(*p);
    *p = NULL;
}

cl_int tn_object_load(cl_program *out, const tn_dev *d, const unsigned char *object, size_t bytes)
{
    if (!build_code(out, d, object, bytes)) return CL_SUCCESS;
    release(out);
    cl_int e = tn_program_of_binary(out, d, object, bytes);
    if (!e) e = link_whole(out, d);
    if (e) release(out);
    return e;
}

cl_int tn_object_link(cl_program *p, const tn_dev *d, const unsigned char *object, size_t bytes)
{
    cl_program built = NULL;
    if (!object || build_code(&built, d, object, bytes)) {
        release(&built);
        return link_whole(p, d);
    }
    clReleaseProgram(*p);
    *p = built;
    return CL_SUCCESS;
}
