#include "torch_file.h"
#include "pickle.h"
#include "text.h"
#include "torch_zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    tn_st_file *f;
    tn_zip zip;
    tn_pickle p;
    tn_error *err;
} torch_reader;

static const struct {
    const char *torch, *dtype;
} storages[] = {
    {"torch.FloatStorage", "F32"},
    {"torch.HalfStorage", "F16"},
    {"torch.BFloat16Storage", "BF16"},
    {"torch.DoubleStorage", "F64"},
    {"torch.LongStorage", "I64"},
    {"torch.IntStorage", "I32"},
    {"torch.ShortStorage", "I16"},
    {"torch.CharStorage", "I8"},
    {"torch.ByteStorage", "U8"},
    {"torch.BoolStorage", "BOOL"},
    {"torch.ComplexFloatStorage", "C64"},
    {"torch.uint16", "U16"},
    {"torch.uint32", "U32"},
    {"torch.uint64", "U64"},
    {"torch.float8_e4m3fn", "F8_E4M3"},
    {"torch.float8_e5m2", "F8_E5M2"},
};

static int torch_bad(const torch_reader *r, const char *tensor, const char *what)
{
    return tn_fail(r->err, TN_ERR_FORMAT, "%s: tensor '%s' %s; the file is damaged, fetch or save it again", r->f->path, tensor,
                   what);
}

static int not_a_tensor(const torch_reader *r, const char *key, const char *global)
{
    return tn_fail(
        r->err, TN_ERR_FORMAT,
        "%s: '%s' in its state_dict is made by '%s', and only tensors are read here, nothing is executed; save the tensors "
        "alone with safetensors.torch.save_file",
        r->f->path, key, global);
}

/* ---- looking at nodes ---- */

static const tn_pk_node *node(const torch_reader *r, int i)
{
    return &r->p.v[i];
}

/* Child k of a tuple, or NULL. */
static const tn_pk_node *item(const torch_reader *r, const tn_pk_node *x, int k)
{
    return x && x->kind == TN_PK_TUPLE && k < x->n ? node(r, x->kid[k]) : NULL;
}

static const char *called(const torch_reader *r, const tn_pk_node *x)
{
    const tn_pk_node *fn = x->kind == TN_PK_CALL ? node(r, x->fn) : x;
    return fn->kind == TN_PK_GLOBAL ? fn->text : x->kind == TN_PK_CALL ? "?" : NULL;
}

static bool is_dict(const torch_reader *r, const tn_pk_node *x)
{
    return x->kind == TN_PK_DICT || (x->kind == TN_PK_CALL && !strcmp(called(r, x), "collections.OrderedDict"));
}

static bool is_text(const tn_pk_node *x)
{
    return x && x->kind == TN_PK_TEXT && strlen(x->text) == x->len;
}

/* ---- one tensor ---- */

/* Arguments of torch._utils._rebuild_tensor_v2 or _v3, behind any wrapper; NULL with *global the name that is no tensor. */
static const tn_pk_node *tensor_args(const torch_reader *r, const tn_pk_node *x, const char **global, bool *v3)
{
    for (int deep = 0; deep < 4 && x && x->kind == TN_PK_CALL; deep++) {
        const char *name = called(r, x);
        const tn_pk_node *args = node(r, x->args), *fn = item(r, args, 0);
        *global = name;
        *v3 = !strcmp(name, "torch._utils._rebuild_tensor_v3");
        if (*v3 || !strcmp(name, "torch._utils._rebuild_tensor_v2")) return args;
        if (!strcmp(name, "torch._utils._rebuild_parameter") || !strcmp(name, "torch._utils._rebuild_parameter_with_state")) {
            x = fn;
        } else if (!strcmp(name, "torch._tensor._rebuild_from_type_v2") && fn && fn->kind == TN_PK_GLOBAL) {
            *global = fn->text;
            *v3 = !strcmp(fn->text, "torch._utils._rebuild_tensor_v3");
            return *v3 || !strcmp(fn->text, "torch._utils._rebuild_tensor_v2") ? item(r, args, 2) : NULL;
        } else {
            return NULL;
        }
    }
    return NULL;
}

static const char *dtype_of_storage(const tn_pk_node *global)
{
    for (size_t i = 0; global && global->kind == TN_PK_GLOBAL && i < TN_COUNT(storages); i++)
        if (!strcmp(storages[i].torch, global->text)) return storages[i].dtype;
    return NULL;
}

static int find_storage(const torch_reader *r, const tn_pk_node *args, bool v3, tn_st_tensor *t, const tn_zip_entry **data)
{
    const tn_pk_node *persistent = item(r, args, 0);
    const tn_pk_node *id = persistent && persistent->kind == TN_PK_PERSISTENT ? node(r, persistent->kid[0]) : NULL;
    const tn_pk_node *type = v3 ? item(r, args, 6) : item(r, id, 1), *key = item(r, id, 2);
    if (!is_text(key)) return torch_bad(r, t->name, "has no storage");
    const char *dtype = dtype_of_storage(type);
    if (!dtype) return not_a_tensor(r, t->name, type && type->kind == TN_PK_GLOBAL ? type->text : "an unknown storage");
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    char *name = tn_strf("data/%s", key->text);
    if (!name) return tn_oom(r->err);
    *data = tn_zip_find(&r->zip, name);
    free(name);
    return *data ? 0 : torch_bad(r, t->name, "has its values in a file that is missing");
}

