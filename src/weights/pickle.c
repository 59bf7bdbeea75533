#include "pickle.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MARK = -1,
    ANOTHER = 1,        /* no status: the opcode is not of this kind */
    MAX_BYTES = 1 << 28 /* a state_dict of a million tensors takes less */
};

typedef struct {
    tn_pickle *p;
    const unsigned char *data;
    size_t at, len;
    int *stack, n, cap;
    int *memo, n_memo;
    const char *where;
    tn_error *err;
} pk_reader;

static int pk_bad(const pk_reader *r, const char *what)
{
    return tn_fail(r->err, TN_ERR_FORMAT,
                   "%s: byte %zu of its pickle %s; it was cut short or is no plain state_dict, save it again with "
                   "safetensors.torch.save_file",
                   r->where, r->at, what);
}

/* ---- nodes and the stack ---- */

static int grow(int **v, int n, int *cap)
{
    if (n < *cap) return 0;
    const int more = *cap ? 2 * *cap : 16;
    int *w = realloc(*v, sizeof *w * (size_t)more);
    if (!w) return TN_ERR_MEMORY;
    *v = w;
    *cap = more;
    return 0;
}

static int push(pk_reader *r, int node)
{
    if (grow(&r->stack, r->n, &r->cap)) return tn_oom(r->err);
    r->stack[r->n++] = node;
    return 0;
}

static int new_node(pk_reader *r, tn_pk_kind kind, int *out)
{
    tn_pickle *p = r->p;
    if (p->n == p->cap) {
        const int more = p->cap ? 2 * p->cap : 256;
        tn_pk_node *v = realloc(p->v, sizeof *v * (size_t)more);
        if (!v) return tn_oom(r->err);
        p->v = v;
        p->cap = more;
    }
    p->v[ *out = p->n++] = (tn_pk_node){.kind = kind, .fn = -1, .args = -1};
    return 0;
}

static int push_new(pk_reader *r, tn_pk_kind kind, int64_t i)
{
    int k = 0;
    TN_TRY(new_node(r, kind, &k));
    r->p->v[k].i = i;
    return push(r, k);
}

static int pop(pk_reader *r, int *node)
{
    if (!r->n || r->stack[r->n - 1] == MARK) return pk_bad(r, "takes from an empty stack");
    *node = r->stack[--r->n];
    return 0;
}

static int top(const pk_reader *r, int *node)
{
    if (!r->n || r->stack[r->n - 1] == MARK) return pk_bad(r, "takes from an empty stack");
    *node = r->stack[r->n - 1];
    return 0;
}

/* The place behind the last mark. */
static int since_mark(const pk_reader *r, int *first)
{
    int k = r->n;
    while (k && r->stack[k - 1] != MARK) k--;
    if (!k) return pk_bad(r, "misses a mark");
    *first = k;
    return 0;
}

static int add_kids(pk_reader *r, int node, const int *kids, int n)
{
    tn_pk_node *x = &r->p->v[node];
    for (int i = 0; i < n; i++) {
        if (grow(&x->kid, x->n, &x->cap)) return tn_oom(r->err);
        x->kid[x->n++] = kids[i];
    }
    return 0;
}

/* ---- bytes ---- */

static int take(pk_reader *r, size_t n, const unsigned char **out)
{
    if (n > r->len - r->at) return pk_bad(r, "ends too early");
    *out = r->data + r->at;
    r->at += n;
    return 0;
}

/* n <= 8 bytes, the lowest first. */
static int number(pk_reader *r, size_t n, uint64_t *out)
{
    const unsigned char *b = NULL;
    TN_TRY(take(r, n, &b));
    *out = 0;
    for (size_t i = 0; i < n; i++) *out |= (uint64_t)b[i] << (8 * i);
    return 0;
}

static int set_text(pk_reader *r, int node, const char *a, size_t n, const char *b, size_t m)
{
    char *s = malloc(n + m + 2);
    if (!s) return tn_oom(r->err);
    memcpy(s, a, n);
    if (m) {
        s[n++] = '.';
        memcpy(s + n, b, m);
    }
    s[n + m] = 0;
    r->p->v[node].text = s;
    r->p->v[node].len = n + m;
    return 0;
}

static int push_text(pk_reader *r, size_t length_bytes)
{
    uint64_t n = 0;
    const unsigned char *s = NULL;
    int k = 0;
    TN_TRY(number(r, length_bytes, &n));
    TN_TRY(take(r, (size_t)n, &s));
    TN_TRY(new_node(r, TN_PK_TEXT, &k));
    TN_TRY(set_text(r, k, (const char *)s, (size_t)n, NULL, 0));
    return push(r, k);
}

static int push_long(pk_reader *r, size_t bytes)
{
    uint64_t n = 0, v = 0;
    const unsigned char *b = NULL;
    TN_TRY(number(r, bytes, &n));
    TN_TRY(take(r, (size_t)n, &b));
    if (n > 8) return push_new(r, TN_PK_OTHER, 0);
    for (size_t i = 0; i < n; i++) v |= (uint64_t)b[i] << (8 * i);
    if (n && n < 8 && b[n - 1] & 0x80) v |= ~(uint64_t)0 << (8 * n);
    return push_new(r, TN_PK_INT, (int64_t)v);
}

