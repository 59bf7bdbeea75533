#!/usr/bin/env python3
"""A device's measured choices, to be shipped in configs/tunings: tunings.py [--onto OLD.json] STORE.json [DRIVER]

Prints such a file. STORE.json is tuning-*.json of the cache folder, made by runs or by `tracknet devices --tune`. DRIVER is what the
driver's version begins with where the choices hold (its first number, as "580."). Only which row runs, and with what, is taken over: each
device checks the row for itself before it runs it, and measures what is not here. --onto: a shipped file for the same device and driver,
whose choices stay where the store has no newer ones."""
import argparse
import json


def read(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def answer(a):
    return {"variant": a["variant"], **({"tune": a["tune"]} if a.get("tune") else {})}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--onto", metavar="OLD.json")
    p.add_argument("store")
    p.add_argument("driver", nargs="?")
    a = p.parse_args()
    store = read(a.store)
    driver = a.driver or store["driver"].split(".")[0] + "."
    old = read(a.onto) if a.onto else {"device": store["device"], "driver": driver, "choices": {}}
    if (old["device"], old["driver"]) != (store["device"], driver):
        p.error(f"{a.onto} is of {old['device']}, driver {old['driver']}, the store of {store['device']}, {driver}")
    choices = old["choices"]
    for op, answers in store["choices"].items():
        choices.setdefault(op, {}).update({key: answer(v) for key, v in answers.items()})
    print('{\n  "device": %s,\n  "driver": %s,\n  "choices": {' % (json.dumps(store["device"]), json.dumps(driver)))
    ops = ['    %s: {\n%s\n    }' % (json.dumps(op), ",\n".join("      %s: %s" % (json.dumps(k), json.dumps(v))
                                                               for k, v in sorted(answers.items())))
           for op, answers in sorted(choices.items()) if answers]
    print(",\n".join(ops) + "\n  }\n}")


if __name__ == "__main__":
    main()
