#include "onnx_model.h"
#include "onnx.pb-c.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLOAT32 = 1, INT64 = 7, ATTR_FLOAT = 1, ATTR_INT = 2, ATTR_STRING = 3, ATTR_INTS = 7 };

struct tn_onnx {
    Tnonnx__Model model;
    Tnonnx__Graph graph;
    Tnonnx__OperatorSet opset, *opsets[1];
    void **owned; /* everything that lies below the model */
    size_t n_owned, cap_owned;
    int names;
    bool oom;
};

static void *own(tn_onnx *o, void *p)
{
    if (o->n_owned == o->cap_owned) {
        const size_t cap = o->cap_owned ? 2 * o->cap_owned : 1024;
        void **v = realloc(o->owned, cap * sizeof *v);
        if (!v) {
            free(p);
            p = NULL;
        } else {
            o->owned = v;
            o->cap_owned = cap;
        }
    }
    if (p) o->owned[o->n_owned++] = p;
    else o->oom = true;
    return p;
}

static void *onnx_model_make(tn_onnx *o, size_t n)
{
    return own(o, calloc(1, n ? n : 1));
}

static char *onnx_model_text(tn_onnx *o, const char *s)
{
    return own(o, strdup(s));
}

/* Appends to a repeated field of pointers. */
static bool push(tn_onnx *o, void ***list, size_t *n, void *item)
{
    if ((*n & (*n + 1)) == 0) { /* room grows at 0, 1, 3, 7, ... */
        void **v = realloc(*list, (2 * *n + 2) * sizeof *v);
        if (!v) return o->oom = true, false;
        *list = v;
    }
    if (!item) return false;
    (*list)[(*n)++] = item;
    return true;
}
#define PUSH(o, list, n, item) push(o, (void ***)(list), n, item)

tn_onnx *tn_onnx_new(void)
{
    tn_onnx *o = calloc(1, sizeof *o);
    if (!o) return NULL;
    tnonnx__model__init(&o->model);
    tnonnx__graph__init(&o->graph);
    tnonnx__operator_set__init(&o->opset);
    o->opset.domain = "";
    o->opset.has_version = 1;
    o->opset.version = 17;
    o->opsets[0] = &o->opset;
    o->model.has_ir_version = 1;
    o->model.ir_version = 8;
    o->model.producer_name = "tracknet";
    o->model.producer_version = TN_VERSION_STRING;
    o->model.n_opset_import = 1;
    o->model.opset_import = o->opsets;
    o->model.graph = &o->graph;
    o->graph.name = "tracknet";
    return o;
}

void tn_onnx_free(tn_onnx *o)
{
    if (!o) return;
    for (size_t i = 0; i < o->graph.n_node; i++) {
        free(o->graph.node[i]->input);
        free(o->graph.node[i]->output);
        free(o->graph.node[i]->attribute);
    }
    for (size_t i = 0; i < o->n_owned; i++) free(o->owned[i]);
    free(o->owned);
    free(o->graph.node);
    free(o->graph.initializer);
    free(o->graph.input);
    free(o->graph.output);
    free(o->model.metadata_props);
    free(o);
}

static const char *onnx_name(tn_onnx *o, const char *stem)
{
    char buf[160];
    snprintf(buf, sizeof buf, "%s_%d", stem, o->names++);
    return onnx_model_text(o, buf);
}

/* ---- constants ---- */

static const char *onnx_model_constant(tn_onnx *o, const char *stem, int type, const void *v, size_t size, int n_dims,
                                       const int64_t *dims)
{
    Tnonnx__Tensor *t = onnx_model_make(o, sizeof *t);
    size_t n = 1;
    for (int i = 0; i < n_dims; i++) n *= (size_t)dims[i];
    void *data = onnx_model_make(o, n * size);
    int64_t *d = onnx_model_make(o, sizeof *d * (size_t)TN_MAX(n_dims, 1));
    const char *name = onnx_name(o, stem);
    if (!t || !data || !d || !name) return "";
    tnonnx__tensor__init(t);
    memcpy(data, v, n * size);
    if (n_dims) memcpy(d, dims, sizeof *d * (size_t)n_dims);
    t->n_dims = (size_t)n_dims;
    t->dims = d;
    t->has_data_type = 1;
    t->data_type = type;
    t->name = (char *)name;
    t->has_raw_data = 1;
    t->raw_data = (ProtobufCBinaryData){n * size, data};
    PUSH(o, &o->graph.initializer, &o->graph.n_initializer, t);
    return name;
}