static int line(pk_reader *r, const char **s, size_t *n)
{
    const char *begin = (const char *)r->data + r->at, *end = memchr(begin, '\n', r->len - r->at);
    if (!end) return pk_bad(r, "ends too early");
    *s = begin;
    *n = (size_t)(end - begin);
    r->at += *n + 1;
    return 0;
}

static int push_global(pk_reader *r)
{
    const char *module = NULL, *name = NULL;
    size_t n = 0, m = 0;
    int k = 0;
    TN_TRY(line(r, &module, &n));
    TN_TRY(line(r, &name, &m));
    TN_TRY(new_node(r, TN_PK_GLOBAL, &k));
    TN_TRY(set_text(r, k, module, n, name, m));
    return push(r, k);
}

static int stack_global(pk_reader *r)
{
    int module = 0, name = 0, k = 0;
    TN_TRY(pop(r, &name));
    TN_TRY(pop(r, &module));
    if (r->p->v[module].kind != TN_PK_TEXT || r->p->v[name].kind != TN_PK_TEXT) return pk_bad(r, "names a class by no text");
    TN_TRY(new_node(r, TN_PK_GLOBAL, &k));
    const tn_pk_node *a = &r->p->v[module], *b = &r->p->v[name];
    TN_TRY(set_text(r, k, a->text, a->len, b->text, b->len));
    return push(r, k);
}

/* ---- containers, the memo, calls ---- */

/* The last n of the stack become a tuple. */
static int tuple_of(pk_reader *r, int n)
{
    int k = 0;
    for (int i = 0; i < n; i++)
        if (i >= r->n || r->stack[r->n - 1 - i] == MARK) return pk_bad(r, "takes from an empty stack");
    TN_TRY(new_node(r, TN_PK_TUPLE, &k));
    TN_TRY(add_kids(r, k, r->stack + r->n - n, n));
    r->n -= n;
    return push(r, k);
}

static int tuple_since_mark(pk_reader *r)
{
    int first = 0, k = 0;
    TN_TRY(since_mark(r, &first));
    TN_TRY(new_node(r, TN_PK_TUPLE, &k));
    TN_TRY(add_kids(r, k, r->stack + first, r->n - first));
    r->n = first - 1;
    return push(r, k);
}

/* What stands above `first` goes into the container below it; drop: the mark, if there is one. */
static int put_in(pk_reader *r, int first, int drop, bool pairs)
{
    const int into = first - drop - 1;
    if (into < 0 || r->stack[into] == MARK) return pk_bad(r, "fills nothing");
    const tn_pk_kind kind = r->p->v[r->stack[into]].kind;
    if (kind != TN_PK_CALL && kind != (pairs ? TN_PK_DICT : TN_PK_LIST)) return pk_bad(r, "fills what is no container");
    if (pairs && (r->n - first) % 2) return pk_bad(r, "has a key without a value");
    TN_TRY(add_kids(r, r->stack[into], r->stack + first, r->n - first));
    r->n = into + 1;
    return 0;
}

static int put_some(pk_reader *r, bool pairs)
{
    int first = 0;
    TN_TRY(since_mark(r, &first));
    return put_in(r, first, 1, pairs);
}

static int put_one(pk_reader *r, int n, bool pairs)
{
    if (r->n <= n) return pk_bad(r, "takes from an empty stack");
    for (int i = 0; i < n; i++)
        if (r->stack[r->n - 1 - i] == MARK) return pk_bad(r, "takes from an empty stack");
    return put_in(r, r->n - n, 0, pairs);
}

static int memo_put(pk_reader *r, uint64_t at)
{
    int node = 0;
    TN_TRY(top(r, &node));
    if (at >= r->len) return pk_bad(r, "remembers more than it holds");
    if (at >= (uint64_t)r->n_memo) {
        const int more = (int)at + 64;
        int *v = realloc(r->memo, sizeof *v * (size_t)more);
        if (!v) return tn_oom(r->err);
        r->memo = v;
        while (r->n_memo < more) v[r->n_memo++] = MARK;
    }
    r->memo[at] = node;
    return 0;
}

static int memo_get(pk_reader *r, size_t bytes)
{
    uint64_t at = 0;
    TN_TRY(number(r, bytes, &at));
    if (at >= (uint64_t)r->n_memo || r->memo[at] == MARK) return pk_bad(r, "recalls what it never remembered");
    return push(r, r->memo[at]);
}

static int memo_next(pk_reader *r)
{
    int k = r->n_memo;
    while (k && r->memo[k - 1] == MARK) k--;
    return memo_put(r, (uint64_t)k);
}

