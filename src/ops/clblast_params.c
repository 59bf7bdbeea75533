/* CLBlast's parameters on a device: set from text. */
#include "clblast.h"
#include "jsonio.h"
#include "tuning_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "KERNEL NAME=VALUE ...", which is taken apart. */
static int apply_kernel(tn_dev *d, char *line, tn_error *err)
{
    const char *names[TN_CLBLAST_NUMBERS];
    size_t values[TN_CLBLAST_NUMBERS];
    int n = 0;
    char *rest, *kernel = strtok_r(line, " ", &rest);
    for (char *word; kernel && (word = strtok_r(NULL, " ", &rest)) != NULL;) {
        char *eq = strchr(word, '='), *end = NULL;
        const long v = eq ? strtol(eq + 1, &end, 10) : -1;
        if (!eq || end == eq + 1 || *end || v < 0 || n == TN_CLBLAST_NUMBERS)
            return tn_fail(err, TN_ERR_ARGUMENT, "CLBlast's parameters: '%s' of %s is not NAME=NUMBER, or one too many", word,
                           kernel);
        *eq = 0;
        names[n] = word;
        values[n++] = (size_t)v;
    }
    return kernel ? tn_clblast_override(d, kernel, n, names, values, err) : 0;
}

int tn_clblast_apply(tn_dev *d, const char *text, tn_error *err)
{
    char *copy = strdup(text), *rest = copy;
    int rc = copy ? 0 : tn_oom(err);
    for (char *line; !rc && (line = strsep(&rest, ";")) != NULL;) rc = apply_kernel(d, line, err);
    free(copy);
    return rc;
}

void tn_clblast_apply_known(tn_dev *d)
{
    json_t *db;
    tn_error why = {0};
    const char *text = tn_db(&db, d, &why) ? NULL : tn_json_str(tn_db_at(db, "parameters", "clblast", NULL, NULL), "text", NULL);
    if (text && tn_clblast_apply(d, text, &why)) tn_logf(d->log, TN_LOG_WARN, "device '%s': %s", d->info.name, why.message);
}

void tn_clblast_stamp(char *out, size_t n)
{
    snprintf(out, n, "tracknet-clblast-1 %zu %016llx", sizeof(tn_clblast_request), tn_cl_sources_hash());
}
