#!/bin/bash
# The command compiles as demo.sh has it compiled, files of a room together: no name is two files' own. Usage: joined.sh SOURCE_DIR
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
said=$(meson setup "$build" "$1" -Djoined=true -Dbuildtype=plain 2>&1 && ninja -C "$build" --quiet src/tracknet 2>&1)
failed=$?
[ "$failed" -eq 0 ] || { grep 'error:' <<<"$said" || tail -5 <<<"$said"; failed=1; }
echo "$((1 - failed)) passed, $failed failed"
exit "$failed"
