/* What YAML means here, value by value, against what PyYAML 6 makes of it; and what goes in and out of a configuration whole. */
#include "../testlib.h"
#include "files.h"
#include "numeric.h"
#include "settings.h"
#include "utf8.h"
#include "yaml_tree.h"

#include <math.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static tn_ynode *parsed(const char *text)
{
    tn_ynode *n;
    tn_error e;
    ck_assert_msg(!tn_yaml_parse(&n, text, strlen(text), "file", &e), "'%s': %s", text, e.message);
    return n;
}

/* ---- scalars ---- */

static const struct {
    const char *text;
    enum { NO_NUMBER, NUMBER } kind;
    double value;
} numbers[] = {
    {"010", NUMBER, 8},
    {"-017", NUMBER, -15},
    {"0x10", NUMBER, 16},
    {"-0xff", NUMBER, -255},
    {"0b101", NUMBER, 5},
    {"1_000", NUMBER, 1000},
    {"0", NUMBER, 0},
    {"+7", NUMBER, 7},
    {".5", NUMBER, 0.5},
    {"1.", NUMBER, 1},
    {"010.5", NUMBER, 10.5},
    {"1_0.2_5", NUMBER, 10.25},
    {"6.0e+3", NUMBER, 6000},
    {"1e-4", NUMBER, 1e-4}, /* text to PyYAML, and a number to everybody else */
    {"1E3", NUMBER, 1000},
    {"\"1e-4\"", NUMBER, 1e-4},
    {"'010'", NUMBER, 10}, /* quoted: no octal, as Python's int() */
    {"!!float \"1e-4\"", NUMBER, 1e-4},
    {"!!int '3'", NUMBER, 3},
    {"08", NO_NUMBER, 0},
    {"0x", NO_NUMBER, 0},
    {"0xg", NO_NUMBER, 0},
    {"0x1p3", NO_NUMBER, 0},
    {".inf", NO_NUMBER, 0},
    {"inf", NO_NUMBER, 0},
    {"nan", NO_NUMBER, 0},
    {".nan", NO_NUMBER, 0},
    {"1e999", NO_NUMBER, 0},
    {"1,5", NO_NUMBER, 0},
    {"1 000", NO_NUMBER, 0},
    {"'1_000'", NO_NUMBER, 0},
    {"1e", NO_NUMBER, 0},
    {".", NO_NUMBER, 0},
    {"-", NO_NUMBER, 0},
    {"''", NO_NUMBER, 0},
    {"1:30", NO_NUMBER, 0},
};

START_TEST(numbers_are_as_pyyaml_resolves_them)
{
    double v = NAN;
    tn_ynode *n = parsed(numbers[_i].text);
    ck_assert_msg(tn_yaml_number(n, &v) == (numbers[_i].kind == NUMBER), "%s", numbers[_i].text);
    if (numbers[_i].kind == NUMBER) ck_assert_msg(v == numbers[_i].value, "%s is %g", numbers[_i].text, v);
    tn_yaml_free(n);
}
END_TEST

START_TEST(whole_numbers_have_64_bits)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {{"18446744073709551615", true, UINT64_MAX},
                 {"18446744073709551616", false, 0},
                 {"0xffffffffffffffff", true, UINT64_MAX},
                 {"4294967296", true, 4294967296},
                 {"9007199254740993", true, 9007199254740993}, /* no double */
                 {"'12'", true, 12},
                 {"1e3", true, 1000},
                 {"-1", false, 0},
                 {"1.5", false, 0}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        uint64_t v = 0;
        tn_ynode *n = parsed(cases[i].text);
        ck_assert_msg(tn_yaml_whole(n, &v) == cases[i].good, "%s", cases[i].text);
        if (cases[i].good) ck_assert_msg(v == cases[i].value, "%s", cases[i].text);
        tn_yaml_free(n);
    }
}
END_TEST

