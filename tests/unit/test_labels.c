/* Label files as people have them: what is read, what is set aside and why, and in which order. */
#include "../testlib.h"
#include "csv.h"
#include "dataset.h"
#include "files.h"

#include <string.h>

static char *dir; /* of the clip in the test's folder */

/* A clip of frames 64 x 32: the names given, separated by spaces. */
static void clip_of(const char *names)
{
    tn_image im;
    tn_error e;
    dir = temp_path("clip");
    ck_assert(!tn_remove_tree(dir, &e) && !tn_mkdirs(dir, &e) && !tn_image_new(&im, 64, 32, &e));
    char *list = strdup(names), *rest = NULL;
    for (char *s = strtok_r(list, " ", &rest); s; s = strtok_r(NULL, " ", &rest)) {
        char *p = tn_path(dir, s);
        ck_assert_msg(!tn_image_save_png(&im, p, &e), "%s", e.message);
        free(p);
    }
    free(list);
    tn_image_free(&im);
}

static tn_dataset read_n(const char *csv, size_t n)
{
    tn_dataset d = {0};
    tn_error e;
    char *p = tn_path(dir, "Label.csv");
    ck_assert(!tn_write_file(p, csv, n, &e));
    ck_assert_msg(!tn_labels_read(&d, "game/clip", dir, p, &e), "%s", e.message);
    free(p);
    return d;
}

static tn_dataset read_text(const char *csv)
{
    return read_n(csv, strlen(csv));
}

/* "0000.jpg 1 76.9,24;0001.jpg 0 -" for what was read. */
static void is_read(const char *csv, const char *want)
{
    tn_text t = {0};
    tn_dataset d = read_text(csv);
    tn_text_add(&t, "", 0);
    for (int i = 0; i < d.n; i++) {
        tn_text_addf(&t, "%s%s %d ", i ? ";" : "", strrchr(d.f[i].path, '/') + 1, d.f[i].visibility);
        ck_assert_int_eq(d.f[i].visible, d.f[i].visibility > 0);
        if (d.f[i].visible) tn_text_addf(&t, "%g,%g", d.f[i].x, d.f[i].y);
        else tn_text_addf(&t, "-");
    }
    ck_assert_msg(!strcmp(t.s, want), "'%s' gives '%s' and not '%s'", csv, t.s, want);
    tn_text_free(&t);
    tn_dataset_free(&d);
}

#define TWO "0000.jpg 1 16.5,24;0001.jpg 0 -"
#define H   "file name,visibility,x-coordinate,y-coordinate,status\n"

static const char *const spellings[] = {
    H "0000.jpg,1,16.5,24,0\n0001.jpg,0,,,\n",
    "File Name,Visibility Class,X,Y,Trajectory Pattern\r\n0000.jpg,1,16.5,24.0,1\r\n0001.jpg,0,-1,-1,0\r\n",
    "0000.jpg,1,16.5,24\n0001.jpg,0,nan,NaN",
    "\xef\xbb\xbf"
    "0000.jpg,1,16.5,24\n0001.jpg,0,None,\n",
    "\xef\xbb\xbf" H "0000.jpg,1,16.5,24\n0001.jpg,0,  ,null\n", "\n\n  \n" H "\n0000.jpg,1,16.5,24\n,,,\n\n0001.jpg,0,-1,-1\n\n",
    "file name,visibility,x-coordinate,y-coordinate\r0000.jpg,1,16.5,24\r\r0001.jpg,0,,\r",
    "Y,X,visible,img\n24,16.5,True,0000.jpg\n,,False,0001.jpg\n",
    "file_name,status,x-coordinate,y coordinate,VISIBILITY\n0000.jpg,9,16.5,24,1\n0001.jpg,9,0,0,0\n",
    "\"filename\",\"x\",\"y\"\n\"0000.jpg\",\"16.5\",\"24\"\n\"0001.jpg\",,\n", "Frame,Visibility,X,Y\n0,1,16.5,24\n1,0,0,0\n",
    ",Frame,Visibility,X,Y\n0,0,1.0,1.65e1,24.\n1,1.0,0,0,0\n", "frame_num;visible;x;y\n0;1;16.5;24\n1;0;;\n",
    "file name\tvisibility\tx\ty\n0000.jpg\t1\t16.5\t24\n0001.jpg\t0\t\t\n", " 0000.jpg , 1 , 16.5 , 24 , 0 \n \"0001.jpg\" ,0,,\n",
    "0000.jpg,1,+16.5,24\n0001.jpg,0,99999,-7\n",
    /* something before the header */
    "# labels, second version\n# of 2024\nfile name,visibility,y,x\n0000.jpg,1,24,16.5\n0001.jpg,0,,\n",
    "sep=;\nFrame;Visibility;Y;X\n0;1;24;16.5\n1;0;;\n",
    "\xef\xbb\xbfSEP=,\r\n#x\r\nY,X,visible,img\r\n24,16.5,1,0000.jpg\r\n,,0,0001.jpg\r\n",
    "Match of Sunday\nfile name,visibility,y,x\n0000.jpg,1,24,16.5\n0001.jpg,0,,\n",
    H "0000.jpg,1,16.5,24,0\nY,X,visible,img\n,,0,0001.jpg\n", /* two files joined */
};

