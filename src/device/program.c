/* Building programs, and keeping the binaries: the key is everything that decides the binary, and is stored in the file; the
 * binary's length and hash behind it, because drivers abort on a damaged one. */
#include "clock.h"
#include "dev_cl.h"
#include "files.h"
#include "objects.h"
#include "ptx.h"
#include "source.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CACHE_FORMAT "tracknet-binary-3"

unsigned long long tn_cl_sources_hash(void)
{
    static atomic_ullong known; /* 0: not yet */
    unsigned long long h = atomic_load(&known);
    if (h) return h;
    h = TN_HASH0;
    for (const tn_cl_source *s = tn_cl_sources; s->file; s++) h = tn_hash(h, s->text, strlen(s->text) + 1);
    atomic_store(&known, h);
    return h;
}

/* Of a source's text; each is read once, for every launch that is recorded asks whether its program is there. */
static unsigned long long hash_of(const tn_cl_source *source)
{
    enum { MOST = 256 };
    static atomic_ullong known[MOST]; /* 0: not yet */
    const ptrdiff_t i = source - tn_cl_sources;
    unsigned long long h = i < MOST ? atomic_load(&known[i]) : 0;
    if (!h) h = tn_hash(TN_HASH0, source->text, strlen(source->text));
    if (i < MOST) atomic_store(&known[i], h);
    return h;
}

/* What all programs of a device are told (cl/shared/common.h): a compiler that nobody knows is given no assembly. */
static const char *of_all(const tn_dev *d)
{
    const unsigned needs = TN_CAP_AVX512_BF16 | TN_CAP_VECTORS;
    return (d->caps & needs) == needs && !(d->quirk_flags & TN_QUIRK_UNTRIED) ? " -DROUNDS_BF16" : "";
}

static const char *of_test(const tn_dev *d)
{
    return d->hasty ? " -cl-opt-disable" : "";
}

static char *cache_key(const tn_dev *d, const tn_cl_source *source, const char *options)
{
    return tn_strf(CACHE_FORMAT "%s|%s|%s|%s|%s|%s|%016llx|%s%s%s\n", d->bare ? "-bare" : "", d->info.platform, d->info.name,
                   d->info.driver, d->info.version, source->file, hash_of(source), options, of_all(d), of_test(d));
}

static char *cache_path(const tn_dev *d, const char *key)
{
    return tn_strf("%s/%016llx.clbin", d->cache_dir, tn_hash(TN_HASH0, key, strlen(key)));
}

/* A driver's own cache knows nothing of rewritten PTX, and would build what it was rewritten from each time. */
static bool uses_disk_cache(const tn_dev *d, const char *source)
{
    return d->cache_dir && (!(d->quirk_flags & TN_QUIRK_OWN_CACHE) || d->bare || tn_ptx_has_hidden(source));
}

/* What stands between key and binary. */
typedef struct {
    unsigned long long bytes, hash;
} cache_seal;

/* The binary within a file's bytes, or NULL where it is damaged or another key's. */
static const unsigned char *sealed_binary(const char *data, size_t len, const char *key, size_t *n)
{
    const size_t k = strlen(key);
    cache_seal seal;
    if (len < k + sizeof seal || memcmp(data, key, k) != 0) return NULL;
    memcpy(&seal, data + k, sizeof seal);
    const char *bin = data + k + sizeof seal;
    *n = len - k - sizeof seal;
    return *n && seal.bytes == *n && seal.hash == tn_hash(TN_HASH0, bin, *n) ? (const unsigned char *)bin : NULL;
}

/* A loaded binary as what kernels are created from. */
static cl_int load_binary(cl_program *p, const tn_dev *d, const unsigned char *bin, size_t n, const char *options)
{
    if (d->quirk_flags & TN_QUIRK_OBJECTS) return tn_object_load(p, d, bin, n);
    const cl_int e = tn_program_of_binary(p, d, bin, n);
    return e ? e : clBuildProgram(*p, 1, &d->cl->id, options, NULL, NULL);
}