/* Shape and strides; *last: the farthest element from the first. */
static int read_shape(const torch_reader *r, const tn_pk_node *args, tn_st_tensor *t, int64_t *last)
{
    const tn_pk_node *size = item(r, args, 2), *stride = item(r, args, 3);
    if (!size || !stride || size->kind != TN_PK_TUPLE || stride->kind != TN_PK_TUPLE || size->n != stride->n ||
        size->n > TN_ST_MAX_DIMS)
        return torch_bad(r, t->name, "has no shape of at most 8 dimensions");
    t->ndim = size->n;
    t->count = 1;
    *last = 0;
    for (int k = 0; k < t->ndim; k++) {
        const tn_pk_node *n = item(r, size, k), *s = item(r, stride, k);
        const int64_t most = (int64_t)1 << 40;
        int64_t way;
        if (n->kind != TN_PK_INT || s->kind != TN_PK_INT || n->i < 0 || s->i < 0 || n->i > most || s->i > most)
            return torch_bad(r, t->name, "has a dimension that is no size");
        t->shape[k] = n->i;
        t->stride[k] = s->i;
        if (__builtin_mul_overflow(t->count, n->i, &t->count) || t->count > most ||
            __builtin_mul_overflow(n->i ? n->i - 1 : 0, s->i, &way) || __builtin_add_overflow(*last, way, last))
            return torch_bad(r, t->name, "has a shape too large to be true");
    }
    return 0;
}

static void find_order(tn_st_tensor *t, int64_t size)
{
    int64_t expected = 1;
    for (int k = t->ndim - 1; k >= 0; k--) {
        if (t->shape[k] > 1 && t->stride[k] != expected) t->strided = true;
        expected *= t->shape[k];
        t->stride[k] *= size;
    }
    if (!t->count) t->strided = false;
}

static int place(const torch_reader *r, const tn_pk_node *args, bool v3, tn_st_tensor *t)
{
    const tn_pk_node *offset = item(r, args, 1), *meta = item(r, args, v3 ? 7 : 6);
    const tn_zip_entry *data = NULL;
    if (meta && is_dict(r, meta) && meta->n)
        return tn_fail(r->err, TN_ERR_FORMAT,
                       "%s: tensor '%s' is a negated or conjugated view; save its resolve_neg().resolve_conj()", r->f->path,
                       t->name);
    int64_t last = 0, end;
    TN_TRY(find_storage(r, args, v3, t, &data));
    TN_TRY(read_shape(r, args, t, &last));
    const int64_t size = tn_st_bits(t->dtype) / 8;
    if (!offset || offset->kind != TN_PK_INT || offset->i < 0 || __builtin_add_overflow(offset->i, last, &end) ||
        end > ((int64_t)1 << 48) || (t->count && (size_t)(end + 1) * (size_t)size > data->bytes) ||
        (size_t)offset->i * (size_t)size > data->bytes)
        return torch_bad(r, t->name, "reaches beyond its storage");
    t->begin = data->begin + (size_t)offset->i * (size_t)size;
    t->bytes = (size_t)t->count * (size_t)size;
    if (t->bytes > r->f->size && t->bytes > (size_t)1 << 28) return torch_bad(r, t->name, "has a shape too large to be true");
    find_order(t, size);
    return 0;
}

/* ---- the state_dict ---- */

/* A list or tuple with a tensor in it. */
static bool holds_tensor(const torch_reader *r, const tn_pk_node *x)
{
    bool v3;
    const char *global = NULL;
    for (int k = 0; (x->kind == TN_PK_LIST || x->kind == TN_PK_TUPLE) && k < x->n; k++)
        if (tensor_args(r, node(r, x->kid[k]), &global, &v3)) return true;
    return false;
}

static int add_tensor(torch_reader *r, const tn_pk_node *key, const tn_pk_node *value)
{
    const char *global = called(r, value);
    bool v3 = false;
    if (value->kind == TN_PK_PERSISTENT) return not_a_tensor(r, is_text(key) ? key->text : "?", "a bare storage");
    if (holds_tensor(r, value)) return not_a_tensor(r, is_text(key) ? key->text : "?", "a list of tensors");
    if (!global || is_dict(r, value)) return 0; /* plain data is no weight */
    if (!is_text(key) || key->len >= TN_ST_NAME)
        return tn_fail(r->err, TN_ERR_FORMAT, "%s: its state_dict has a tensor whose name is no text of at most %d bytes",
                       r->f->path, TN_ST_NAME - 1);
    const tn_pk_node *args = tensor_args(r, value, &global, &v3);
    if (!args) return not_a_tensor(r, key->text, global);
    tn_st_tensor *t = &r->f->t[r->f->n];
    if (!(t->name = strdup(key->text))) return tn_oom(r->err);
    r->f->n++;
    return place(r, args, v3, t);
}

