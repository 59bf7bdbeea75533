#!/usr/bin/env python3
"""A device's measured choices, to be shipped in configs/tunings: tunings.py STORE.json [DRIVER] > configs/tunings/NAME.json

STORE.json is tuning-*.json of the cache folder, made by runs or by `tracknet devices --tune`. DRIVER is what the driver's version begins
with where the choices hold (its first number, as "580."). Only which row runs, and with what, is taken over: each device checks the row
for itself before it runs it, and measures what is not here."""
import json
import sys

if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
with open(sys.argv[1], encoding="utf-8") as f:
    store = json.load(f)
choices = {
    op: {key: {"variant": a["variant"], **({"tune": a["tune"]} if a.get("tune") else {})} for key, a in sorted(answers.items())}
    for op, answers in sorted(store["choices"].items())
}
print('{\n  "device": %s,\n  "driver": %s,\n  "choices": {' % (
    json.dumps(store["device"]), json.dumps(sys.argv[2] if len(sys.argv) == 3 else store["driver"].split(".")[0] + ".")))
ops = ['    %s: {\n%s\n    }' % (json.dumps(op), ",\n".join("      %s: %s" % (json.dumps(k), json.dumps(a)) for k, a in answers.items()))
       for op, answers in choices.items() if answers]
print(",\n".join(ops) + "\n  }\n}")
