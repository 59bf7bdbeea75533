#!/bin/bash
# Installs into a folder, compiles the example against it through pkg-config as a stranger would, and runs it.
# test_install.sh BUILD_DIR SOURCE_DIR
set -e
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
DESTDIR="$W" meson install -C "$1" --no-rebuild --quiet >"$W/log"
pc=$(find "$W" -name tracknet.pc)
prefix=$(dirname "$(dirname "$(dirname "$(dirname "$pc")")")")
lib=$(dirname "$(find "$W" -name 'libtracknet.so' | head -1)")
export PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR="$W"
for c in gcc g++; do
  extra=""; [ $c = g++ ] && extra="-x c++ -fsyntax-only" # the public headers are C++ too
  [ $c = g++ ] && { echo '#include <tracknet/tracknet.h>' | $c $extra -Wall -Wextra -Werror $(pkg-config --cflags tracknet) -; continue; }
  $c -std=c11 -Wall -Wextra -Werror "$2/tests/example/finetune.c" -o "$W/finetune" $(pkg-config --cflags tracknet) -L"$lib" -ltracknet
done
LD_LIBRARY_PATH="$lib" "$W/finetune" "$2/configs" "$2/tests/data/volleyball" "$W/out" "$2/tests/data/volleyball/game1/Clip1/0003.jpg"
ls "$W/out/0003_overlay.png" >/dev/null
echo "1 passed, 0 failed"