START_TEST(spellings_are_one)
{
    clip_of("0000.jpg 0001.jpg");
    is_read(spellings[_i], TWO);
}
END_TEST

START_TEST(hidden_files_and_two_of_a_number_are_no_frames)
{
    clip_of("._0000.jpg 0000.jpg ._0001.jpg 0001.jpg 0002.jpg 2.jpg");
    is_read("Frame,Visibility,X,Y\n0,1,16.5,24\n1,0,0,0\n", TWO);
    is_read("._0000.jpg,1,3,3\n0000.jpg,1,16.5,24\n0001.jpg,0,,\n", TWO);
    tn_dataset d = read_text("Frame,Visibility,X,Y\n2,1,3,3\n");
    ck_assert_int_eq(d.n, 0);
    ck_assert_ptr_nonnull(strstr(d.clips[0].aside[TN_LABEL_MISSING].why, "several frames have the number '2'"));
    tn_dataset_free(&d);
    is_read("2.jpg,1,3,3\n", "2.jpg 1 3,3");
}
END_TEST

/* Half of a copied file has the header of the whole. */
START_TEST(frames_that_end_early_are_set_aside)
{
    tn_error e;
    char *data;
    size_t n;
    clip_of("0000.jpg 0001.jpg");
    char *p = tn_path(dir, "0001.jpg");
    ck_assert(!tn_read_file(&data, &n, p, &e) && !tn_write_file(p, data, n - 30, &e));
    tn_dataset d = read_text("0000.jpg,1,16.5,24\n0001.jpg,1,3,3\n");
    ck_assert_int_eq(d.n, 1);
    ck_assert_int_eq(d.clips[0].aside[TN_LABEL_UNREADABLE].rows, 1);
    tn_dataset_free(&d);
    free(data), free(p);
}
END_TEST

START_TEST(fields_are_rfc_4180s)
{
    tn_csv c;
    char text[] = "\"a, b\",\"say \"\"x\"\"\",\"one\ntwo\r\nthree\", \"q\" \r\nnext,\"\"\n\"open,1\nlast,\"x\"y,2\nend";
    tn_csv_begin(&c, text, strlen(text));
    ck_assert(tn_csv_next(&c) && c.n == 4 && c.line == 1 && !c.bad);
    ck_assert_str_eq(c.field[0], "a, b");
    ck_assert_str_eq(c.field[1], "say \"x\"");
    ck_assert_str_eq(c.field[2], "one\ntwo\r\nthree");
    ck_assert_str_eq(c.field[3], "q");
    ck_assert(tn_csv_next(&c) && c.n == 2 && c.line == 4 && !c.bad);
    ck_assert_str_eq(c.field[1], "");
    ck_assert(tn_csv_next(&c) && c.line == 5 && c.bad);
    ck_assert(tn_csv_next(&c) && c.line == 6 && c.bad);
    ck_assert(tn_csv_next(&c) && c.line == 7 && !c.bad);
    ck_assert_str_eq(c.field[0], "end");
    ck_assert(!tn_csv_next(&c));
}
END_TEST

START_TEST(names_with_commas_quotes_and_newlines_are_found)
{
    clip_of("a,b.jpg");
    is_read("\"a,b.jpg\",1,\"1\",2\n", "a,b.jpg 1 1,2");
    clip_of("a\"b.jpg");
    is_read(H "\"a\"\"b.jpg\",1,1,2\n", "a\"b.jpg 1 1,2");
    clip_of("a\nb.jpg");
    is_read(H "\"a\nb.jpg\",1,1,2\n", "a\nb.jpg 1 1,2");
}
END_TEST

