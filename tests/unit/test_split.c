/* Divisions of a model's layers that are said by hand, and lists of devices: what is read, and one sentence for each that is wrong.
 * The devices are made up: no driver is asked. */
#include "select.h"
#include "split.h"
#include "../testlib.h"

#include <string.h>

static tn_error err;

enum { LAYERS = 7, DEVICES = 6, BATCH = 8 };
static const char *const names[LAYERS] = {"embeddings", "layer.0", "layer.1", "layer.2", "layer.3", "norm", "head"};
static const tn_layer_names layers = {names, LAYERS};

/* Two of a kind, a processor through two platforms, a third card through two. */
static tn_device_info cards[DEVICES] = {
    {.index = 0, .name = "Fast 9000", .platform = "A", .type = TN_DEVICE_GPU, .compute_units = 8, .hardware = "pci 0000:01:00.0"},
    {.index = 1, .name = "Fast 9000", .platform = "A", .type = TN_DEVICE_GPU, .compute_units = 8, .hardware = "pci 0000:02:00.0"},
    {.index = 2, .name = "pthread-Zen", .platform = "B", .type = TN_DEVICE_CPU, .compute_units = 4},
    {.index = 3, .name = "Zen", .platform = "C", .type = TN_DEVICE_CPU, .compute_units = 4},
    {.index = 4, .name = "Iris", .platform = "C", .type = TN_DEVICE_GPU, .compute_units = 9, .hardware = "uuid 01ff"},
    {.index = 5, .name = "Iris (mesa)", .platform = "D", .type = TN_DEVICE_GPU, .compute_units = 9, .hardware = "pci 0000:00:02.0"},
};
static tn_device_info *const there[DEVICES] = {&cards[0], &cards[1], &cards[2], &cards[3], &cards[4], &cards[5]};

/* ---- splits ---- */

static int parse(tn_split *s, const char *text)
{
    return tn_split_parse(s, text, &layers, there, DEVICES, BATCH, &err);
}

static void reads(const char *text, const char *back)
{
    tn_split s;
    tn_text out = {0};
    ck_assert_msg(!parse(&s, text), "%s", err.message);
    tn_split_text(&out, &s, &layers);
    ck_assert_str_eq(out.s, back);
    tn_split_free(&s);
    ck_assert_msg(!parse(&s, out.s), "%s", err.message);
    ck_assert_int_eq(tn_split_check(&s, &layers, BATCH, &err), 0);
    ck_assert(s.replica[0].stage[0].kept == TN_KEEPS_ALL);
    tn_split_free(&s);
    tn_text_free(&out);
}

START_TEST(a_split_is_read_and_written_back)
{
    reads("0:embeddings-head", "0:embeddings-head@8/8");
    reads("0:embeddings-layer.1,1:layer.2-head", "0:embeddings-layer.1,1:layer.2-head@8/4");
    reads(" 1 : embeddings - layer.2 , 0 : layer.3 , 2 : norm-head @ 8/3", "1:embeddings-layer.2,0:layer.3,2:norm-head@8/3");
    reads("0:embeddings-head;1:embeddings-head;2:embeddings-head",
          "0:embeddings-head@3/3;1:embeddings-head@3/3;2:embeddings-head@2/2");
    reads("0:embeddings-norm,1:head@6/2;2:embeddings-head", "0:embeddings-norm,1:head@6/2;2:embeddings-head@2/2");
    reads("pthread:embeddings-head", "2:embeddings-head@8/8");
}
END_TEST

