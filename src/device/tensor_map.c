#include "tensor_map.h"
#include "dev_cl.h"

#include <stdlib.h>
#include <string.h>

enum { MAP_BYTES = 128, IN_CHUNK = 1024 };

/* What a map was made of. Buffers are told apart by number: an address is used again. */
typedef struct {
    unsigned long long buffer;
    tn_map_view view;
} known_map;

struct tn_tensor_maps {
    known_map *v;
    int n, room;
    tn_buffer **chunks; /* of IN_CHUNK maps each */
    int n_chunks;
};

static bool same_view(const tn_map_view *a, const tn_map_view *b)
{
    return a->off == b->off && a->inner == b->inner && a->ld == b->ld && a->w == b->w && a->h == b->h && a->images == b->images &&
           a->wide == b->wide && a->tall == b->tall && a->step == b->step && a->act == b->act && a->narrow == b->narrow;
}

static void free_maps(struct tn_tensor_maps *m)
{
    for (int i = 0; i < m->n_chunks; i++) tn_buffer_free(m->chunks[i]);
    free(m->chunks);
    free(m->v);
    free(m);
}

static int make_room(struct tn_tensor_maps *m, tn_dev *d, tn_error *err)
{
    if (m->n == m->room) {
        const int room = m->room ? 2 * m->room : 256;
        known_map *v = realloc(m->v, sizeof *v * (size_t)room);
        if (!v) return tn_oom(err);
        m->v = v;
        m->room = room;
    }
    if (m->n < m->n_chunks * IN_CHUNK) return 0;
    tn_buffer **c = realloc(m->chunks, sizeof *c * (size_t)(m->n_chunks + 1));
    if (!c) return tn_oom(err);
    m->chunks = c;
    TN_TRY(tn_buffer_new(&c[m->n_chunks], d, (size_t)MAP_BYTES * IN_CHUNK, "tensor maps", err));
    m->n_chunks++;
    return 0;
}

static int make_map(tn_dev *d, const tn_map_view *v, tn_buffer *maps, uint32_t index, tn_error *err)
{
    tn_kernel *k;
    TN_TRY(tn_kernel_get(&k, d, "nvidia/tensor_map.cl", "make_map", v->act == 2 ? "-DACT=2" : "-DACT=1", err));
    const tn_arg args[] = {TN_BUF(maps),    TN_UINT(index),  TN_BUF(v->mem),   TN_UINT(v->off),   TN_INT(v->inner),
                           TN_INT(v->ld),   TN_INT(v->w),    TN_INT(v->h),     TN_INT(v->images), TN_INT(v->wide),
                           TN_INT(v->tall), TN_INT(v->step), TN_INT(v->narrow)};
    const tn_range one = {1, {1}, {1}};
    return tn_launch(d, k, args, TN_COUNT(args), &one, err);
}

size_t tn_tensor_map_bytes(const tn_dev *d, int n)
{
    return d->caps & TN_CAP_NV_WGMMA ? (size_t)TN_CEIL_DIV(n, (int)IN_CHUNK) * IN_CHUNK * MAP_BYTES : 0;
}

int tn_tensor_map(tn_dev *d, const tn_map_view *v, tn_buffer **maps, uint32_t *index, tn_error *err)
{
    struct tn_tensor_maps *m = d->cl->maps;
    if (!m && !(m = d->cl->maps = calloc(1, sizeof *m))) return tn_oom(err);
    d->cl->maps_free = free_maps;
    int i = m->n - 1;
    while (i >= 0 && !(m->v[i].buffer == v->mem->id && same_view(&m->v[i].view, v))) i--;
    if (i < 0) {
        TN_TRY(make_room(m, d, err));
        i = m->n;
        TN_TRY(make_map(d, v, m->chunks[i / IN_CHUNK], (uint32_t)(i % IN_CHUNK), err));
        m->v[m->n++] = (known_map){v->mem->id, *v};
    }
    *maps = m->chunks[i / IN_CHUNK];
    *index = (uint32_t)(i % IN_CHUNK);
    return 0;
}
