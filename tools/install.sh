#!/bin/bash
# Installs the Debian packages that building (and, with --test, testing) needs, when any is missing.
set -e
cd "$(dirname "$0")"
list=$(cat packages.txt)
[ "$1" = --test ] && list="$list $(cat packages-test.txt)"
missing=""
have=$(dpkg-query -W -f=',${Package}:${db:Status-Status},' $list 2>/dev/null) || true
for p in $list; do [[ $have == *",$p:installed,"* ]] || missing="$missing $p"; done
[ -z "$missing" ] && exit 0
sudo=""
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
