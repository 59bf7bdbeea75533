#!/usr/bin/env python3
"""Has cl/shared/functions.h of each function that it declares all the scalar types which clang's opencl-c.h has, but for double and half?
A call with one that was missing would convert its arguments. functions.py CLANG FILE; says what differs."""
import os
import re
import subprocess
import sys

SCALARS = {"char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "float", "size_t"}


def declared(clang, *options):
    """{name: {types of its arguments}} for those with scalars alone"""
    text = subprocess.run([clang, "-E", "-P", *options], capture_output=True, text=True, check=True).stdout
    text = text.replace("cl_mem_fence_flags", "uint")
    found = {}
    for name, arguments in re.findall(r"\)\)\s*(\w+)\(([^()]*)\);", text):
        types = tuple(a.split()[0] for a in arguments.split(",") if a.split())
        found.setdefault(name, set())
        if all(t in SCALARS for t in types) and "*" not in arguments:
            found[name].add(types)
    return found


clang, file = sys.argv[1:]
resources = subprocess.run([clang, "-print-resource-dir"], capture_output=True, text=True, check=True).stdout.strip()
ours = declared(clang, "-x", "c", file)
theirs = declared(clang, "-x", "cl", "-cl-std=CL1.2", "--target=x86_64", os.path.join(resources, "include", "opencl-c.h"))
for name in sorted(ours):
    if ours[name] != theirs.get(name):
        print("error: %s has %s, and is declared for %s" % (name, sorted(theirs.get(name, [])), sorted(ours[name])))
sys.exit(len(ours) < 50 or any(ours[n] != theirs.get(n) for n in ours))