const char *tn_onnx_floats(tn_onnx *o, const char *stem, const float *v, int n_dims, const int64_t *dims)
{
    return onnx_model_constant(o, stem, FLOAT32, v, sizeof *v, n_dims, dims);
}

const char *tn_onnx_ints(tn_onnx *o, const char *stem, const int64_t *v, int n)
{
    const int64_t dims[] = {n};
    return onnx_model_constant(o, stem, INT64, v, sizeof *v, 1, dims);
}

/* ---- nodes ---- */

const char *tn_onnx_node(tn_onnx *o, const char *op, const char *a, const char *b, const char *c, const char *d)
{
    Tnonnx__Node *n = onnx_model_make(o, sizeof *n);
    const char *in[] = {a, b, c, d};
    if (!n) return "";
    tnonnx__node__init(n);
    if (!PUSH(o, &o->graph.node, &o->graph.n_node, n)) return "";
    n->op_type = onnx_model_text(o, op);
    n->name = (char *)onnx_name(o, op);
    for (int i = 0; i < 4 && in[i]; i++) PUSH(o, &n->input, &n->n_input, (void *)in[i]);
    const char *out = onnx_name(o, op);
    if (!out) return "";
    PUSH(o, &n->output, &n->n_output, (void *)out);
    return out;
}

static Tnonnx__Node *last(tn_onnx *o)
{
    return o->graph.n_node ? o->graph.node[o->graph.n_node - 1] : NULL;
}

void tn_onnx_input(tn_onnx *o, const char *name)
{
    if (last(o)) PUSH(o, &last(o)->input, &last(o)->n_input, (void *)name);
}

void tn_onnx_rename(tn_onnx *o, const char *from, const char *to)
{
    for (size_t i = 0; i < o->graph.n_node; i++)
        for (size_t k = 0; k < o->graph.node[i]->n_output; k++)
            if (!strcmp(o->graph.node[i]->output[k], from)) o->graph.node[i]->output[k] = onnx_model_text(o, to);
}

static Tnonnx__Attribute *attribute(tn_onnx *o, const char *name, int type)
{
    Tnonnx__Attribute *a = onnx_model_make(o, sizeof *a);
    if (!a || !last(o)) return NULL;
    tnonnx__attribute__init(a);
    a->name = onnx_model_text(o, name);
    a->has_type = 1;
    a->type = type;
    return PUSH(o, &last(o)->attribute, &last(o)->n_attribute, a) ? a : NULL;
}

void tn_onnx_int(tn_onnx *o, const char *name, int64_t v)
{
    Tnonnx__Attribute *a = attribute(o, name, ATTR_INT);
    if (a) a->has_i = 1, a->i = v;
}

void tn_onnx_float(tn_onnx *o, const char *name, float v)
{
    Tnonnx__Attribute *a = attribute(o, name, ATTR_FLOAT);
    if (a) a->has_f = 1, a->f = v;
}

void tn_onnx_string(tn_onnx *o, const char *name, const char *v)
{
    Tnonnx__Attribute *a = attribute(o, name, ATTR_STRING);
    if (a) a->has_s = 1, a->s = (ProtobufCBinaryData){strlen(v), (uint8_t *)onnx_model_text(o, v)};
}

void tn_onnx_list(tn_onnx *o, const char *name, const int64_t *v, int n)
{
    Tnonnx__Attribute *a = attribute(o, name, ATTR_INTS);
    int64_t *copy = onnx_model_make(o, sizeof *copy * (size_t)n);
    if (!a || !copy) return;
    memcpy(copy, v, sizeof *v * (size_t)n);
    a->n_ints = (size_t)n;
    a->ints = copy;
}

const char *tn_onnx_reshape(tn_onnx *o, const char *x, int n, const int64_t *shape)
{
    return tn_onnx_node(o, "Reshape", x, tn_onnx_ints(o, "shape", shape, n), NULL, NULL);
}

