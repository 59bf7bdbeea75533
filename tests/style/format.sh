#!/bin/bash
# Every C file is as .clang-format lays it out. Usage: format.sh SOURCE_DIR
cd "$1" || exit 1
bad=0
count=0
while read -r f; do
    count=$((count + 1))
    clang-format-14 --dry-run --Werror "$f" 2>/dev/null || { echo "not formatted: $f (clang-format-14 -i $f)"; bad=$((bad + 1)); }
done < <(find src include tests -name '*.c' -o -name '*.h' | sort)
echo "$((count - bad)) passed, $bad failed"
[ "$bad" -eq 0 ] && [ "$count" -gt 0 ]
