#include "safetensors.h"
#include "files.h"
#include "jsonio.h"
#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_HEADER 100000000u

static const struct {
    const char *name;
    int bits, rank; /* rank: the official writer's order, larger first */
} dtypes[] = {
    {"U64", 64, 20},       {"I64", 64, 19},   {"F64", 64, 18},   {"C64", 64, 17},   {"F32", 32, 16}, {"U32", 32, 15},
    {"I32", 32, 14},       {"BF16", 16, 13},  {"F16", 16, 12},   {"U16", 16, 11},   {"I16", 16, 10}, {"F8_E5M2FNUZ", 8, 9},
    {"F8_E4M3FNUZ", 8, 8}, {"F8_E8M0", 8, 7}, {"F8_E4M3", 8, 6}, {"F8_E5M2", 8, 5}, {"I8", 8, 4},    {"U8", 8, 3},
    {"F6_E3M2", 6, 2},     {"F6_E2M3", 6, 2}, {"F4", 4, 1},      {"BOOL", 8, 0},
};

static int dtype_row(const char *name)
{
    for (size_t i = 0; i < TN_COUNT(dtypes); i++)
        if (!strcmp(dtypes[i].name, name)) return (int)i;
    return -1;
}

int tn_st_bits(const char *dtype)
{
    const int row = dtype_row(dtype);
    return row < 0 ? 0 : dtypes[row].bits;
}

static int st_bad(const tn_st_file *f, tn_error *err, const char *tensor, const char *what)
{
    return tn_fail(err, TN_ERR_FORMAT, "%s: %s%s%s%s; the file is damaged or was not fully downloaded, fetch it again", f->path,
                   tensor ? "tensor '" : "", tensor ? tensor : "", tensor ? "' " : "", what);
}

/* A non-negative integer below 2^48. */
static bool size_ok(const json_t *v, int64_t *out)
{
    if (!json_is_integer(v)) return false;
    *out = json_integer_value(v);
    return *out >= 0 && *out < ((int64_t)1 << 48);
}

static int parse_shape(const tn_st_file *f, tn_st_tensor *t, const json_t *shape, tn_error *err)
{
    size_t k = json_array_size(shape);
    if (!json_is_array(shape) || k > TN_ST_MAX_DIMS) return st_bad(f, err, t->name, "has no shape of at most 8 dimensions");
    t->ndim = (int)k;
    t->count = 1;
    for (size_t i = 0; i < k; i++) {
        if (!size_ok(json_array_get(shape, i), &t->shape[i])) return st_bad(f, err, t->name, "has a dimension that is no size");
        if (__builtin_mul_overflow(t->count, t->shape[i], &t->count) || t->count >= (int64_t)1 << 48)
            return st_bad(f, err, t->name, "has a shape too large to be true");
    }
    return 0;
}

static int parse_tensor(tn_st_file *f, tn_st_tensor *t, const char *name, const json_t *v, size_t data_size, tn_error *err)
{
    const json_t *off = json_object_get(v, "data_offsets");
    const char *dt = tn_json_str(v, "dtype", "");
    int row = dtype_row(dt);
    int64_t b, e, bits;
    t->name = strdup(name);
    if (!t->name) return tn_oom(err);
    if (!json_is_object(v) || json_object_size(v) != 3 || row < 0)
        return st_bad(f, err, name, "needs exactly dtype, shape and data_offsets with a known dtype");
    snprintf(t->dtype, sizeof t->dtype, "%s", dt);
    TN_TRY(parse_shape(f, t, json_object_get(v, "shape"), err));
    if (json_array_size(off) != 2 || !size_ok(json_array_get(off, 0), &b) || !size_ok(json_array_get(off, 1), &e) || e < b ||
        (uint64_t)e > data_size)
        return st_bad(f, err, name, "has data_offsets outside the file");
    if (__builtin_mul_overflow(t->count, (int64_t)dtypes[row].bits, &bits) || bits % 8 || bits / 8 != e - b)
        return st_bad(f, err, name, "has a shape that does not fit its data_offsets");
    t->begin = (size_t)b;
    t->bytes = (size_t)(e - b);
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const tn_st_tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tn_st_tensor *)a)->name, ((const tn_st_tensor *)b)->name);
}

