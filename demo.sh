#!/bin/bash
# Installs what is missing, builds, and runs the demonstration on the first OpenCL device (a GPU, or PoCL on the CPU).
# Arguments go to `tracknet demo`.
set -e
cd "$(dirname "$0")"
tools/install.sh
[ -f build/build.ninja ] || meson setup build -Djoined=true >build.log || { cat build.log; exit 1; }
ninja -C build --quiet src/tracknet >build.log || { cat build.log; exit 1; }
exec build/src/tracknet demo "$@"
