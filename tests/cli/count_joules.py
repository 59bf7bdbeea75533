"""count_joules.py FILE WATTS RANGE: writes there what a RAPL counter would (microjoules, from 0 again at RANGE joules), until it is ended."""
import os
import sys
import time

path, watts, most = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
begin = time.monotonic()
while True:
    with open(path + ".new", "w") as f:
        f.write("%d\n" % (1e6 * (watts * (time.monotonic() - begin) % most)))
    os.replace(path + ".new", path)
    time.sleep(0.02)