static const struct {
    const char *text, *says;
} wrong[] = {
    {"0:embeddings-layer.1,1:layer.3-head", "leaves layer 'layer.2' out, between device 0 and device 1"},
    {"0:embeddings-layer.0,1:layer.3-head", "leaves layers 'layer.1' to 'layer.2' out"},
    {"0:layer.0-head", "leaves layer 'embeddings' out, before device 0"},
    {"0:embeddings-layer.3,1:norm", "leaves layer 'head' out, behind device 1"},
    {"0:embeddings-layer.2,1:layer.2-head", "has layer 'layer.2' twice: on device 0 and on device 1"},
    {"0:embeddings-layer.3,1:layer.1-head", "has layers 'layer.1' to 'layer.3' twice"},
    {"1:layer.2-head,0:embeddings-layer.1", "in the wrong order: 'embeddings' on device 0 comes before 'layer.2' on device 1"},
    {"0:layer.3-embeddings,1:norm-head", "the wrong order: 'embeddings' comes first"},
    {"0:embeddings-layer.1,0:layer.2-head", "names device 0 twice"},
    {"0:embeddings-head@4/4;0:embeddings-head@4/4", "names device 0 twice"},
    {"0:embeddings-layer.9,1:layer.2-head", "no layer 'layer.9'; they are 'embeddings' to 'head' (did you mean 'layer.0'?)"},
    {"0:embeddings-layer.1,7:layer.2-head", "device index 7 does not exist: there are 6"},
    {"Fast:embeddings-head", "'Fast' matches 2 devices"},
    {":embeddings-head", "names no device"},
    {"0", "'0' is no stage of a split"},
    {"0:embeddings-layer.1,", "'' is no stage of a split"},
    {"", "'' is no stage of a split"},
    {"0:embeddings-head@8", "'@8' of the split is not @IMAGES/MICRO"},
    {"0:embeddings-head@8/9", "a micro-batch of 9 does not fit the 8 images of replica 1"},
    {"0:embeddings-head@6/2", "take 6 images together, but a batch has 8"},
    {"0:embeddings-head@8/2;1:embeddings-head", "a batch of 8 has no image for replica 2 of 2"},
};

START_TEST(a_wrong_split_is_one_sentence)
{
    tn_split s;
    ck_assert_int_eq(parse(&s, wrong[_i].text), TN_ERR_CONFIG);
    ck_assert_msg(strstr(err.message, wrong[_i].says) && !strchr(err.message, '\n'), "%s: %s", wrong[_i].text, err.message);
    ck_assert(!s.replica && !s.n_replicas);
}
END_TEST

/* ---- lists of devices ---- */

static int pick(const char *list, int *hit, int *n, tn_text *left)
{
    return tn_device_match_list(hit, n, left, there, DEVICES, list, &err);
}

START_TEST(a_list_of_devices_is_taken_in_its_order)
{
    int hit[DEVICES], n;
    tn_text left = {0};
    ck_assert_msg(!pick("4, 0,pthread", hit, &n, &left), "%s", err.message);
    ck_assert(n == 3 && hit[0] == 4 && hit[1] == 0 && hit[2] == 2);
    ck_assert_msg(!pick("2,3", hit, &n, &left), "a processor through two platforms: %s", err.message);
    ck_assert(n == 2 && !left.len);
    ck_assert_int_eq(pick("", hit, &n, &left), 0);
    ck_assert(n == 1);
}
END_TEST

START_TEST(all_takes_a_piece_of_hardware_once)
{
    int hit[DEVICES], n;
    tn_text left = {0};
    ck_assert_int_eq(pick("all", hit, &n, &left), 0);
    ck_assert(n == 4 && hit[0] == 0 && hit[1] == 1 && hit[2] == 2 && hit[3] == 4);
    ck_assert_msg(strstr(left.s, "device 3 'Zen' (C) is left out: it is device 2") && strstr(left.s, "device 5"), "%s", left.s);
    tn_text_free(&left);
}
END_TEST

/* What one driver does not tell is made up for by the name and the units. */
START_TEST(hardware_is_known_again)
{
    ck_assert(!tn_device_is_same(&cards[0], &cards[1]) && tn_device_is_same(&cards[2], &cards[3]));
    ck_assert(tn_device_is_same(&cards[4], &cards[5]) && !tn_device_is_same(&cards[0], &cards[5]));
    tn_device_info other = cards[5];
    other.compute_units = 10;
    ck_assert(!tn_device_is_same(&cards[4], &other));
    memcpy(other.hardware, "uuid 01ff", 10);
    ck_assert(tn_device_is_same(&cards[4], &other));
    memcpy(other.hardware, "uuid 01fe", 10);
    ck_assert(!tn_device_is_same(&cards[4], &other));
    other.type = TN_DEVICE_CPU;
    ck_assert(!tn_device_is_same(&cards[4], &other));
    /* two devices of one platform that tell nothing are two */
    ck_assert(!tn_device_is_same(&cards[2], &cards[2]));
}
END_TEST