START_TEST(numbers_of_frames_are_those_of_file_names)
{
    static const char v[] = "Frame,Visibility,X,Y\n2,1,3,4\n10,2,5,6\n";
    clip_of("0.png 2.png 10.png");
    is_read(v, "2.png 1 3,4;10.png 2 5,6");
    clip_of("0002.jpg 0010.jpg 0010_overlay.png 0002x.jpg");
    is_read(v, "0002.jpg 1 3,4;0010.jpg 2 5,6");
    clip_of("match7_frame_000002.JPEG match7_frame_000010.PNG");
    is_read(v, "match7_frame_000002.JPEG 1 3,4;match7_frame_000010.PNG 2 5,6");
    is_read("frame,x,y\n2.0,3,4\n3.5,1,1\n", "match7_frame_000002.JPEG 1 3,4"); /* pandas makes floats of whole columns */
}
END_TEST

static const struct {
    const char *row;
    tn_label_kind kind;
} bad_rows[] = {
    {"0000.jpg,1", TN_LABEL_MALFORMED},         {"0000.jpg,x,1,2,0", TN_LABEL_MALFORMED},
    {"0000.jpg,1,a,2,0", TN_LABEL_MALFORMED},   {"../0000.jpg,1,1,2,0", TN_LABEL_MALFORMED},
    {"0000.jpg,7,1,2,0", TN_LABEL_MALFORMED},   {"0000.jpg,0.5,1,2,0", TN_LABEL_MALFORMED},
    {"0000.jpg,,1,2,0", TN_LABEL_MALFORMED},    {",1,1,2,0", TN_LABEL_MALFORMED},
    {"0000.jpg,1,0x10,2", TN_LABEL_MALFORMED},  {"0000.jpg,1,inf,2", TN_LABEL_MALFORMED},
    {"0000.jpg,1,1e999,2", TN_LABEL_MALFORMED}, {"0000.jpg,1,\"6,9\",\"4,0\"", TN_LABEL_MALFORMED},
    {"\"0000.jpg,1,1,2", TN_LABEL_MALFORMED},   {"\"0000.jpg\"x,1,1,2", TN_LABEL_MALFORMED},
    {"0000.jpg,1,1 2,2", TN_LABEL_MALFORMED},   {"0000.jpg,1,.,2", TN_LABEL_MALFORMED},
    {"0000.jpg,1,,,0", TN_LABEL_UNPLACED},      {"0000.jpg,2,nan,NaN", TN_LABEL_UNPLACED},
    {"0000.jpg,1,-1,-1,0", TN_LABEL_UNPLACED},  {"0000.jpg,1,5,,0", TN_LABEL_UNPLACED},
    {"0000.jpg,1,64,2", TN_LABEL_OUTSIDE},      {"0000.jpg,1,5,32.0", TN_LABEL_OUTSIDE},
    {"0000.jpg,1,-0.5,2", TN_LABEL_OUTSIDE},    {"0000.jpg,3,5000,2", TN_LABEL_OUTSIDE},
    {"0001.jpg,1,1,2,0", TN_LABEL_DUPLICATE},   {"1,1,1,2,0", TN_LABEL_DUPLICATE},
    {"0009.jpg,1,1,2,0", TN_LABEL_MISSING},     {"9,0,,", TN_LABEL_MISSING},
    {"0000.JPG,1,1,2,0", TN_LABEL_MISSING},     {"Label.csv,1,1,2,0", TN_LABEL_UNREADABLE},
};

START_TEST(bad_rows_are_set_aside_with_their_place)
{
    clip_of("0000.jpg 0001.jpg 0002.jpg");
    char *csv = tn_strf(H "0001.jpg,0,,,\n\n%s\n0002.jpg,1,63.9,31.9,0\n", bad_rows[_i].row);
    tn_dataset d = read_text(csv);
    for (int k = 0; k < TN_LABEL_KINDS; k++)
        ck_assert_msg(d.clips[0].aside[k].rows == (k == (int)bad_rows[_i].kind), "'%s': %d of kind %d", bad_rows[_i].row,
                      d.clips[0].aside[k].rows, k);
    const tn_set_aside *a = &d.clips[0].aside[bad_rows[_i].kind];
    ck_assert(a->line == 4 && tn_ends(a->file, "/clip/Label.csv") && a->why[0]);
    ck_assert(d.n == 2 && d.clips[0].n == 2 && !d.f[0].visible && d.f[1].x == 63.9 && d.clips[0].pictures == 3);
    tn_dataset_free(&d);
    free(csv);
}
END_TEST

