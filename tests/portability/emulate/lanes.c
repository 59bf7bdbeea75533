#include "lanes.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { STACK = 256 << 10, SUB_GROUP = 0, GROUP = 1 };

static struct {
    ucontext_t context; /* where it begins; */
    jmp_buf at;         /* where it is: a jump asks nothing of the system */
    char *stack;
    int begun, done, meetings[2];
} item[MOST_ITEMS];
static jmp_buf scheduler;
static int now, items, lanes;    /* the running item; items of a group, lanes of a sub-group */
static size_t group[2], half[2]; /* half: the first group of the second slice */
static int arrived[2][MOST_ITEMS], passed[2][MOST_ITEMS];
static char left[2][MOST_ITEMS][MOST_SHARED];
static int left_tag[2][MOST_ITEMS], turn;
static int events; /* meetings completed and items done: progress */
static void (*kernel)(void);
static char failure[256];

/* Leaves the fiber, which stays where it is for good. */
void emu_fail(const char *what)
{
    snprintf(failure, sizeof failure, "%s (group %zu %zu, item %d)", what, group[0], group[1], now);
    _longjmp(scheduler, 1);
}

static void meet(int whom)
{
    const int set = whom == GROUP ? 0 : now / lanes, size = whom == GROUP ? items : lanes;
    const int mine = ++item[now].meetings[whom];
    if (++arrived[whom][set] == size) arrived[whom][set] = 0, passed[whom][set]++, events++;
    while (passed[whom][set] < mine)
        if (!_setjmp(item[now].at)) _longjmp(scheduler, 1);
}

void emu_leave(int tag, const void *mine, int bytes)
{
    const int t = (item[now].meetings[SUB_GROUP] + 1) & 1, first = now / lanes * lanes;
    memcpy(left[t][now], mine, (size_t)bytes);
    left_tag[t][now] = tag;
    meet(SUB_GROUP);
    turn = t;
    for (int l = 0; l < lanes; l++)
        if (left_tag[t][first + l] != tag) emu_fail("lanes of a sub-group are at different operations");
}

const void *emu_left(int lane)
{
    return left[turn][now / lanes * lanes + lane];
}

int emu_lanes(void)
{
    return lanes;
}

/* ---- what kernels ask for ---- */

size_t emu_local(void);
size_t emu_group(unsigned d);
size_t emu_offset(unsigned d);
size_t emu_size(void);
unsigned emu_sub_group(void);
void emu_barrier(void);

size_t emu_local(void)
{
    return (size_t)now;
}
/* A launch is cut into slices, in each of which groups are counted from 0. */
size_t emu_offset(unsigned d)
{
    return d > 1 || group[d] < half[d] ? 0 : half[d] * (d ? 1 : (size_t)items);
}
size_t emu_group(unsigned d)
{
    if (d > 1) return 0;
    return group[d] < half[d] ? group[d] : group[d] - half[d];
}
size_t emu_size(void)
{
    return (size_t)items;
}
unsigned emu_lane(void)
{
    return (unsigned)(now % lanes);
}
unsigned emu_sub_group(void)
{
    return (unsigned)(now / lanes);
}
void emu_barrier(void)
{
    meet(GROUP);
}

/* ---- a launch ---- */

static void run_item(void)
{
    kernel();
    item[now].done = 1, events++;
    _longjmp(scheduler, 1);
}

/* Lets an item run until it waits or ends. */
static void resume_item(void)
{
    if (_setjmp(scheduler)) return;
    if (item[now].begun) _longjmp(item[now].at, 1);
    item[now].begun = 1;
    setcontext(&item[now].context);
}

static void start_items(void)
{
    memset(arrived, 0, sizeof arrived);
    memset(passed, 0, sizeof passed);
    for (int i = 0; i < items; i++) {
        if (!item[i].stack) item[i].stack = malloc(STACK);
        getcontext(&item[i].context);
        item[i].context.uc_stack.ss_sp = item[i].stack;
        item[i].context.uc_stack.ss_size = STACK;
        item[i].context.uc_link = NULL;
        item[i].begun = item[i].done = item[i].meetings[SUB_GROUP] = item[i].meetings[GROUP] = 0;
        makecontext(&item[i].context, run_item, 0);
    }
}

/* A sub-group runs as far as it can; how many of its items ended. */
static int run_sub_group(int s)
{
    int ended = 0;
    for (int seen = -1; seen != events && !failure[0];) {
        seen = events;
        for (int l = 0; l < lanes && !failure[0]; l++) {
            now = s * lanes + l;
            if (item[now].done) continue;
            resume_item();
            ended += item[now].done;
        }
    }
    return ended;
}

/* Sub-groups in turning order: where a barrier is missing, one of both orders shows it. */
static void run_group(void)
{
    const int n = items / lanes;
    start_items();
    for (int live = items, pass = 0; live && !failure[0]; pass++) {
        const int before = events;
        for (int s = 0; s < n; s++) live -= run_sub_group(pass % 2 ? n - 1 - s : s);
        if (before == events && !failure[0]) snprintf(failure, sizeof failure, "items wait for each other for ever");
    }
}

const char *emu_launch(void (*body)(void), const size_t groups[2], int group_items, int sub_group)
{
    for (int d = 0; d < 2; d++) half[d] = (groups[d] + 1) / 2;
    kernel = body, items = group_items, lanes = sub_group, failure[0] = 0;
    if (items > MOST_ITEMS || items % lanes) return "a group of a size that is not emulated";
    for (group[1] = 0; group[1] < groups[1]; group[1]++)
        for (group[0] = 0; group[0] < groups[0] && !failure[0]; group[0]++) run_group();
    return failure[0] ? failure : NULL;
}