const char *tn_onnx_transpose(tn_onnx *o, const char *x, int n, const int64_t *perm)
{
    const char *y = tn_onnx_node(o, "Transpose", x, NULL, NULL, NULL);
    tn_onnx_list(o, "perm", perm, n);
    return y;
}

const char *tn_onnx_slice(tn_onnx *o, const char *x, int64_t axis, int64_t from, int64_t to)
{
    const char *a = tn_onnx_ints(o, "from", &from, 1), *b = tn_onnx_ints(o, "to", &to, 1);
    return tn_onnx_node(o, "Slice", x, a, b, tn_onnx_ints(o, "axis", &axis, 1));
}

const char *tn_onnx_concat(tn_onnx *o, const char *const *x, int n, int64_t axis)
{
    const char *y = tn_onnx_node(o, "Concat", x[0], NULL, NULL, NULL);
    for (int i = 1; i < n; i++) tn_onnx_input(o, x[i]);
    tn_onnx_int(o, "axis", axis);
    return y;
}

/* ---- ports, properties, file ---- */

void tn_onnx_port(tn_onnx *o, bool input, const char *name, int n_dims, const int64_t *dims)
{
    Tnonnx__ValueInfo *v = onnx_model_make(o, sizeof *v);
    Tnonnx__Type *t = onnx_model_make(o, sizeof *t);
    Tnonnx__TensorType *tt = onnx_model_make(o, sizeof *tt);
    Tnonnx__Shape *s = onnx_model_make(o, sizeof *s);
    Tnonnx__Dim **list = onnx_model_make(o, sizeof *list * (size_t)n_dims);
    if (!v || !t || !tt || !s || !list) return;
    tnonnx__value_info__init(v);
    tnonnx__type__init(t);
    tnonnx__tensor_type__init(tt);
    tnonnx__shape__init(s);
    for (int i = 0; i < n_dims; i++) {
        if (!(list[i] = onnx_model_make(o, sizeof **list))) return;
        tnonnx__dim__init(list[i]);
        if (dims[i] < 0) list[i]->dim_param = "batch";
        else list[i]->has_dim_value = 1, list[i]->dim_value = dims[i];
    }
    s->n_dim = (size_t)n_dims;
    s->dim = list;
    tt->has_elem_type = 1;
    tt->elem_type = FLOAT32;
    tt->shape = s;
    t->tensor_type = tt;
    v->name = onnx_model_text(o, name);
    v->type = t;
    if (input) PUSH(o, &o->graph.input, &o->graph.n_input, v);
    else PUSH(o, &o->graph.output, &o->graph.n_output, v);
}

void tn_onnx_property(tn_onnx *o, const char *key, const char *value)
{
    Tnonnx__Property *p = onnx_model_make(o, sizeof *p);
    if (!p) return;
    tnonnx__property__init(p);
    p->key = onnx_model_text(o, key);
    p->value = onnx_model_text(o, value);
    PUSH(o, &o->model.metadata_props, &o->model.n_metadata_props, p);
}

typedef struct {
    ProtobufCBuffer base;
    FILE *f;
    bool bad;
} file_buffer;

static void onnx_model_append(ProtobufCBuffer *b, size_t n, const uint8_t *data)
{
    file_buffer *f = (file_buffer *)b;
    f->bad |= fwrite(data, 1, n, f->f) != n;
}

int tn_onnx_write(tn_onnx *o, const char *path, tn_error *err)
{
    if (o->oom) return tn_oom(err);
    const size_t size = tnonnx__model__get_packed_size(&o->model);
    if (size >= (size_t)1 << 31)
        return tn_fail(err, TN_ERR_ARGUMENT,
                       "the model takes %zu MiB, and an ONNX file holds at most 2047; export a smaller backbone", size >> 20);
    char *tmp = tn_strf("%s.tmp.%ld", path, (long)getpid());
    file_buffer b = {{onnx_model_append}, tmp ? fopen(tmp, "wb") : NULL, false};
    if (!b.f) {
        free(tmp);
        return tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    tnonnx__model__pack_to_buffer(&o->model, &b.base);
    bool bad = b.bad || fflush(b.f) || fsync(fileno(b.f));
    bad |= fclose(b.f) != 0;
    bad = bad || rename(tmp, path);
    int rc = bad ? tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", path, strerror(errno)) : 0;
    if (bad) unlink(tmp);
    free(tmp);
    return rc;
}