START_TEST(a_row_that_is_set_aside_leaves_its_frame_to_a_later_one)
{
    clip_of("0000.jpg");
    is_read(H "0000.jpg,1,,\n0000.jpg,1,1,2\n", "0000.jpg 1 1,2");
}
END_TEST

START_TEST(odd_files_are_told_of)
{
    tn_error e;
    clip_of("0000.jpg");
    tn_dataset d = read_n("0000.jpg,1,1,2\n0000.jpg\0,1,1,2\n", 32);
    ck_assert(d.n == 1 && d.clips[0].aside[TN_LABEL_MALFORMED].line == 2);
    tn_dataset_free(&d);
    d = read_text("file name,visibility,x-coordinate\n0000.jpg,1,1\n0001.jpg,1,2\n"); /* no y: every row, at the header's line */
    ck_assert(!d.n && d.clips[0].aside[TN_LABEL_MALFORMED].rows == 2 && d.clips[0].aside[TN_LABEL_MALFORMED].line == 1);
    ck_assert(strstr(d.clips[0].aside[TN_LABEL_MALFORMED].why, "y-coordinate"));
    tn_dataset_free(&d);
    d = read_text("");
    ck_assert(d.n_clips == 1 && !d.n);
    tn_dataset_free(&d);
    char *p = tn_path(dir, "Label.csv");
    static const char *const marks[] = {"\xff\xfe"
                                        "0",
                                        "\xfe\xff"
                                        "0"};
    for (int i = 0; i < 2; i++) {
        tn_write_file(p, marks[i], 3, NULL);
        d = (tn_dataset){0};
        ck_assert_int_eq(tn_labels_read(&d, "c", dir, p, &e), TN_ERR_FORMAT);
        ck_assert(strstr(e.message, "UTF-16") && strstr(e.message, p));
        tn_dataset_free(&d);
    }
    free(p);
}
END_TEST

static int warnings;
static char warning[1024];

static void heard(void *user, tn_log_level level, const char *line)
{
    (void)user;
    if (level != TN_LOG_WARN) return;
    warnings++;
    snprintf(warning, sizeof warning, "%s", line);
}

/* root/g with the clips given, each a frame 3 that its labels name with the text behind. */
static char *game_of(const char *const *clips, int n, const char *labels)
{
    tn_error e;
    tn_image im;
    char *root = temp_path("games");
    ck_assert(!tn_remove_tree(root, &e) && !tn_image_new(&im, 64, 32, &e));
    for (int i = 0; i < n; i++) {
        char *d = tn_strf("%s/g/%s", root, clips[i]), *f = tn_strf("%s/3.png", d), *l = tn_strf("%s/Label.csv", d);
        ck_assert(!tn_mkdirs(d, &e) && !tn_image_save_png(&im, f, &e));
        if (labels) ck_assert(!tn_write_file(l, labels, strlen(labels), &e));
        free(d), free(f), free(l);
    }
    tn_image_free(&im);
    return root;
}

static char game_g[] = "g", *the_games[] = {game_g};
static const tn_strs games = {the_games, 1};

START_TEST(one_warning_tells_what_is_set_aside)
{
    static const char *const clips[] = {"Clip10", "Clip2", "Clip1"};
    const tn_log log = {heard, NULL};
    tn_error e;
    tn_dataset d;
    char *root = game_of(clips, 3, "3,1,4,5\n4,1,4,5\n5,1,,\n5,1,4,5\n");
    warnings = 0;
    ck_assert_msg(!tn_dataset_read(&d, root, &games, "train", false, &log, &e), "%s", e.message);
    ck_assert_int_eq(d.n, 3);
    ck_assert(strstr(d.f[0].path, "/Clip1/") && strstr(d.f[1].path, "/Clip2/") && strstr(d.f[2].path, "/Clip10/"));
    ck_assert_int_eq(warnings, 1);
    ck_assert_msg(strstr(warning, "9 label rows") && strstr(warning, "6 without a frame") &&
                      strstr(warning, "Clip1/Label.csv:2:") && strstr(warning, "3 visible without coordinates") &&
                      strstr(warning, "Clip1/Label.csv:3:"),
                  "%s", warning);
    tn_dataset_free(&d);
    ck_assert_int_eq(tn_dataset_read(&d, root, &games, "train", true, &log, &e), TN_ERR_FORMAT);
    ck_assert_msg(strstr(e.message, "/Clip1/Label.csv:2: "), "%s", e.message);
    ck_assert(!d.f && !d.clips);
    free(root);
    root = game_of(clips, 3, "3,1,,\n");
    ck_assert_int_eq(tn_dataset_read(&d, root, &games, "train", false, &log, &e), TN_ERR_FORMAT);
    ck_assert_msg(strstr(e.message, "no label of the train split can be used, of 3 rows") && strstr(e.message, "Label.csv:1: "),
                  "%s", e.message);
    free(root);
}
END_TEST