void tn_st_sort(tn_st_file *f)
{
    if (f->n > 1) qsort(f->t, (size_t)f->n, sizeof *f->t, by_name);
}

static int check_layout(tn_st_file *f, size_t data_size, tn_error *err)
{
    size_t at = 0;
    if (f->n > 1) qsort(f->t, (size_t)f->n, sizeof *f->t, by_offset);
    for (int i = 0; i < f->n; i++) {
        if (f->t[i].begin != at) return st_bad(f, err, f->t[i].name, "leaves a hole or overlaps another tensor");
        at += f->t[i].bytes;
    }
    if (at != data_size) return st_bad(f, err, NULL, "the data does not end where the file does");
    tn_st_sort(f);
    return 0;
}

static int check_metadata(const tn_st_file *f, const json_t *meta, tn_error *err)
{
    const char *key;
    json_t *v;
    if (!json_is_object(meta)) return st_bad(f, err, NULL, "__metadata__ is no map");
    json_object_foreach((json_t *)meta, key,
                        v) if (!json_is_string(v)) return st_bad(f, err, NULL, "__metadata__ holds something that is no string");
    return 0;
}

static int parse_header(tn_st_file *f, tn_error *err)
{
    const unsigned char *m = f->map;
    uint64_t n = 0;
    if (f->size < 8) return st_bad(f, err, NULL, "shorter than a safetensors header");
    for (int i = 7; i >= 0; i--) n = n << 8 | m[i];
    if (n > MAX_HEADER || 8 + n > f->size) return st_bad(f, err, NULL, "the header is longer than the file");
    if (n < 2 || m[8] != '{') return st_bad(f, err, NULL, "the header is no JSON object");
    f->data = m + 8 + n;
    size_t data_size = f->size - 8 - n;
    json_t *h;
    TN_TRY(tn_json_parse(&h, (const char *)m + 8, n, f->path, err));
    int rc = 0;
    const char *key;
    json_t *v;
    f->t = calloc(json_object_size(h) + 1, sizeof *f->t);
    if (!f->t) rc = tn_oom(err);
    if (!rc && !json_is_object(h)) rc = st_bad(f, err, NULL, "the header is no JSON object");
    if (!rc) json_object_foreach(h, key, v)
        {
            rc = !strcmp(key, "__metadata__") ? check_metadata(f, v, err) : parse_tensor(f, &f->t[f->n++], key, v, data_size, err);
            if (rc) break;
        }
    json_decref(h);
    return rc ? rc : check_layout(f, data_size, err);
}

int tn_st_map(tn_st_file **out, const char *path, tn_error *err)
{
    *out = NULL;
    tn_st_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return tn_oom(err);
    }
    int rc = 0, fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
        rc = tn_fail(err, TN_ERR_IO, "cannot open '%s': %s", path, fd < 0 ? strerror(errno) : "not a file");
    else if (st.st_size < 8) rc = st_bad(f, err, NULL, "shorter than a header");
    if (!rc) {
        f->size = (size_t)st.st_size;
        f->map = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (f->map == MAP_FAILED) {
            f->map = NULL;
            rc = tn_fail(err, TN_ERR_IO, "cannot map '%s': %s", path, strerror(errno));
        }
    }
    if (fd >= 0) close(fd);
    f->data = f->map;
    if (rc) tn_st_close(f);
    else *out = f;
    return rc;
}

int tn_st_open(tn_st_file **out, const char *path, tn_error *err)
{
    tn_st_file *f;
    *out = NULL;
    TN_TRY(tn_st_map(&f, path, err));
    int rc = parse_header(f, err);
    if (rc) tn_st_close(f);
    else *out = f;
    return rc;
}

void tn_st_close(tn_st_file *f)
{
    if (!f) return;
    for (int i = 0; i < f->n; i++) free(f->t[i].name);
    free(f->t);
    if (f->map) munmap(f->map, f->size);
    free(f->path);
    free(f);
}

const tn_st_tensor *tn_st_find(const tn_st_file *f, const char *name)
{
    tn_st_tensor key = {.name = (char *)name};
    return f->n ? bsearch(&key, f->t, (size_t)f->n, sizeof *f->t, by_name) : NULL;
}