START_TEST(booleans_and_nulls_are_yaml_1_1s)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"};
    static const char *const neither[] = {"y", "N", "tRUE", "oN", "1", "0", "'yes'", "!!str on", "none", "~"};
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", "# nothing", "---", "---\n...\n"};
    bool v;
    for (size_t i = 0; i < TN_COUNT(yes); i++) {
        tn_ynode *a = parsed(yes[i]), *b = parsed(no[i]);
        ck_assert(tn_yaml_bool(a, &v) && v && tn_yaml_bool(b, &v) && !v);
        tn_yaml_free(a), tn_yaml_free(b);
    }
    for (size_t i = 0; i < TN_COUNT(neither); i++) {
        tn_ynode *n = parsed(neither[i]);
        ck_assert_msg(!tn_yaml_bool(n, &v), "%s", neither[i]);
        tn_yaml_free(n);
    }
    for (size_t i = 0; i < TN_COUNT(nulls); i++) {
        tn_ynode *n = parsed(nulls[i]), *quoted = parsed("'null'");
        ck_assert_msg(tn_yaml_is_null(n), "%s", nulls[i]);
        ck_assert(!tn_yaml_is_null(quoted));
        tn_yaml_free(n), tn_yaml_free(quoted);
    }
}
END_TEST

/* ---- documents ---- */

/* "{a: 1, b: [x, y]}" of a tree, keys in their order. */
static void write_tree(tn_text *t, const tn_ynode *n)
{
    if (n->kind == TN_Y_SCALAR) tn_text_addf(t, "%s", n->text);
    else tn_text_addf(t, n->kind == TN_Y_MAP ? "{" : "[");
    for (int i = 0; i < n->n; i++) {
        tn_text_addf(t, "%s%s%s", i ? ", " : "", n->child[i]->key ? n->child[i]->key : "", n->child[i]->key ? ": " : "");
        write_tree(t, n->child[i]);
    }
    if (n->kind != TN_Y_SCALAR) tn_text_addf(t, n->kind == TN_Y_MAP ? "}" : "]");
}

static const char *const documents[][2] = {
    {"---\na: 1\n...\n", "{a: 1}"},
    {"%YAML 1.1\n---\na: 1\n", "{a: 1}"},
    {"a: &x {k: 1}\nb: *x\nc: [*x, *x]\n", "{a: {k: 1}, b: {k: 1}, c: [{k: 1}, {k: 1}]}"},
    {"a: &x 1\nb: &x 2\nc: *x\n", "{a: 1, b: 2, c: 2}"},
    {"&k a: 1\nb: *k\n", "{a: 1, b: a}"},
    {"a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n", "{a: {p: 1, q: 2}, b: {q: 3, p: 1}}"},
    {"a: &x {p: 1, q: 2}\nb: {q: 3, <<: *x}\n", "{a: {p: 1, q: 2}, b: {q: 3, p: 1}}"},
    {"b: {<<: [{p: 1}, {p: 2, q: 2}], r: 3}\n", "{b: {r: 3, q: 2, p: 1}}"},
    {"b: {<<: {p: 1}, <<: {p: 2, q: 3}}\n", "{b: {p: 2, q: 3}}"},
    {"a: &x {<<: &y {p: 1}, q: 2}\nb: {<<: *x}\nc: *y\n", "{a: {q: 2, p: 1}, b: {q: 2, p: 1}, c: {p: 1}}"},
    {"a: {<<: {s: {u: 1}}, s: {v: 2}}\n", "{a: {s: {v: 2}}}"}, /* whole values, not deep */
    {"a: {'<<': 1}\n", "{a: {<<: 1}}"},
    {"a: !!binary Y2Fm6Q==\n", "{a: caf\xe9}"},
    {"a: !!binary |\n  Y2Fm\n  6Q==\n", "{a: caf\xe9}"},
    {"a: ! 1\nb: !!map {}\nc: !!seq []\n", "{a: 1, b: {}, c: []}"},
};

START_TEST(documents_are_as_pyyaml_loads_them)
{
    tn_text t = {0};
    tn_ynode *n = parsed(documents[_i][0]);
    write_tree(&t, n);
    ck_assert_str_eq(t.s, documents[_i][1]);
    tn_yaml_free(n);
    tn_text_free(&t);
}
END_TEST

