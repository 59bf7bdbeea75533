#include "cli.h"
int tn_cmd_demo(tn_cli *c, tn_error *err) { (void)c; (void)err; return 0; }