const tn_st_tensor *tn_st_find_common(const tn_st_file *f, const char *name)
{
    char want[TN_ST_NAME], have[TN_ST_NAME];
    tn_common_adapter_name(want, sizeof want, name);
    for (int i = 0; i < f->n; i++) {
        tn_common_adapter_name(have, sizeof have, f->t[i].name);
        if (!strcmp(want, have)) return &f->t[i];
    }
    return NULL;
}

/* The mapping would raise SIGBUS if the file shrank; look at its size before touching it. */
static int still_whole(const tn_st_file *f, tn_error *err)
{
    struct stat st;
    if (stat(f->path, &st) || (size_t)st.st_size != f->size) return st_bad(f, err, NULL, "changed its size while being read");
    return 0;
}

/* Pages that were read once need not stay: a checkpoint may be larger than memory. */
static void let_go(const tn_st_file *f, const tn_st_tensor *t)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)(f->data + t->begin);
    const uintptr_t first = TN_ROUND_UP(from, page), end = (from + t->bytes) / page * page;
    if (end > first) madvise((void *)first, end - first, MADV_DONTNEED);
}

/* Values that lie apart, put one behind the other. */
static void gather(unsigned char *dst, const tn_st_file *f, const tn_st_tensor *t)
{
    int64_t at[TN_ST_MAX_DIMS] = {0};
    const size_t size = t->count ? t->bytes / (size_t)t->count : 0;
    const unsigned char *src = f->data + t->begin;
    for (int64_t i = 0; i < t->count; i++, dst += size) {
        int64_t from = 0;
        for (int k = 0; k < t->ndim; k++) from += at[k] * t->stride[k];
        memcpy(dst, src + from, size);
        for (int k = t->ndim - 1; k >= 0 && ++at[k] == t->shape[k]; k--) at[k] = 0;
    }
}

int tn_st_read(const tn_st_file *f, const tn_st_tensor *t, void *dst, tn_error *err)
{
    TN_TRY(still_whole(f, err));
    if (t->strided) {
        gather(dst, f, t);
        return 0;
    }
    memcpy(dst, f->data + t->begin, t->bytes);
    let_go(f, t);
    return 0;
}

int tn_st_read_f32(const tn_st_file *f, const tn_st_tensor *t, float *dst, tn_error *err)
{
    const bool bf = !strcmp(t->dtype, "BF16");
    const size_t n = (size_t)t->count;
    if (!strcmp(t->dtype, "F32")) return tn_st_read(f, t, dst, err);
    if (!bf && strcmp(t->dtype, "F16"))
        return tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' is %s; F32, F16 and BF16 can be read here", f->path, t->name, t->dtype);
    unsigned char *half = (unsigned char *)dst + t->bytes; /* the second half of dst, which the floats reach last */
    TN_TRY(tn_st_read(f, t, half, err));
    for (size_t i = 0; i < n; i++) {
        const uint16_t h = (uint16_t)(half[2 * i] | half[2 * i + 1] << 8);
        dst[i] = bf ? tn_bf16_to_f32(h) : tn_f16_to_f32(h);
    }
    return 0;
}

static int writer_order(const void *a, const void *b)
{
    const tn_st_entry *x = a, *y = b;
    int rx = dtypes[dtype_row(x->dtype)].rank, ry = dtypes[dtype_row(y->dtype)].rank;
    return rx != ry ? ry - rx : strcmp(x->name, y->name);
}

static char *header_of(const tn_st_entry *e, int n, size_t *len)
{
    json_t *h = json_object();
    json_object_set_new(h, "__metadata__", json_pack("{s:s}", "format", "pt"));
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (int k = 0; k < e[i].ndim; k++) json_array_append_new(shape, json_integer(e[i].shape[k]));
        json_object_set_new(h, e[i].name,
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype", e[i].dtype, "shape", shape, "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + e[i].bytes)));
        at += e[i].bytes;
    }
    char *s = json_dumps(h, JSON_COMPACT);
    json_decref(h);
    if (!s) return NULL;
    *len = TN_ROUND_UP(strlen(s), (size_t)8);
    char *padded = malloc(*len + 1);
    if (padded) {
        memset(padded, ' ', *len);
        memcpy(padded, s, strlen(s));
    }
    free(s);
    return padded;
}

struct tn_st_writer {
    char *path, *tmp;
    int fd, n;
    tn_st_entry *e; /* sorted; names owned */
    size_t *at;
    bool *written;
};