/** No program where there is no usable binary; a file that cannot be used is removed, and replaced by the next one stored. */
static void load_cached(tn_program *out, const tn_dev *d, const char *key, const char *options)
{
    char *path = cache_path(d, key), *data = NULL;
    size_t len = 0, n = 0;
    cl_program p = NULL;
    tn_error ignored;
    const bool there = path && tn_is_file(path) && !tn_read_file(&data, &len, path, &ignored);
    const unsigned char *bin = there ? sealed_binary(data, len, key, &n) : NULL;
    if (bin && load_binary(&p, d, bin, n, options)) {
        if (p) clReleaseProgram(p);
        p = NULL;
    }
    if (there && !p) unlink(path);
    out->p = p;
    out->bare = p && d->bare && !tn_ptx_has_pointers((const char *)bin); /* the driver may have refused what makes it so */
    free(data);
    free(path);
}

static void store(const tn_dev *d, const unsigned char *bin, size_t n, const char *key)
{
    tn_text t = {0};
    char *path = cache_path(d, key);
    tn_error ignored;
    if (path) {
        tn_text_add(&t, key, strlen(key));
        const cache_seal seal = {n, tn_hash(TN_HASH0, bin, n)};
        tn_text_add(&t, (const char *)&seal, sizeof seal);
        tn_text_add(&t, (const char *)bin, n);
        if (!t.oom && !tn_mkdirs(d->cache_dir, &ignored)) (void)tn_write_file(path, t.s, t.len, &ignored);
    }
    tn_text_free(&t);
    free(path);
}

static int build_failed(tn_dev *d, cl_program p, const char *file, const char *options, int e, tn_error *err)
{
    char *log = tn_build_log(d, p);
    tn_fail_cl(err, TN_ERR_DEVICE, e, "device '%s': cl/%s does not build with '%s' (%s): %.500s", d->info.name, file, options,
               tn_cl_error(e), log ? log : "");
    free(log);
    return TN_ERR_DEVICE;
}

/* From its text; what can be loaded again is stored under `key`, unless that is NULL. */
static int build_anew(tn_program *out, tn_dev *d, const char *src, const char *file, const char *options, const char *key,
                      tn_error *err)
{
    const bool object = d->quirk_flags & TN_QUIRK_OBJECTS;
    size_t n = 0;
    int rc = 0;
    char *all = tn_strf("%s%s%s", options, of_all(d), of_test(d));
    cl_int e = all ? tn_source_build(&out->p, d, src, all) : CL_OUT_OF_HOST_MEMORY;
    free(all);
    if (!e && (d->bare || tn_ptx_has_hidden(src))) rc = tn_ptx_rebuild(out, d, file, err);
    unsigned char *bin = !e && !rc && (key || object) ? tn_binary_of(out->p, &n) : NULL;
    if (bin && key) store(d, bin, n, key);
    if (!e && object) e = tn_object_link(&out->p, d, bin, n);
    free(bin);
    if (e) rc = out->p ? build_failed(d, out->p, file, options, e, err) : tn_fail_cl(err, TN_ERR_DEVICE, e, "%s", tn_cl_error(e));
    if (rc && out->p) clReleaseProgram(out->p);
    if (rc) out->p = NULL;
    return rc;
}

static int build(tn_program *out, tn_dev *d, const char *file, const char *options, tn_error *err)
{
    const tn_cl_source *source = tn_source_find(file);
    if (!source) return tn_fail(err, TN_ERR_ARGUMENT, "no kernel source 'cl/%s' is embedded", file);
    const char *src = source->text;
    char *key = cache_key(d, source, options);
    if (!key) return tn_oom(err);
    const double begin = tn_now();
    const bool cached = uses_disk_cache(d, src);
    const bool rewritten = d->bare || tn_ptx_has_hidden(src);
    if (cached) load_cached(out, d, key, rewritten ? TN_PTX_OPTIONS : options);
    const bool loaded = out->p != NULL;
    const int rc = loaded ? 0 : build_anew(out, d, src, file, options, cached ? key : NULL, err);
    d->prepared += tn_now() - begin;
    tn_logf(d->log, TN_LOG_DEBUG, "cl/%s %s in %.3f s (%s)", file, loaded ? "loaded" : "built", tn_now() - begin, options);
    free(key);
    return rc;
}

static const tn_program *program_find(const tn_dev *d, const char *key)
{
    for (int i = 0; i < d->cl->n_programs; i++)
        if (!strcmp(d->cl->programs[i].key, key)) return &d->cl->programs[i];
    return NULL;
}

