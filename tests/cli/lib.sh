# Shared by the command's tests, which source it with their arguments: TRACKNET SOURCE_DIR. $T is the command, $W a folder of
# their own, and the working folder is the sources'.
T=$(realpath "$1") SRC=$2 # meson hands over relative paths
W=$(mktemp -d)
trap 'chmod -R u+w "$W" 2>/dev/null; rm -rf "$W"' EXIT
cd "$SRC" || exit 2
# A driver without a device here costs each process the loading of its compiler; what is said of devices is tested with every driver.
pocl=/etc/OpenCL/vendors/pocl.icd
[ -n "$OCL_ICD_VENDORS$EVERY_DRIVER" ] || [ ! -f $pocl ] || export OCL_ICD_VENDORS=$pocl
pass=0 fail=0
ok() { pass=$((pass + 1)); }
bad() { fail=$((fail + 1)); echo "FAILED: $*"; }
# expect STATUS TEXT command...: the exit status, and TEXT somewhere in what it prints
expect() {
  local status=$1 text=$2
  shift 2
  "$@" >"$W/out" 2>&1
  local rc=$?
  if [ $rc -eq "$status" ] && grep -qF -- "$text" "$W/out"; then ok; else bad "$* gave $rc:"; sed -n '1,5p' "$W/out"; sed '1,5d' "$W/out" | tail -3; fi
}
says() { # error sentence: one line from tracknet, and the output names what is asked
  expect 1 "$@"
  [ "$(grep -c '^tracknet ' "$W/out")" -eq 1 ] || bad "not one sentence: $(cat "$W/out")"
}
