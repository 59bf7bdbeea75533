/**
 * safetensors files: mapped and checked on opening (every rule of the format and a few for hostile files), written
 * beside the target and renamed.
 */
#ifndef TN_SAFETENSORS_H
#define TN_SAFETENSORS_H
#include "fail.h"
#include "numeric.h"
#include <stdbool.h>
#include <stdint.h>

enum { TN_ST_MAX_DIMS = 8, TN_ST_NAME = 320 };

typedef struct tn_st_tensor {
    char *name, dtype[12]; /* as in the file: "F32", "U8", … */
    int ndim;
    int64_t shape[TN_ST_MAX_DIMS], count;
    size_t begin, bytes; /* in the data section; bytes: of its values, one behind the other */
    bool strided; /* the values lie apart (PyTorch's views): element (i, j, ...) at begin + (i*stride[0] + j*stride[1] ...) */
    int64_t stride[TN_ST_MAX_DIMS]; /* bytes */
} tn_st_tensor;

typedef struct tn_st_file {
    char *path;
    void *map;
    size_t size;
    const unsigned char *data;
    tn_st_tensor *t; /* sorted by name */
    int n;
} tn_st_file;

int tn_st_open(tn_st_file **out, const char *path, tn_error *err);
/** Maps `path`, whatever it holds: no tensors yet, data at its beginning. */
int tn_st_map(tn_st_file **out, const char *path, tn_error *err);
/** Sorts the tensors by name, as tn_st_find wants them. */
void tn_st_sort(tn_st_file *f);
/** Bits of an element of a dtype's name, 0 of an unknown one. */
int tn_st_bits(const char *dtype);
void tn_st_close(tn_st_file *f);
/** Borrowed, or NULL. */
const tn_st_tensor *tn_st_find(const tn_st_file *f, const char *name);
/** The first whose common spelling (tn_common_adapter_name) is that of `name`: an adapter's, whoever wrote it. */
const tn_st_tensor *tn_st_find_common(const tn_st_file *f, const char *name);
/** Values as float32 (from F32, F16 or BF16); dst holds count. A file cut short since opening is an error, not a crash. */
int tn_st_read_f32(const tn_st_file *f, const tn_st_tensor *t, float *dst, tn_error *err);
/** Raw bytes. */
int tn_st_read(const tn_st_file *f, const tn_st_tensor *t, void *dst, tn_error *err);

/** One tensor to write. */
typedef struct tn_st_entry {
    const char *name, *dtype;
    int ndim;
    int64_t shape[TN_ST_MAX_DIMS];
    const void *data; /* borrowed until the write; unread by tn_st_begin */
    size_t bytes;
} tn_st_entry;
/** Official order (dtype rank, then name), header padded to 8, metadata {"format":"pt"}; atomic. */
int tn_st_write(const char *path, tn_st_entry *entries, int n, tn_error *err);

/** The same piece by piece, so that one tensor at a time is in memory: begin with the layout, put each tensor in any
 * order, end. Until tn_st_end nothing stands at `path`; tn_st_abort leaves nothing behind. */
typedef struct tn_st_writer tn_st_writer;
int tn_st_begin(tn_st_writer **w, const char *path, const tn_st_entry *layout, int n, tn_error *err);
int tn_st_put(tn_st_writer *w, const char *name, const void *data, tn_error *err);
int tn_st_end(tn_st_writer *w, tn_error *err);
void tn_st_abort(tn_st_writer *w);
#endif
