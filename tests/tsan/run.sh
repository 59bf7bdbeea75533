#!/bin/bash
# A program built with ThreadSanitizer, any report of which fails it. Usage: run.sh SOURCE_DIR PROGRAM [ARGUMENT...]
# An argument OUT becomes a folder that is removed afterwards.
program=$(realpath "$2")
cd "$1" || exit 2
shift 2
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# drivers and numeric libraries synchronise where it cannot see
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 exitcode=66"
# Intel's driver loads a library in a way that sanitizers refuse
[ -f /etc/OpenCL/vendors/pocl.icd ] && export OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd
# GCC 12's runtime gives up where addresses are drawn from too wide a range
plain=()
setarch -R true 2>/dev/null && plain=(setarch -R)
"${plain[@]}" "$program" "${@/#OUT/$out}"