static const struct {
    const char *text;
    size_t len; /* 0: as C counts */
    const char *place, *says;
} refused[] = {
    {"a: 1\n---\nb: 2\n", 0, "file:2:", "a second document"},
    {"a: 1\n---\n", 0, "file:2:", "a second document"},
    {"a: 1\n...\n}{ not: [yaml\n", 0, "file:3:", "not valid YAML"},
    {"'a' b\n", 0, "file:1:", "not valid YAML"},
    {"a: 1\na: 2\n", 0, "file:2:1", "already a key 'a'"},
    {"a: *b\n", 0, "file:1:4", "no anchor stands before the alias 'b'"},
    {"a: &b {c: *b}\n", 0, "file:1:11", "no anchor stands before"},
    {"a: 1\nb: {<<: 3}\n", 0, "file:2:5", "a mapping or a list of mappings"},
    {"b: {<<: [{c: 1}, 3]}\n", 0, "file:1:5", "a mapping or a list of mappings"},
    {"a: \"x\\0y\"\n", 0, "file:1:4", "NUL"},
    {"\"a\\0b\": 1\n", 0, "file:1:1", "NUL"},
    {"a: !!binary AAAA\n", 0, "file:1:4", "bytes that are not zero"},
    {"a: !!binary x\n", 0, "file:1:4", "base64"},
    {"a: !!python/object:os.system {}\n", 0, "file:1:4", "python/object"},
    {"a: !mine 3\n", 0, "file:1:4", "!mine"},
    {"[a]: 1\n", 0, "file:1:1", "a key must be plain text"},
    {"a: 1\nb: caf\xe9\n", 0, "file:2:", "UTF-8"},
    {"a: 1\nb: \x01\n", 0, "file:2:", "UTF-8"},
    {"a: 1\nb: \0c\n", 11, "file:2:", "UTF-8"},
};

START_TEST(what_is_no_configuration_is_refused_with_its_line)
{
    tn_ynode *n;
    tn_error e = {0};
    const char *text = refused[_i].text;
    ck_assert_int_eq(tn_yaml_parse(&n, text, refused[_i].len ? refused[_i].len : strlen(text), "file", &e), TN_ERR_CONFIG);
    ck_assert_ptr_null(n);
    ck_assert_msg(strstr(e.message, refused[_i].says), "%s", e.message);
    ck_assert_msg(!strncmp(e.message, refused[_i].place, strlen(refused[_i].place)), "%s", e.message);
}
END_TEST

START_TEST(aliases_of_aliases_end_in_time)
{
    tn_text t = {0};
    tn_ynode *n;
    tn_error e = {0};
    tn_text_addf(&t, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 12; i++) {
        tn_text_addf(&t, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) tn_text_addf(&t, "%s*a%d", k ? ", " : "", i - 1);
        tn_text_addf(&t, "]\n");
    }
    ck_assert_int_eq(tn_yaml_parse(&n, t.s, t.len, "file", &e), TN_ERR_CONFIG);
    ck_assert_msg(strstr(e.message, "do aliases name aliases?"), "%s", e.message);
    tn_text_free(&t);
}
END_TEST

/* ---- in and out of a configuration ---- */

static tn_config *loaded(const char *const *keys, int n)
{
    tn_config *c;
    tn_error e;
    const tn_config_source s = {
        .version = TN_CONFIG_SOURCE_VERSION, .config_dir = SOURCE_DIR "/configs", .overrides = keys, .n_overrides = n};
    ck_assert_msg(!tn_config_load(&c, &s, &e), "%s", e.message);
    return c;
}

static const char *const texts[] = {
    "o'brien",
    "My #1 data",
    "C: x",
    "[x]",
    "{a: b}",
    " both ends ",
    "",
    "caf\xe9",
    "\xff\xfe",
    "caf\xc3\xa9",
    "tab\there",
    "line\nend",
    "\x7f",
    "\xc2\x80\xc2\x9f\xc2\x85",
    "\xe2\x80\xa8",
    "\xef\xbb\xbf",
    "\xef\xbf\xbe",
    "\xf0\x9f\x8e\xbe",
    "\xed\xa0\x80",
    "back\\slash",
    "\"open",
    "'",
    "- a",
    "&x",
    "*x",
    "!!binary AAAA",
    "%",
    "@",
    "yes",
    "010",
    "null",
    "~x",
    "a=b",
    "? a",
    "|",
};