bool tn_program_is_built(const tn_dev *d, const char *file, const char *options)
{
    const tn_cl_source *source = tn_source_find(file);
    char *own = tn_strf("%s|%s", file, options), *key = source ? cache_key(d, source, options) : NULL;
    char *path = key && d->cache_dir ? cache_path(d, key) : NULL;
    const bool built = own && (program_find(d, own) || (path && tn_is_file(path)));
    free(path);
    free(key);
    free(own);
    return built;
}

static int program_get(tn_program *out, tn_dev *d, const char *file, const char *options, tn_error *err)
{
    char *key = tn_strf("%s|%s", file, options);
    if (!key) return tn_oom(err);
    const tn_program *known = program_find(d, key);
    *out = known ? *known : (tn_program){.key = key};
    const int rc = known ? 0 : build(out, d, file, options, err);
    if (rc || known) {
        free(key);
        return rc;
    }
    tn_program *v = realloc(d->cl->programs, sizeof *v * (size_t)(d->cl->n_programs + 1));
    if (!v) {
        clReleaseProgram(out->p);
        free(key);
        return tn_oom(err);
    }
    d->cl->programs = v;
    v[d->cl->n_programs++] = *out;
    return 0;
}

/* A kernel made for one size of group takes it, whatever the driver reckons for others. */
static size_t largest_group(const tn_dev *d, cl_kernel k)
{
    size_t made_for[3] = {0}, most = 0;
    clGetKernelWorkGroupInfo(k, d->cl->id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof made_for, made_for, NULL);
    if (d->quirk_flags & TN_QUIRK_GROUPS) clGetDeviceInfo(d->cl->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof most, &most, NULL);
    else clGetKernelWorkGroupInfo(k, d->cl->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL);
    return TN_MAX(most, made_for[0] * made_for[1] * made_for[2]);
}

static int kernel_new(tn_kernel **out, tn_dev *d, const tn_program *p, const char *entry, char *key, tn_error *err)
{
    cl_int e = 0;
    tn_kernel *k = calloc(1, sizeof *k), **v = realloc(d->cl->kernels, sizeof *v * (size_t)(d->cl->n_kernels + 1));
    if (v) d->cl->kernels = v;
    if (!k || !v) {
        free(k);
        return tn_oom(err);
    }
    k->k = clCreateKernel(p->p, entry, &e);
    if (e) {
        free(k);
        return tn_fail_cl(err, TN_ERR_DEVICE, e, "device '%s': kernel %s cannot be created (%s)", d->info.name, entry,
                          tn_cl_error(e));
    }
    k->max_wg = largest_group(d, k->k);
    k->entry = strdup(entry);
    k->key = key;
    k->dev = d;
    k->program = p->p;
    k->bare = p->bare;
    v[d->cl->n_kernels++] = k;
    *out = k;
    return 0;
}

int tn_kernel_get(tn_kernel **out, tn_dev *d, const char *file, const char *entry, const char *options, tn_error *err)
{
    char key[1024];
    snprintf(key, sizeof key, "%s|%s|%s", file, entry, options);
    for (int i = 0; i < d->cl->n_kernels; i++)
        if (!strcmp(d->cl->kernels[i]->key, key)) {
            *out = d->cl->kernels[i];
            return 0;
        }
    tn_program p;
    TN_TRY(program_get(&p, d, file, options, err));
    char *owned = strdup(key);
    if (!owned) return tn_oom(err);
    int rc = kernel_new(out, d, &p, entry, owned, err);
    if (rc) free(owned);
    return rc;
}

void tn_programs_free(tn_dev *d)
{
    for (int i = 0; i < d->cl->n_kernels; i++) {
        clReleaseKernel(d->cl->kernels[i]->k);
        free(d->cl->kernels[i]->key);
        free(d->cl->kernels[i]->entry);
        free(d->cl->kernels[i]);
    }
    free(d->cl->kernels);
    for (int i = 0; i < d->cl->n_programs; i++) {
        clReleaseProgram(d->cl->programs[i].p);
        free(d->cl->programs[i].key);
    }
    free(d->cl->programs);
}