START_TEST(labels_stand_beside_folders_as_tracknetv3_has_them)
{
    static const char *const clips[] = {"frame/1_01_00"}, *const flat[] = {"1_01_00"};
    static const char *const places[] = {"csv", "ball_trajectory", "."};
    for (int i = 0; i < 4; i++) {
        tn_error e;
        tn_dataset d;
        char *root = game_of(i < 3 ? clips : flat, 1, NULL), *at = tn_strf("%s/g/%s", root, places[i % 3]);
        char *csv = tn_strf("%s/1_01_00_ball.csv", at);
        tn_mkdirs(at, NULL);
        tn_write_file(csv, "Frame,Visibility,X,Y\n3,1,4,5\n", 29, NULL);
        ck_assert_msg(!tn_dataset_read(&d, root, &games, "val", true, NULL, &e), "%s", e.message);
        ck_assert(d.n == 1 && d.f[0].y == 5);
        tn_dataset_free(&d);
        free(csv), free(at), free(root);
    }
}
END_TEST

static tn_config *config_of(const char *root, const char *split, bool strict)
{
    tn_config *c;
    tn_error e;
    const char *const list[] = {"g"};
    tn_config_source shipped = TN_CONFIG_SOURCE_INIT;
    shipped.config_dir = SOURCE_DIR "/configs";
    ck_assert_msg(!tn_config_load(&c, &shipped, &e), "%s", e.message);
    ck_assert(!tn_config_set_str(c, "data.root", root, &e) && !tn_config_set_bool(c, "training.strict_labels", strict, &e));
    ck_assert(!tn_config_set_list(c, "data.split.train_games", list, !strcmp(split, "train"), &e));
    ck_assert(!tn_config_set_list(c, "data.split.val_games", list, !strcmp(split, "val"), &e));
    return c;
}

/* Two clips: a ball in the middle of the first frame, none in the second; then rows that are set aside. */
START_TEST(the_check_counts_and_draws)
{
    static const char *const clips[] = {"a", "b"};
    tn_error e;
    tn_labels_report *r;
    tn_labels_options o = TN_LABELS_OPTIONS_INIT;
    tn_image im;
    char *root = game_of(clips, 2, "3,2,31.5,15.5\n4,1,1,1\n5,1,1,1\n"), *sheet = temp_path("new/sheet.PNG");
    char *second = tn_strf("%s/g/b/Label.csv", root);
    ck_assert(!tn_write_file(second, "4,0,,\n3,0,,\n", 12, &e));
    tn_config *c = config_of(root, "val", false);
    o.sheet = sheet;
    ck_assert_msg(!tn_labels_check(c, &o, &r, &e), "%s", e.message);
    ck_assert(r->n_clips == 2 && !strcmp(r->clips[0].name, "g/a") && !strcmp(r->split, "all") && !strcmp(r->sheet, sheet));
    ck_assert(r->clips[0].labelled == 1 && r->clips[0].visible == 1 && r->clips[0].set_aside == 2 && r->clips[0].n_faults == 1);
    ck_assert(r->clips[1].labelled == 1 && r->clips[1].invisible == 1 && r->clips[1].set_aside == 1);
    ck_assert(r->total.frames == 2 && r->total.labelled == 2 && r->total.set_aside == 3 && r->total.n_faults == 1);
    const tn_label_fault *f = r->total.faults;
    ck_assert(f->kind == TN_LABEL_MISSING && f->rows == 3 && f->line == 2 && strstr(f->file, "/g/a/Label.csv"));
    tn_labels_free(r);
    ck_assert_msg(!tn_image_load(&im, sheet, &e), "%s", e.message);
    /* tiles of 320 x 160, 6 apart; the ring's radius is 10 */
    const uint8_t *on = im.rgb + ((6 + 80) * im.w + 6 + 169) * 3, *centre = on - 10 * 3, *other = on + 326 * 3;
    ck_assert(im.w == 2 * 326 + 6 && im.h > 6 + 160 + 6);
    ck_assert(on[0] > 200 && on[1] < 60 && on[2] > 170);
    ck_assert(!centre[0] && !centre[2] && !other[0] && !other[1] && !other[2]);
    int caption[2] = {0};
    for (int y = 166; y < im.h; y++)
        for (int x = 0; x < im.w; x++) caption[x >= 332] += im.rgb[(y * im.w + x) * 3] > 200;
    ck_assert(caption[0] > 200 && caption[1] > 150 && caption[0] > caption[1]);
    tn_image_free(&im);
    tn_config_free(c);
    free(root), free(sheet), free(second);
}
END_TEST