START_TEST(any_text_is_taken_as_it_is_and_read_back)
{
    char assignment[64];
    const char *got, *keys[] = {assignment, "data.split.train_games=[x]"};
    char *yaml;
    tn_error e;
    tn_config *again;
    snprintf(assignment, sizeof assignment, "data.root=%s", texts[_i]);
    tn_config *c = loaded(keys, 2);
    ck_assert(!tn_config_get_str(c, "data.root", &got, &e));
    ck_assert_str_eq(got, texts[_i]);
    ck_assert(!tn_config_set(c, assignment, &e) && !tn_config_set_list(c, "data.split.val_games", &texts[_i], 1, &e));
    ck_assert(!tn_config_dump(c, &yaml, &e));
    char *path = temp_path("whole.yaml");
    ck_assert(!tn_write_file(path, yaml, strlen(yaml), &e));
    const tn_config_source s = {.version = TN_CONFIG_SOURCE_VERSION, .merged = path};
    ck_assert_msg(!tn_config_load(&again, &s, &e), "%s", e.message);
    ck_assert(!tn_config_get_str(again, "data.root", &got, &e));
    ck_assert_str_eq(got, texts[_i]);
    ck_assert_str_eq(tn_config_settings(again)->data.val_games.v[0], texts[_i]);
    tn_config_free(c), tn_config_free(again);
    free(yaml), free(path);
}
END_TEST

/* One KEY=VALUE and what a line of the configuration is then, quotes left out. */
static const char *const assignments[][2] = {
    {"data.root='My #1 data'", "  root: My #1 data"},
    {"data.root=\"a\\tb\"", "  root: a\\x09b"},
    {"data.root='a' b", "  root: 'a' b"},
    {"data.root=null", "  root: null"},
    {"training.log_dir=null", "  log_dir: null"},
    {"training.log_dir=", "  log_dir: null"},
    {"training.log_dir=~", "  log_dir: ~"},
    {"model.lora.task_type=~", "    task_type: null"},
    {"data.split.train_games=o'brien: #1", "    train_games: [o'brien: #1]"},
    {"data.split.train_games=['a b', c]", "    train_games: [a b, c]"},
    {"data.split.val_games=", "    val_games: []"},
    {"data.split.val_games=NULL", "    val_games: []"},
    {"model.lora.target_modules=.*\\.(q|v)_proj # x", "    target_modules: .*\\\\.(q|v)_proj # x"},
    {"training.optimizer.name=AdamW", "    name: adamw"},
    {"training.optimizer.name=SGD", "    name: sgd"},
    {"training.loss.name=Focal", "    name: focal"},
    {"training.loss.name=WBCE", "    name: wbce"},
    {"training.loss.pos_weight=20", "    pos_weight: 20.0"},
    {"training.precision=BF16", "  precision: bf16"},
    {"model.decoder.norm=BN", "    norm: bn"},
    {"model.model_name=ViT_Heatmap", "  model_name: vit_heatmap"},
    {"model.lora.init_lora_weights=PiSSA_niter_4", "    init_lora_weights: pissa_niter_4"},
    {"training.grad_clip_norm=null", "  grad_clip_norm: 0.0"},
    {"training.optimizer.lr=1e-5", "    lr: 1.0e-05"},
    {"training.optimizer.lr='1e-5'", "    lr: 1.0e-05"},
    {"training.epochs=010", "  epochs: 8"},
    {"training.seed=4294967296", "  seed: 4294967296"},
    {"training.seed=18446744073709551615", "  seed: 18446744073709551615"},
    {"model.lora.enabled=On", "    enabled: true"},
    {"model.quantization.load_in_8bit=true", "    quant_type: int8"},
    {"model.quantization.load_in_8bit=YES", "    enabled: true"},
    {"model.quantization.bnb_4bit_quant_type=FP4", "    quant_type: fp4"},
    {"model.quantization.bnb_4bit_compute_dtype=torch.bfloat16", "    compute_dtype: bfloat16"},
    {"model.quantization.bnb_4bit_use_double_quant=No", "    compress_statistics: false"},
    {"training.quantization.bnb_4bit_use_double_quant=No", "    use_double_quant: false"},
    {"model.quantization_config={llm_int8_skip_modules: [head]}", "    skip_modules: [head]"},
    {"model.llm_int8_skip_modules=[head]", "    skip_modules: [head]"},
    {"model.lora.target_modules=[qv]_proj", "    target_modules: [qv]_proj"},
    {"model.lora.target_modules= [query, value] ", "    target_modules: [query, value]"},
    {"data.split.train_games= [game1]", "    train_games: [game1]"},
    {"data.root='a' 'b'", "  root: 'a' 'b'"},
    {"data.root='it''s'", "  root: it's"},
};

