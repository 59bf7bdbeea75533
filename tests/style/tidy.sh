#!/bin/bash
# clang-tidy with .clang-tidy's checks finds nothing in src. Usage: tidy.sh SOURCE_DIR BUILD_DIR
build=$(realpath "$2")
cd "$1" || exit 1
found=$(find src -name '*.c' | sort | xargs -P 2 -n 8 clang-tidy-14 -p "$build" --quiet 2>/dev/null | grep -E '(warning|error): ' | sort -u)
count=$(find src -name '*.c' | wc -l)
bad=0
[ -z "$found" ] || { echo "$found"; bad=$(cut -d: -f1 <<<"$found" | xargs -n1 realpath -m | sort -u | wc -l); }
command -v clang-tidy-14 >/dev/null || bad=$count
echo "$((count - bad)) passed, $bad failed"
[ "$bad" -eq 0 ] && [ "$count" -gt 0 ]
