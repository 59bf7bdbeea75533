#!/bin/bash
# Every C file is as .clang-format lays it out. Usage: format.sh SOURCE_DIR
cd "$1" || exit 1
files=$(find src include tests -name '*.c' -o -name '*.h' | sort)
count=$(wc -l <<<"$files")
found=$(xargs clang-format-14 --dry-run --Werror <<<"$files" 2>&1)
rc=$?
bad=$(grep -oE '^[^ :]+\.[ch]:[0-9]' <<<"$found" | cut -d: -f1 | sort -u)
for f in $bad; do echo "not formatted: $f (clang-format-14 -i $f)"; done
n=$(wc -w <<<"$bad")
[ $rc -eq 0 ] || [ "$n" -gt 0 ] || { echo "$found" | head -5; n=$count; }
echo "$((count - n)) passed, $n failed"
[ "$n" -eq 0 ] && [ -n "$files" ]