START_TEST(an_assignment_says_what_is_meant)
{
    tn_error e;
    char *yaml, *line = tn_strf("\n%s\n", assignments[_i][1]);
    tn_config *c = loaded(&assignments[_i][0], 1);
    ck_assert(!tn_config_dump(c, &yaml, &e));
    size_t n = 0;
    for (const char *s = yaml; *s; s++)
        if (*s != '"') yaml[n++] = *s;
    yaml[n] = 0;
    ck_assert_msg(strstr(yaml, line), "%s gives no %s", assignments[_i][0], line);
    tn_config_free(c);
    free(yaml), free(line);
}
END_TEST

static const struct {
    const char *keys[2], *says;
} contradictions[] = {
    {{"model.quantization={quant_type: fp4, bnb_4bit_quant_type: nf4}"},
     "bnb_4bit_quant_type is 'nf4', but model.quantization.quant_type is 'fp4'"},
    {{"model.quantization={compress_statistics: true, bnb_4bit_use_double_quant: false}"}, "give one of them"},
    {{"model.quantization={use_double_quant: true, bnb_4bit_use_double_quant: false}"}, "give one of them"},
    {{"model.quantization={skip_modules: [a], llm_int8_skip_modules: [b]}"}, "give one of them"},
    {{"model.quantization={load_in_4bit: true, enabled: false}"},
     "load_in_4bit is 'true', but model.quantization.enabled is 'false'"},
    {{"model.quantization={load_in_8bit: true, quant_type: nf4}"}, "give one of them"},
    {{"model.quantization={load_in_4bit: true, quant_type: int8}"}, "load_in_4bit is set, but quant_type is int8"},
    {{"model.quantization={load_in_4bit: true, load_in_8bit: true}"}, "exclude each other"},
    {{"model.quantization.load_in_4bit=true", "model.quantization.load_in_8bit=true"}, "exclude each other"},
    {{"model.quantization.quant_method=gptq"}, "'gptq' is not built"},
    {{"model.quantization.bnb_4bit_quant_type=int3"}, "nf4|fp4"},
    {{"model.lora={r: 4}", "model.lora.r=inf"}, "whole number"},
    {{"training.optimizer.name=AdamX"}, "adamw|sgd"},
    {{"training.optimizer.name="}, "adamw|sgd"},
    {{"training.seed=-1"}, "18446744073709551615"},
    {{"data.split.train_games=[a, ~]"}, "a list of names"},
    {{"training.epochs='3' 4"}, "command line:1:"},
    {{"data.roots=#1: x"}, "did you mean 'data.root'"},
};

START_TEST(contradictions_and_wrong_values_get_one_sentence)
{
    tn_config *c;
    tn_error e = {0};
    const tn_config_source s = {.version = TN_CONFIG_SOURCE_VERSION,
                                .config_dir = SOURCE_DIR "/configs",
                                .overrides = contradictions[_i].keys,
                                .n_overrides = contradictions[_i].keys[1] ? 2 : 1};
    ck_assert_int_eq(tn_config_load(&c, &s, &e), TN_ERR_CONFIG);
    ck_assert_msg(strstr(e.message, contradictions[_i].says), "%s", e.message);
}
END_TEST

