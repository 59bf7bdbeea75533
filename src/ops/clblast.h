/**
 * CLBlast's parameters: what its kernels are built with on one device, found by `devices --tune`. As text they are
 * "Xgemm GEMMK=0 KWG=32 ...; XgemmDirect WGD=32 ...": kernels of CLBlast's database, each with all of its numbers.
 *
 * CLBlast builds one program for all that a product may need, keeps it for the process alone, and builds it again when a number
 * changes: 16 to 24 s on PoCL, and 0.3 s where the driver's own cache has that text (docs/devices.md). So numbers are set before a
 * device's first product and never after, and only numbers with which this machine has built it before.
 */
#ifndef TN_CLBLAST_H
#define TN_CLBLAST_H
#include "dev.h"
#include "numeric.h"

enum { TN_CLBLAST_TEXT = 1024, TN_CLBLAST_NUMBERS = 16 };

/** The numbers worth trying for one kernel. */
typedef struct tn_clblast_space {
    const char *kernel;
    const struct tn_clblast_number {
        const char *name;
        int as;        /* the number before it that it always equals; -1: it has values of its own */
        int values[8]; /* the first n */
        int n;
    } * numbers;
    int n;
    /** Does a group of v fit into so many bytes of local memory and work-items, and do the tiles divide? NULL: always. */
    bool (*fits)(const int *v, size_t local_memory, size_t group);
    double share; /* of the time that is left */
} tn_clblast_space;

/** Those of CLBlast 1.5's own tuners, as far as these try all of them; a NULL kernel ends them (clblast_space.c). */
extern const tn_clblast_space tn_clblast_spaces[];
/** Draws numbers that fit into v[s->n]; near: one of them alone differs from these (NULL: any). False where none was found. */
bool tn_clblast_draw(int *v, const tn_clblast_space *s, const int *near, size_t local_memory, size_t group, tn_rng *r);
/** "Xgemm GEMMK=0 ..." */
void tn_clblast_write(char *out, size_t n, const tn_clblast_space *s, const int *v);

/** What a process found out about parameters ("" are CLBlast's own). */
typedef struct tn_clblast_answer {
    bool good;      /* its products agree with plain C */
    double seconds; /* geometric mean of the products of a layer */
    double first;   /* until the first product was there: CLBlast's program is built for it */
    char why[200];  /* of what is not good */
} tn_clblast_answer;

/** A search: the first five are the caller's. */
typedef struct tn_clblast_search {
    double seconds;                                                                    /* that it may take */
    const char *first;                                                                 /* parameters to try first, or "" */
    size_t local_memory, group;                                                        /* of the device */
    bool (*ask)(tn_clblast_answer *out, void *user, const char *text, double seconds); /* false: it can ask no more */
    double (*clock)(void);
    void *user;
    char best[TN_CLBLAST_TEXT]; /* "": CLBlast's own are the fastest */
    double own, fastest;        /* seconds: with CLBlast's own parameters, with the best */
    int tried;
    char why[200]; /* where CLBlast's own parameters do not work */
} tn_clblast_search;

/** Tries parameters until the time is up: random ones of each space in turn, then the neighbours of its best. */
int tn_clblast_search_run(tn_clblast_search *s, tn_error *err);

/** Into out, of TN_CLBLAST_TEXT bytes: the parameters of the first row that fits a device, or "". A row is
 * "device | platform | parameters", of which two are parts of names in any case; what begins with # is none. */
void tn_clblast_row(char *out, const char *rows, const tn_device_info *o);

/** Sets the text's parameters on the device, for this process. TN_ERR_ARGUMENT where CLBlast has no such kernel or number. */
int tn_clblast_apply(tn_dev *d, const char *text, tn_error *err);
/** The same for one kernel. */
int tn_clblast_override(tn_dev *d, const char *kernel, int n, const char *const *names, const size_t *values, tn_error *err);
/** Before a device's first product: those that the device's store has. What CLBlast does not take is left out. */
void tn_clblast_apply_known(tn_dev *d);

/** Is there a measured product for which CLBlast takes at most twice the fastest row's time? */
int tn_clblast_is_near(bool *near, tn_dev *d, tn_error *err);
/** Searches for at most so many seconds, by processes of d->helper; keeps and sets what is better (*changed), and forgets what was
 * checked and measured of products with other parameters. */
int tn_clblast_tune(bool *changed, tn_dev *d, double seconds, tn_error *err);

/** What such a process (`tracknet try-clblast`) is asked. */
typedef struct tn_clblast_request {
    char stamp[64]; /* of the library that wrote it: another one reads nothing */
    char cache_dir[1024], device[256], text[TN_CLBLAST_TEXT];
    int index;     /* of tn_device_list */
    bool thorough; /* the self-test's products too */
} tn_clblast_request;
void tn_clblast_stamp(char *out, size_t n);
#endif
