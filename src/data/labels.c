#include "labels.h"
#include "fail.h"
#include "image.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A decimal number all over, blanks round it aside, whatever the locale; no hexadecimal, no infinity. */
static bool label_number(const char *s, double *v)
{
    static const char digits[] = "0123456789";
    s += strspn(s, " \t\r\n");
    const char *p = s + (*s == '+' || *s == '-');
    const size_t whole = strspn(p, digits);
    p += whole;
    const size_t part = *p == '.' ? strspn(p + 1, digits) : 0;
    p += *p == '.' ? part + 1 : 0;
    if (!whole && !part) return false;
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '+' || p[1] == '-');
        const size_t power = strspn(p, digits);
        if (!power) return false;
        p += power;
    }
    if (p[strspn(p, " \t\r\n")]) return false;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return false;
    *v = strtod_l(s, NULL, c);
    freelocale(c);
    return isfinite(*v);
}

static bool among(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (!strcasecmp(s, *list)) return true;
    return false;
}

/* What stands where there is nothing: pandas, numpy, Python, databases. */
static bool nothing(const char *s)
{
    static const char *const words[] = {"nan", "-nan", "none", "null", "na", "n/a", "<na>", NULL};
    s += strspn(s, " \t");
    return !*s || among(s, words);
}

/* Spellings of the columns, as bare() leaves them; of two that fit, the first in the list counts. */
static const char *const column_names[TN_COLS][10] = {
    {"filename", "file", "imagename", "imgname", "framename", "imagefile", "image", "img", "frame", NULL},
    {"visibility", "visibilityclass", "visible", "vis", "isvisible", NULL},
    {"xcoordinate", "xcoord", "x", "ballx", "xpos", NULL},
    {"ycoordinate", "ycoord", "y", "bally", "ypos", NULL},
};
static const char *const number_names[] = {"frameid", "frameno", "frameindex", "framenumber", "framenum", NULL};

/* Letters and digits alone, small. */
static void bare(char out[32], const char *s)
{
    size_t n = 0;
    for (; *s && n < 31; s++)
        if (isalnum((unsigned char)*s)) out[n++] = (char)tolower((unsigned char)*s);
    out[n] = 0;
}

static int find_column(const tn_csv *r, const char *const *names)
{
    for (; *names; names++)
        for (int i = 0; i < r->n; i++) {
            char name[32];
            bare(name, r->field[i]);
            if (!strcmp(name, *names)) return i;
        }
    return -1;
}

/* No header holds a number or a picture's name. */
static bool all_words(const tn_csv *r)
{
    double v;
    for (int i = 0; i < r->n; i++)
        if (tn_image_named(r->field[i]) || label_number(r->field[i], &v)) return false;
    return true;
}

bool tn_label_header(tn_label_columns *c, const tn_csv *first)
{
    static const char *const missing[TN_COLS] = {"the header names no column for the frame ('file name' or 'Frame')", NULL,
                                                 "the header names no column for x ('x-coordinate' or 'X')",
                                                 "the header names no column for y ('y-coordinate' or 'Y')"};
    const bool words = !first->bad && all_words(first); /* before names are looked for: nearly every record is none */
    int known = 0;
    c->bad = NULL;
    for (int k = 0; words && k < TN_COLS; k++) {
        c->at[k] = find_column(first, column_names[k]);
        if (k == TN_COL_NAME && c->at[k] < 0) c->at[k] = find_column(first, number_names);
        known += c->at[k] >= 0;
    }
    if (!words || (known < 2 && (first->n <= 1 || nothing(first->field[1])))) {
        for (int k = 0; k < TN_COLS; k++) c->at[k] = k;
        return false;
    }
    for (int k = TN_COLS - 1; k >= 0; k--)
        if (missing[k] && c->at[k] < 0) c->bad = missing[k];
    return true;
}

bool tn_label_header_again(tn_label_columns *c, const tn_csv *record)
{
    tn_label_columns have;
    if (!tn_label_header(&have, record) || have.bad) return false;
    *c = have;
    return true;
}

/* A coordinate, or NAN for none. */
static bool coordinate(const char *s, double *v)
{
    *v = NAN;
    return nothing(s) || label_number(s, v);
}

static bool visibility(const char *s, int *out)
{
    static const char *const yes[] = {"true", "yes", NULL}, *const no[] = {"false", "no", NULL};
    double v;
    if (among(s, yes) || among(s, no)) return *out = among(s, yes), true;
    if (!label_number(s, &v) || v < 0 || v > 3 || v != floor(v)) return false;
    *out = (int)v;
    return true;
}

static const char *parse_fields(tn_label_row *r, const char *vis, const char *x, const char *y)
{
    if (vis && !visibility(vis, &r->visibility)) return "visibility is no number from 0 to 3";
    if (!coordinate(x, &r->x) || !coordinate(y, &r->y)) return "a coordinate is no decimal number";
    const bool minus = r->x == -1 && r->y == -1;
    r->placed = !isnan(r->x) && !isnan(r->y) && !minus;
    if (!vis) r->visibility = r->placed;
    return NULL;
}

const char *tn_label_parse(tn_label_row *r, const tn_label_columns *c, const tn_csv *record, tn_label_kind *kind)
{
    *kind = TN_LABEL_MALFORMED;
    if (c->bad || record->bad) return c->bad ? c->bad : record->bad;
    const char *f[TN_COLS] = {0};
    for (int k = 0; k < TN_COLS; k++) {
        if (c->at[k] >= record->n) return "too few columns";
        f[k] = c->at[k] < 0 ? NULL : record->field[c->at[k]];
    }
    r->name = f[TN_COL_NAME];
    if (!r->name[0]) return "the frame has no name";
    if (strchr(r->name, '/') || strchr(r->name, '\\')) return "the frame's name has a folder in it; frames lie in their clip's own";
    const char *why = parse_fields(r, f[TN_COL_VISIBILITY], f[TN_COL_X], f[TN_COL_Y]);
    if (why) return why;
    *kind = TN_LABEL_UNPLACED;
    return r->visibility && !r->placed ? "the ball is visible but has no coordinates" : NULL;
}