/* What a later layer says under one name wins over what an earlier one said under another. */
START_TEST(names_of_one_thing_are_one_key)
{
    const char *got, *keys[] = {"model.quantization.quant_type=fp4", "model.quantization.bnb_4bit_quant_type=nf4",
                                "training.quantization.load_in_8bit=true"};
    tn_error e;
    tn_config *c = loaded(keys, 2);
    ck_assert(!tn_config_get_str(c, "model.quantization.bnb_4bit_quant_type", &got, &e));
    ck_assert_str_eq(got, "nf4");
    ck_assert(!tn_config_set(c, keys[2], &e));
    ck_assert(!tn_config_get_str(c, "model.quantization.quant_type", &got, &e));
    ck_assert_str_eq(got, "int8");
    tn_config_free(c);
}
END_TEST

/* false takes back what true said before, and what that implied. */
static const struct {
    const char *keys[3];
    bool enabled;
    const char *type;
} switches[] = {
    {{"model.quantization.load_in_4bit=true", "model.quantization.load_in_4bit=false"}, false, "nf4"},
    {{"model.quantization.load_in_8bit=true", "model.quantization.load_in_8bit=false"}, false, "nf4"},
    {{"model.quantization.load_in_8bit=true", "model.quantization.load_in_8bit=false", "model.quantization.load_in_4bit=true"},
     true,
     "nf4"},
    {{"model.quantization.load_in_4bit=true", "model.quantization.load_in_8bit=false"}, true, "nf4"},
    {{"model.quantization.load_in_8bit=true", "model.quantization.load_in_4bit=false"}, true, "int8"},
    {{"model.quantization.load_in_4bit=true", "model.quantization={load_in_4bit: false, load_in_8bit: true}"}, true, "int8"},
    {{"model.quantization.enabled=true", "model.quantization.load_in_4bit=false"}, false, "nf4"},
    {{"model.quantization.enabled=true", "model.quantization.load_in_8bit=false"}, true, "nf4"},
    {{"model.quantization={enabled: true, load_in_4bit: false}"}, true, "nf4"},
};

START_TEST(switches_are_taken_back)
{
    tn_error e;
    const char *type, *const *k = switches[_i].keys;
    bool enabled;
    tn_config *c = loaded((const char **)k, k[1] ? k[2] ? 3 : 2 : 1);
    ck_assert(!tn_config_get_bool(c, "model.quantization.enabled", &enabled, &e));
    ck_assert(!tn_config_get_str(c, "model.quantization.quant_type", &type, &e));
    ck_assert_int_eq(enabled, switches[_i].enabled);
    ck_assert_str_eq(type, switches[_i].type);
    tn_config_free(c);
}
END_TEST

START_TEST(seeds_come_back_where_they_fit)
{
    long long seed;
    tn_error e;
    tn_config *c = loaded(NULL, 0);
    ck_assert(!tn_config_set_int(c, "training.seed", 9223372036854775807, &e));
    ck_assert(!tn_config_get_int(c, "training.seed", &seed, &e) && seed == 9223372036854775807);
    ck_assert(!tn_config_set(c, "training.seed=9223372036854775808", &e));
    ck_assert_int_eq(tn_config_get_int(c, "training.seed", &seed, &e), TN_ERR_CONFIG);
    ck_assert_int_eq(tn_config_set_int(c, "training.seed", -1, &e), TN_ERR_CONFIG);
    tn_config_free(c);
}
END_TEST

/* ---- below ---- */