/* The dict of tensors: the whole, or the part of it that goes by a usual name. */
static const tn_pk_node *state_dict(const torch_reader *r)
{
    static const char *const names[] = {"state_dict", "model_state_dict", "model", "module", "net", "network"};
    const tn_pk_node *root = node(r, r->p.root);
    if (!is_dict(r, root)) return NULL;
    for (size_t i = 0; i < TN_COUNT(names); i++)
        for (int k = 0; k + 1 < root->n; k += 2)
            if (is_text(node(r, root->kid[k])) && !strcmp(node(r, root->kid[k])->text, names[i]) &&
                is_dict(r, node(r, root->kid[k + 1])))
                return node(r, root->kid[k + 1]);
    return root;
}

static int no_tensors(const torch_reader *r, const tn_pk_node *d)
{
    tn_text keys = {0};
    for (int k = 0; k + 1 < d->n && k < 20; k += 2)
        if (is_text(node(r, d->kid[k]))) tn_text_addf(&keys, "%s%s", keys.len ? ", " : "", node(r, d->kid[k])->text);
    int rc = tn_fail(r->err, TN_ERR_FORMAT, "%s: there is no state_dict of tensors in it; its keys are: %s", r->f->path,
                     keys.s ? keys.s : "none");
    tn_text_free(&keys);
    return rc;
}

static int no_twins(const torch_reader *r)
{
    for (int i = 1; i < r->f->n; i++)
        if (!strcmp(r->f->t[i - 1].name, r->f->t[i].name)) return torch_bad(r, r->f->t[i].name, "is there twice");
    return 0;
}

static int read_state_dict(torch_reader *r)
{
    const tn_pk_node *d = state_dict(r);
    if (!d) {
        const char *global = called(r, node(r, r->p.root));
        return not_a_tensor(r, "the whole", global ? global : "plain data");
    }
    r->f->t = calloc((size_t)d->n / 2 + 1, sizeof *r->f->t);
    if (!r->f->t) return tn_oom(r->err);
    for (int k = 0; k + 1 < d->n; k += 2) TN_TRY(add_tensor(r, node(r, d->kid[k]), node(r, d->kid[k + 1])));
    if (!r->f->n) return no_tensors(r, d);
    tn_st_sort(r->f);
    return no_twins(r);
}

static int read_zip(torch_reader *r)
{
    TN_TRY(tn_zip_list(&r->zip, r->f->path, r->f->size, r->err));
    const tn_zip_entry *e = tn_zip_find(&r->zip, "data.pkl"), *order = tn_zip_find(&r->zip, "byteorder");
    if (!e) return tn_fail(r->err, TN_ERR_FORMAT, "%s: it is a zip, but none that torch.save wrote (no data.pkl)", r->f->path);
    if (tn_zip_find(&r->zip, "constants.pkl"))
        return tn_fail(r->err, TN_ERR_FORMAT, "%s: it is TorchScript, a program; save the model's state_dict instead", r->f->path);
    if (order && order->bytes >= 3 && !memcmp(r->f->data + order->begin, "big", 3))
        return tn_fail(r->err, TN_ERR_FORMAT, "%s: its numbers are big-endian, which is not read here", r->f->path);
    TN_TRY(tn_pickle_parse(&r->p, r->f->data + e->begin, e->bytes, r->f->path, r->err));
    return read_state_dict(r);
}

static int old_pickle(const char *path, tn_error *err)
{
    return tn_fail(
        err, TN_ERR_FORMAT,
        "%s: it is a pickle from before PyTorch 1.6, which is not read here; write it anew with: python3 -c \"import sys, "
        "torch; p = sys.argv[1]; torch.save(torch.load(p, map_location='cpu', weights_only=True), p)\" '%s'",
        path, path);
}

int tn_tensors_open(tn_st_file **out, const char *path, tn_error *err)
{
    torch_reader r = {.err = err};
    *out = NULL;
    if (tn_ends(path, ".safetensors")) return tn_st_open(out, path, err);
    TN_TRY(tn_st_map(&r.f, path, err));
    const unsigned char *m = r.f->map;
    const bool zip = r.f->size > 4 && !memcmp(m, "PK\3\4", 4);
    const bool pickle = r.f->size > 3 && m[0] == 0x80 && m[1] >= 2 && m[1] <= 5 && m[2];
    int rc = zip ? read_zip(&r) : pickle ? old_pickle(path, err) : 0;
    tn_zip_free(&r.zip);
    tn_pickle_free(&r.p);
    if (zip && !rc) *out = r.f;
    else tn_st_close(r.f);
    return zip || rc ? rc : tn_st_open(out, path, err);
}