static int write_failed(const tn_st_writer *w, tn_error *err)
{
    return tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", w->path, strerror(errno));
}

static int write_at(const tn_st_writer *w, const void *data, size_t bytes, size_t at, tn_error *err)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t k = pwrite(w->fd, (const char *)data + done, bytes - done, (off_t)(at + done));
        if (k < 0 && errno == EINTR) continue;
        if (k == 0) errno = ENOSPC;
        if (k <= 0) return write_failed(w, err);
        done += (size_t)k;
    }
    return 0;
}

static int st_lay_out(tn_st_writer *w, const tn_st_entry *layout, int n, tn_error *err)
{
    for (int i = 0; i < n; i++) {
        if (dtype_row(layout[i].dtype) < 0)
            return tn_fail(err, TN_ERR_ARGUMENT, "tensor '%s': dtype %s is not known", layout[i].name, layout[i].dtype);
        w->e[i] = layout[i];
        if (!(w->e[w->n++].name = strdup(layout[i].name))) return tn_oom(err);
    }
    if (n > 1) qsort(w->e, (size_t)n, sizeof *w->e, writer_order);
    size_t len = 0;
    char *h = header_of(w->e, n, &len);
    unsigned char size[8];
    for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)len >> (8 * i));
    size_t at = 8 + len;
    for (int i = 0; i < n; at += w->e[i++].bytes) w->at[i] = at;
    int rc = h ? write_at(w, size, 8, 0, err) : tn_oom(err);
    if (!rc) rc = write_at(w, h, len, 8, err);
    free(h);
    return rc;
}

int tn_st_begin(tn_st_writer **out, const char *path, const tn_st_entry *layout, int n, tn_error *err)
{
    tn_st_writer *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return tn_oom(err);
    w->fd = -1;
    w->path = strdup(path);
    w->tmp = tn_strf("%s.tmp.%ld", path, (long)getpid());
    w->e = calloc((size_t)n + 1, sizeof *w->e);
    w->at = calloc((size_t)n + 1, sizeof *w->at);
    w->written = calloc((size_t)n + 1, sizeof *w->written);
    int rc = w->path && w->tmp && w->e && w->at && w->written ? 0 : tn_oom(err);
    if (!rc && (w->fd = open(w->tmp, O_RDWR | O_CREAT | O_TRUNC, 0666)) < 0) rc = write_failed(w, err);
    if (!rc) rc = st_lay_out(w, layout, n, err);
    if (rc) {
        tn_st_abort(w);
        return rc;
    }
    *out = w;
    return 0;
}

int tn_st_put(tn_st_writer *w, const char *name, const void *data, tn_error *err)
{
    for (int i = 0; i < w->n; i++)
        if (!strcmp(w->e[i].name, name)) {
            w->written[i] = true;
            return write_at(w, data, w->e[i].bytes, w->at[i], err);
        }
    return tn_fail(err, TN_ERR_ARGUMENT, "'%s' has no place in '%s'", name, w->path);
}

int tn_st_end(tn_st_writer *w, tn_error *err)
{
    int rc = 0;
    for (int i = 0; !rc && i < w->n; i++)
        if (!w->written[i]) rc = tn_fail(err, TN_ERR_ARGUMENT, "'%s' was never written to '%s'", w->e[i].name, w->path);
    if (!rc && fsync(w->fd)) rc = write_failed(w, err);
    if (!rc && close(w->fd)) rc = write_failed(w, err);
    if (!rc) w->fd = -1;
    if (!rc && rename(w->tmp, w->path)) rc = write_failed(w, err);
    if (!rc) w->tmp[0] = 0;
    tn_st_abort(w);
    return rc;
}

void tn_st_abort(tn_st_writer *w)
{
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->tmp && w->tmp[0]) unlink(w->tmp);
    for (int i = 0; i < w->n; i++) free((void *)w->e[i].name);
    free(w->path);
    free(w->tmp);
    free(w->e);
    free(w->at);
    free(w->written);
    free(w);
}

int tn_st_write(const char *path, tn_st_entry *entries, int n, tn_error *err)
{
    tn_st_writer *w;
    TN_TRY(tn_st_begin(&w, path, entries, n, err));
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) rc = tn_st_put(w, entries[i].name, entries[i].data, err);
    if (!rc) return tn_st_end(w, err);
    tn_st_abort(w);
    return rc;
}