START_TEST(home_folders_are_found)
{
    const struct passwd *me = getpwuid(getuid());
    static const char *const kept[] = {"a/~", "/~", "~nobody-has-this-name/x", ""};
    char *p;
    ck_assert_ptr_nonnull(me);
    setenv("HOME", "/my home", 1);
    ck_assert_str_eq(p = tn_expand_home("~/a b"), "/my home/a b");
    free(p);
    ck_assert_str_eq(p = tn_expand_home("~"), "/my home");
    free(p);
    char *named = tn_strf("~%s/x", me->pw_name), *want = tn_strf("%s/x", me->pw_dir);
    ck_assert_str_eq(p = tn_expand_home(named), want);
    free(p);
    unsetenv("HOME");
    ck_assert_str_eq(p = tn_expand_home("~/x"), want);
    free(p), free(named), free(want);
    for (size_t i = 0; i < TN_COUNT(kept); i++) {
        ck_assert_str_eq(p = tn_expand_home(kept[i]), kept[i]);
        free(p);
    }
}
END_TEST

START_TEST(folders_get_absolute_names_and_hub_ids_stay)
{
    char *dir = temp_path("base"), *link = temp_path("link"), *p;
    mkdir(dir, 0777);
    ck_assert(!symlink(dir, link) && !chdir("/"));
    ck_assert_str_eq(p = tn_real_dir(link + 1), dir);
    free(p);
    ck_assert_str_eq(p = tn_real_dir("facebook/dinov2-small"), "facebook/dinov2-small");
    free(p);
    free(dir), free(link);
}
END_TEST

START_TEST(bytes_that_are_no_text_are_replaced)
{
    char *p;
    ck_assert_str_eq(p = tn_utf8_clean("a\xe9z\xc3\xa9\xed\xa0\x80\xf0\x9f\x8e"),
                     "a\xef\xbf\xbdz\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    free(p);
    ck_assert(tn_is_utf8("\xc3\xa9") && !tn_is_utf8("\xc0\xaf") && !tn_is_utf8("\xf4\x90\x80\x80") && !tn_is_utf8("\xc3"));
}
END_TEST

START_TEST(numbers_have_the_digits_they_need)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0.1, "0.1"}, {1.0 / 3, "0.3333333333333333"}, {1e-5, "1e-05"}, {123456789, "123456789"}, {0, "0"}};
    char buf[TN_NUMBER_TEXT], *end;
    for (size_t i = 0; i < TN_COUNT(cases); i++) ck_assert_str_eq(tn_print_double(buf, cases[i].v), cases[i].text);
    ck_assert(tn_strtod("2.5,", &end) == 2.5 && *end == ',');
}
END_TEST

int main(void)
{
    Suite *s = suite_create("yaml");
    TCase *t = tcase_create("yaml");
    tcase_set_timeout(t, 20);
    tcase_add_loop_test(t, numbers_are_as_pyyaml_resolves_them, 0, (int)TN_COUNT(numbers));
    tcase_add_test(t, whole_numbers_have_64_bits);
    tcase_add_test(t, booleans_and_nulls_are_yaml_1_1s);
    tcase_add_loop_test(t, documents_are_as_pyyaml_loads_them, 0, (int)TN_COUNT(documents));
    tcase_add_loop_test(t, what_is_no_configuration_is_refused_with_its_line, 0, (int)TN_COUNT(refused));
    tcase_add_test(t, aliases_of_aliases_end_in_time);
    tcase_add_loop_test(t, any_text_is_taken_as_it_is_and_read_back, 0, (int)TN_COUNT(texts));
    tcase_add_loop_test(t, an_assignment_says_what_is_meant, 0, (int)TN_COUNT(assignments));
    tcase_add_loop_test(t, contradictions_and_wrong_values_get_one_sentence, 0, (int)TN_COUNT(contradictions));
    tcase_add_test(t, names_of_one_thing_are_one_key);
    tcase_add_loop_test(t, switches_are_taken_back, 0, (int)(sizeof switches / sizeof *switches));
    tcase_add_test(t, seeds_come_back_where_they_fit);
    tcase_add_test(t, home_folders_are_found);
    tcase_add_test(t, folders_get_absolute_names_and_hub_ids_stay);
    tcase_add_test(t, bytes_that_are_no_text_are_replaced);
    tcase_add_test(t, numbers_have_the_digits_they_need);
    suite_add_tcase(s, t);
    return run_suite(s);
}
