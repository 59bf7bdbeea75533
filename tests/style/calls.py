#!/usr/bin/env python3
"""Reads the compiled objects: the files of a room (a folder of src) call each other one way, and every function that a room
shows to other files is used by one. Usage: calls.py BUILD_DIR (built); prints what is wrong."""
import pathlib
import subprocess
import sys

build = pathlib.Path(sys.argv[1])


def symbols(objects):
    """{object: (defined global names, undefined names)}"""
    out = subprocess.run(["nm", "-A", "-P", *map(str, objects)], capture_output=True, text=True, check=True).stdout
    found = {o: (set(), set()) for o in objects}
    for line in out.splitlines():
        where, name, kind = line.split()[:3]
        which = 1 if kind in "Uwv" else 0 if kind.isupper() else None
        if which is not None:
            found[pathlib.Path(where.rstrip(":"))][which].add(name)
    return found


def room_and_file(obj):
    """build/src/libtn_ROOM.a.p/ROOM_FILE.c.o"""
    room = obj.parent.name[len("libtn_") : -len(".a.p")]
    return room, obj.name[:-2].removeprefix(room + "_")


def circles(calls):
    """The sets of files that reach each other (Tarjan's strongly connected components of more than one file)."""
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in calls.get(v, {}):
            if w not in index:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == index[v]:
            part = stack[stack.index(v) :]
            del stack[stack.index(v) :]
            if len(part) > 1:
                found.append(part)

    for v in calls:
        if v not in index:
            visit(v)
    return found


def one_way(rooms):
    bad = 0
    for room, files in sorted(rooms.items()):
        home = {s: f for f, (defined, _) in files.items() for s in defined}
        calls = {}
        for f, (_, wanted) in files.items():
            for s in wanted & home.keys():
                calls.setdefault(f, {}).setdefault(home[s], []).append(s)
        for part in circles(calls):
            bad += 1
            print(f"src/{room}: these files call each other in a circle: {', '.join(sorted(part))}")
            for f in sorted(part):
                for g in sorted(set(calls[f]) & set(part)):
                    print(f"    {f} -> {g}: {', '.join(sorted(calls[f][g]))}")
    return bad


def unused(rooms, others):
    """What a room shows and nobody takes, but for what the library gives away."""
    so = next(build.glob("src/libtracknet.so"))
    public = {line.split()[0] for line in subprocess.run(["nm", "-D", "-P", "--defined-only", so], capture_output=True, text=True, check=True).stdout.splitlines()}
    wanted = set().union(*(w for _, w in others.values()), *(w for files in rooms.values() for _, w in files.values()))
    bad = 0
    for room, files in sorted(rooms.items()):
        for f, (defined, _) in sorted(files.items()):
            for s in sorted(defined - wanted - public):
                bad += 1
                print(f"src/{room}/{f}: {s} is used by no other file: make it static, or take it out")
    return bad


objects = [o for o in sorted(build.glob("src/libtn_*.a.p/*.o")) if "pb-c" not in o.name]
rooms = {}
for o, s in symbols(objects).items():
    room, name = room_and_file(o)
    rooms.setdefault(room, {})[name] = s
programs = [o for o in sorted(build.rglob("*.o")) if "libtn_" not in o.parent.name and "libref_" not in o.parent.name]
bad = one_way(rooms) + unused(rooms, symbols(programs))
if len(rooms) < 15 or len(objects) < 80 or len(programs) < 10:
    bad += 1
    print(f"only {len(objects)} objects of {len(rooms)} rooms in {build}: is it built?")
sys.exit(bad > 0)
