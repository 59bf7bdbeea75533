#!/bin/bash
# Installs into a folder, compiles the examples against it through pkg-config as a stranger would, and runs them.
# test_install.sh BUILD_DIR SOURCE_DIR
set -e
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
DESTDIR="$W" meson install -C "$1" --no-rebuild --quiet >"$W/log"
pc=$(find "$W" -name tracknet.pc)
prefix=$(dirname "$(dirname "$(dirname "$(dirname "$pc")")")")
lib=$(dirname "$(find "$W" -name 'libtracknet.so' | head -1)")
export PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR="$W"
flags="-Wall -Wextra -Werror $(pkg-config --cflags tracknet)"
cat >"$W/cxx.cpp" <<'C' # the public headers are C++ too, macros included
#include <tracknet/tracknet.h>
int main() { tn_run_options o = TN_RUN_OPTIONS_INIT; return tn_model_open(nullptr, nullptr, &o, nullptr) != TN_ERR_ARGUMENT; }
C
g++ -Wno-missing-field-initializers $flags "$W/cxx.cpp" -o "$W/cxx" -L"$lib" -ltracknet
for e in finetune camera; do gcc -std=c11 $flags "$2/tests/example/$e.c" -o "$W/$e" -L"$lib" -ltracknet; done
# both libraries show the same names, the public ones: the archive alone is linked too, beside names that are its own affair
public() { nm "$@" --defined-only -P | awk '$2 ~ /[TDBRV]/ {print $1}' | sort; }
diff <(public -D "$lib/libtracknet.so") <(public -g "$lib/libtracknet.a")
[ "$(public -g "$lib/libtracknet.a" | grep -c '^tn_')" -gt 20 ]
mkdir "$W/alone" && cp "$lib/libtracknet.a" "$W/alone"
echo 'int tn_path, tn_strf, tn_gemm_run;' >"$W/own.c"
gcc -std=c11 $flags "$2/tests/example/camera.c" "$W/own.c" -o "$W/camera_static" -L"$W/alone" $(pkg-config --static --libs tracknet)
[ "$(ldd "$W/camera_static" | grep -c libtracknet)" -eq 0 ]
export LD_LIBRARY_PATH="$lib"
"$W/cxx"
# an apostrophe, a space, a comment sign and brackets in paths are nothing special
out="$W/it's # [one]: out"
frame="$2/tests/data/volleyball/game1/Clip1/0003.jpg"
"$W/finetune" "$2/configs" "$2/tests/data/volleyball" "$out" "$frame" | tee "$W/said"
ls "$out/0003_overlay.png" >/dev/null
# three raw frames of one size: the camera loop says something for each, and all the same
head -c $((320 * 180 * 3)) /dev/zero >"$W/black"
cat "$W/black" "$W/black" "$W/black" | "$W/camera" "$out/best" 320 180 >"$W/balls"
[ "$(wc -l <"$W/balls")" -eq 3 ] && [ "$(sort -u "$W/balls" | wc -l)" -eq 1 ]
cat "$W/black" "$W/black" "$W/black" | "$W/camera_static" "$out/best" 320 180 | cmp - "$W/balls"
echo "1 passed, 0 failed"