static int call(pk_reader *r)
{
    int args = 0, fn = 0, k = 0;
    TN_TRY(pop(r, &args));
    TN_TRY(pop(r, &fn));
    TN_TRY(new_node(r, TN_PK_CALL, &k));
    r->p->v[k].fn = fn;
    r->p->v[k].args = args;
    return push(r, k);
}

static int persistent(pk_reader *r)
{
    int id = 0, k = 0;
    TN_TRY(pop(r, &id));
    TN_TRY(new_node(r, TN_PK_PERSISTENT, &k));
    TN_TRY(add_kids(r, k, &id, 1));
    return push(r, k);
}

/* ---- opcodes ---- */

static int refuse(pk_reader *r, int op)
{
    char what[80];
    snprintf(what, sizeof what, "is opcode 0x%02x, which no state_dict needs", (unsigned)op);
    return pk_bad(r, what);
}

static int put_numbered(pk_reader *r, size_t bytes)
{
    uint64_t at = 0;
    TN_TRY(number(r, bytes, &at));
    return memo_put(r, at);
}

static int push_number(pk_reader *r, size_t bytes)
{
    uint64_t v = 0;
    TN_TRY(number(r, bytes, &v));
    return push_new(r, TN_PK_INT, bytes == 4 ? (int64_t)(int32_t)(uint32_t)v : (int64_t)v);
}

static int skip(pk_reader *r, size_t bytes)
{
    const unsigned char *passed;
    return take(r, bytes, &passed);
}

static int push_float(pk_reader *r)
{
    TN_TRY(skip(r, 8));
    return push_new(r, TN_PK_OTHER, 0);
}

static int drop_since_mark(pk_reader *r)
{
    int first = 0;
    TN_TRY(since_mark(r, &first));
    r->n = first - 1;
    return 0;
}

static int drop(pk_reader *r)
{
    int dropped = 0;
    return pop(r, &dropped);
}

/* Values; ANOTHER for an opcode of another kind. */
static int value_op(pk_reader *r, int op)
{
    switch (op) {
    case 'N': return push_new(r, TN_PK_OTHER, 0);
    case 0x88: return push_new(r, TN_PK_INT, 1);
    case 0x89: return push_new(r, TN_PK_INT, 0);
    case 'K': return push_number(r, 1);
    case 'M': return push_number(r, 2);
    case 'J': return push_number(r, 4);
    case 0x8a: return push_long(r, 1);
    case 0x8b: return push_long(r, 4);
    case 'G': return push_float(r);
    case 'X':
    case 'T':
    case 'B': return push_text(r, 4);
    case 'U':
    case 'C':
    case 0x8c: return push_text(r, 1);
    case 'c': return push_global(r);
    case 0x93: return stack_global(r);
    case ')': return push_new(r, TN_PK_TUPLE, 0);
    case 0x8f:
    case ']': return push_new(r, TN_PK_LIST, 0);
    case '}': return push_new(r, TN_PK_DICT, 0);
    default: return ANOTHER;
    }
}

static int other_op(pk_reader *r, int op)
{
    switch (op) {
    case 0x80: return skip(r, 1); /* the protocol: what it brings is refused opcode by opcode */
    case 0x95: return skip(r, 8);
    case '(': return push(r, MARK);
    case 0x91: /* a frozenset */
    case 't': return tuple_since_mark(r);
    case 0x85:
    case 0x86:
    case 0x87: return tuple_of(r, op - 0x84);
    case 'a': return put_one(r, 1, false);
    case 's': return put_one(r, 2, true);
    case 0x90:
    case 'e': return put_some(r, false);
    case 'u': return put_some(r, true);
    case 'q': return put_numbered(r, 1);
    case 'r': return put_numbered(r, 4);
    case 0x94: return memo_next(r);
    case 'h': return memo_get(r, 1);
    case 'j': return memo_get(r, 4);
    case 0x81:
    case 'R': return call(r);
    case 'b': /* an object's own state, which is none of a tensor's values */
    case '0': return drop(r);
    case '1': return drop_since_mark(r);
    case 'Q': return persistent(r);
    default: return refuse(r, op);
    }
}

static int run(pk_reader *r)
{
    while (r->at < r->len) {
        const int op = r->data[r->at++];
        if (op == '.') return r->n == 1 ? top(r, &r->p->root) : pk_bad(r, "ends with more than one value");
        const int rc = value_op(r, op);
        TN_TRY(rc == ANOTHER ? other_op(r, op) : rc);
    }
    return pk_bad(r, "ends too early");
}

int tn_pickle_parse(tn_pickle *p, const void *data, size_t len, const char *where, tn_error *err)
{
    *p = (tn_pickle){0};
    pk_reader r = {.p = p, .data = data, .len = len, .where = where, .err = err};
    int rc = len > MAX_BYTES ? pk_bad(&r, "is one of more than 256 MiB") : run(&r);
    free(r.stack);
    free(r.memo);
    return rc;
}

void tn_pickle_free(tn_pickle *p)
{
    for (int i = 0; i < p->n; i++) {
        free(p->v[i].text);
        free(p->v[i].kid);
    }
    free(p->v);
    *p = (tn_pickle){0};
}
