#!/bin/bash
# One object of all rooms, in which only what include/ declares is visible, as an archive: a program that links the library
# statically may then use any other name that the rooms use among themselves. Usage: static.sh OUT.a OBJCOPY AR ARCHIVES -- CC...
set -e
out=$1 objcopy=$2 ar=$3
shift 3
archives=()
while [ "$1" != -- ]; do
    archives+=("$1")
    shift
done
shift
object=$out.o
"$@" -nostdlib -r -o "$object" -Wl,--whole-archive "${archives[@]}" -Wl,--no-whole-archive
"$objcopy" --localize-hidden "$object"
rm -f "$out"
"$ar" rcs "$out" "$object"
rm "$object"