/* A vendor's own platform is taken before another that is listed first, where both are meant; the other when it is named. */
START_TEST(the_better_of_two_platforms_is_taken)
{
    tn_device_info v[4] = {
        {.name = "NVIDIA H9", .vendor = "Mesa", .platform = "rusticl", .type = TN_DEVICE_GPU, .compute_units = 8},
        {.name = "NVIDIA H9", .vendor = "NVIDIA", .platform = "NVIDIA CUDA", .type = TN_DEVICE_GPU, .compute_units = 8},
        {.name = "Zen", .vendor = "Intel", .platform = "Intel(R) OpenCL", .type = TN_DEVICE_CPU, .global_memory = 9},
        {.name = "pthread-Zen",
         .vendor = "AMD",
         .platform = "Portable Computing Language",
         .type = TN_DEVICE_CPU,
         .global_memory = 5},
    };
    tn_device_info *const p[4] = {&v[0], &v[1], &v[2], &v[3]};
    static const char *const selectors[] = {"H9", "gpu", "cpu", "Zen", "rusticl", "Intel(R)", "0", "1"};
    static const int want[] = {1, 1, 3, 3, 0, 2, 0, 1};
    int hit[4], n;
    tn_text left = {0};
    for (size_t i = 0; i < TN_COUNT(want); i++) {
        ck_assert_msg(!tn_device_match(hit, p, 4, selectors[i], &err), "%s: %s", selectors[i], err.message);
        ck_assert_msg(hit[0] == want[i], "%s is device %d", selectors[i], hit[0]);
    }
    ck_assert_int_eq(tn_device_match_list(hit, &n, &left, p, 4, "all", &err), 0);
    ck_assert(n == 2 && hit[0] == 1 && hit[1] == 3);
    ck_assert_int_eq(tn_device_match_list(hit, &n, &left, p, 4, "", &err), 0);
    ck_assert(n == 1 && hit[0] == 1);
    ck_assert_int_eq(tn_device_match_list(hit, &n, &left, p + 2, 2, "", &err), 0);
    ck_assert(n == 1 && hit[0] == 1);
    ck_assert(tn_device_twin(p, 4, 0) == 1 && tn_device_twin(p, 4, 1) == -1 && tn_device_twin(p, 4, 2) == 3);
    /* measured, the faster is taken; one that is not, or as good as the other, leaves it to the platforms' order */
    static const struct {
        double product[2], copy[2];
        int taken;
    } rates[] = {{{9e10, 5e10}, {1e10, 1e10}, 2},
                 {{5e10, 9e10}, {1e10, 1e10}, 3},
                 {{9e10, 9e10}, {8e9, 1e9}, 2},
                 {{9e10, 0}, {1e10, 0}, 3},
                 {{9.2e10, 9e10}, {1e10, 1e10}, 3}};
    for (size_t i = 0; i < TN_COUNT(rates); i++) {
        for (int k = 0; k < 2; k++) v[2 + k].product_rate = rates[i].product[k], v[2 + k].copy_rate = rates[i].copy[k];
        const int taken = rates[i].taken, other = 5 - taken;
        ck_assert_msg(tn_device_twin(p, 4, other) == taken && tn_device_twin(p, 4, taken) == -1, "rates %zu", i);
        ck_assert(tn_device_twin(p, 4, 0) == 1);
    }
    tn_text_free(&left);
}
END_TEST

static const struct {
    const char *text, *says;
} bad_lists[] = {
    {"0,fsat", "no OpenCL device matches 'fsat'"},
    {"0,1,0", "the device list '0,1,0' names device 0 'Fast 9000' twice"},
    {"pthread,2", "names device 2 'pthread-Zen' twice"},
    {"4,5", "names one piece of hardware twice: device 5 'Iris (mesa)' is device 4 seen through another platform"},
    {"0,9", "device index 9 does not exist"},
    {"0,Fast", "'Fast' matches 2 devices"},
    {"0,,1", "the device list '0,,1' has an empty entry"},
    {"0,", "has an empty entry"},
    {"0,all", "has 'all' in it, which takes every device and stands alone"},
};

START_TEST(a_wrong_list_of_devices_is_one_sentence)
{
    int hit[DEVICES], n;
    tn_text left = {0};
    ck_assert_int_eq(pick(bad_lists[_i].text, hit, &n, &left), TN_ERR_DEVICE);
    ck_assert_msg(strstr(err.message, bad_lists[_i].says) && !strchr(err.message, '\n'), "%s: %s", bad_lists[_i].text, err.message);
}
END_TEST

int main(void)
{
    return run_tests("split", 30,
                     TESTS(ONCE(a_split_is_read_and_written_back), TIMES(a_wrong_split_is_one_sentence, TN_COUNT(wrong)),
                           ONCE(a_list_of_devices_is_taken_in_its_order), ONCE(all_takes_a_piece_of_hardware_once),
                           ONCE(hardware_is_known_again), ONCE(the_better_of_two_platforms_is_taken),
                           TIMES(a_wrong_list_of_devices_is_one_sentence, TN_COUNT(bad_lists))));
}