START_TEST(the_check_fails_with_a_report)
{
    static const char *const clips[] = {"a"};
    tn_error e;
    tn_labels_report *r;
    tn_labels_options o = TN_LABELS_OPTIONS_INIT;
    char *root = game_of(clips, 1, "3,1,4,5\n4,1,1,1\n");
    tn_config *c = config_of(root, "train", true);
    ck_assert_int_eq(tn_labels_check(c, NULL, &r, &e), TN_ERR_FORMAT);
    ck_assert(r && r->strict && r->total.labelled == 1 && !r->sheet && strstr(e.message, "Label.csv:2: "));
    tn_labels_free(r);
    o.split = "val"; /* no games */
    ck_assert_int_eq(tn_labels_check(c, &o, &r, &e), TN_ERR_IO);
    ck_assert(!r);
    o.split = "test";
    ck_assert_int_eq(tn_labels_check(c, &o, &r, &e), TN_ERR_ARGUMENT);
    o.version = 99;
    ck_assert_int_eq(tn_labels_check(c, &o, &r, &e), TN_ERR_ARGUMENT);
    tn_config_free(c);
    free(root);
    root = game_of(clips, 1, "3,1,400,5\n");
    c = config_of(root, "train", false);
    ck_assert_int_eq(tn_labels_check(c, NULL, &r, &e), TN_ERR_FORMAT);
    ck_assert(r && !r->total.labelled && r->total.faults[0].kind == TN_LABEL_OUTSIDE);
    tn_labels_free(r);
    tn_labels_free(NULL);
    tn_config_free(c);
    free(root);
}
END_TEST

START_TEST(order_is_natural)
{
    static const char *const names[] = {
        "",  "0", "1",    "01",     "2",  "2a", "10", "99999999999999999999999", "100000000000000000000000",
        "A", "a", "a1b9", "a01b10", "a2", "b"};
    const int n = (int)(sizeof names / sizeof *names);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const int got = tn_natural(names[i], names[j]);
            const bool zeros = (i == 2 && j == 3) || (i == 3 && j == 2); /* 1 and 01: whichever, but always */
            if (zeros) ck_assert(got && got * tn_natural(names[j], names[i]) < 0);
            else ck_assert_msg((got > 0) - (got < 0) == (i > j) - (i < j), "'%s' and '%s': %d", names[i], names[j], got);
        }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("labels");
    TCase *c = tcase_create("labels");
    tcase_add_loop_test(c, spellings_are_one, 0, (int)(sizeof spellings / sizeof *spellings));
    tcase_add_test(c, hidden_files_and_two_of_a_number_are_no_frames);
    tcase_add_test(c, frames_that_end_early_are_set_aside);
    tcase_add_test(c, fields_are_rfc_4180s);
    tcase_add_test(c, names_with_commas_quotes_and_newlines_are_found);
    tcase_add_test(c, numbers_of_frames_are_those_of_file_names);
    tcase_add_loop_test(c, bad_rows_are_set_aside_with_their_place, 0, (int)(sizeof bad_rows / sizeof *bad_rows));
    tcase_add_test(c, a_row_that_is_set_aside_leaves_its_frame_to_a_later_one);
    tcase_add_test(c, odd_files_are_told_of);
    tcase_add_test(c, one_warning_tells_what_is_set_aside);
    tcase_add_test(c, labels_stand_beside_folders_as_tracknetv3_has_them);
    tcase_add_test(c, the_check_counts_and_draws);
    tcase_add_test(c, the_check_fails_with_a_report);
    tcase_add_test(c, order_is_natural);
    suite_add_tcase(s, c);
    return run_suite(s);
}
