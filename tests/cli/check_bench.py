"""check_bench.py result JSON PAGE | table JSON TEXT | page PAGE | ended JSON | short JSON SECONDS: what 'tracknet bench' wrote is whole, and its page is sound."""
import html.parser
import json
import re
import sys

VOID = {"meta", "link"}  # what has no end tag; "<circle ... />" says so itself


class Page(html.parser.HTMLParser):
    """Tags are closed in order, ids are there once, nothing comes from elsewhere, pictures and tables have names."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.wanted, self.tables, self.captions, self.pictures, self.words = [], set(), set(), 0, 0, 0, []

    def handle_startendtag(self, tag, attrs):
        self.look(tag, dict(attrs))

    def handle_starttag(self, tag, attrs):
        self.look(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def look(self, tag, a):
        assert tag not in ("script", "iframe", "object"), tag
        assert a.get("href", "data:").startswith("data:") and "src" not in a, a
        assert not any(k.startswith("on") for k in a), a
        if "id" in a:
            assert a["id"] not in self.ids, a["id"]
            self.ids.add(a["id"])
        if tag == "svg":
            assert a["role"] == "img", a
            self.wanted.add(a["aria-labelledby"])
            self.pictures += 1
        if a.get("role") == "region":
            assert a["aria-label"] and a["tabindex"] == "0", a
        self.tables += tag == "table"
        self.captions += tag == "caption"

    def handle_endtag(self, tag):
        assert tag not in VOID and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words.append(data)


def check_page(path):
    text = open(path, encoding="utf-8").read()
    assert text.lower().startswith("<!doctype html>") and 'lang="en"' in text and 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text and "@import" not in text and "url(" not in text
    p = Page()
    p.feed(text)
    p.close()
    assert not p.open and p.wanted <= p.ids and p.tables == p.captions > 0, (p.open, p.tables, p.captions)
    assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', text), "a picture's coordinate is no number"
    return p


def check_measurement(m):
    for key in "id", "group", "name", "unit", "better", "check":
        assert m[key], m
    assert m["unit"] in ("s", "1/s", "B/s", "FLOP/s", "img/s", "img/J", "B"), m
    assert m["better"] == ("less" if m["unit"] in ("s", "B") else "more"), m
    assert m["check"] == "passed" or m["check"] == "none" and "error" not in m, m
    assert 0 < m["low"] <= m["value"] <= m["high"] and m["samples"] > 0, m
    assert m.get("error", 0) <= 1, m
    if "p99" in m:
        assert m["low"] <= m["p95"] <= m["p99"], m


def check_step(s, page):
    kernels = {n for p in s["points"] for n in p["kernels"].split(" + ")}
    assert kernels == {r["kernel"] for r in s["kernels"]}, kernels
    for rows in "points", "kernels", "layers":
        assert abs(sum(r["seconds"] for r in s[rows]) - s["seconds"]) <= 1e-4 * s["seconds"], rows
    assert sum(p["entries"] for p in s["points"]) == sum(r["entries"] for r in s["kernels"])
    assert s["roofline"]["flops_per_second"] > 1e8 and s["roofline"]["bytes_per_second"] > 1e8
    assert isinstance(s["result"], float) and s["step_seconds"] > 0 and s["batch"] >= 1
    words = " ".join(page.words)
    assert all(k in words for k in kernels)


def check_result(path, page_path):
    j, page = json.load(open(path)), check_page(page_path)
    assert j["schema"] == "tracknet-bench" and j["version"] == 1 and j["command"].startswith("tracknet bench")
    assert j["host"]["processors"] > 0 and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", j["time"])
    (d,) = j["devices"]
    ids = [m["id"] for m in d["measurements"]]
    assert len(ids) == len(set(ids)) and d["identity"]["name"]
    for m in d["measurements"]:
        check_measurement(m)
    for wanted in ("memory.read.", "memory.write.", "memory.copy-kernel.", "memory.copy-driver.", "transfer.to-device.pageable.",
                   "transfer.to-device.pinned.", "transfer.from-device.mapped.", "launch.latency", "launch.rate", "build.cold",
                   "build.warm", "work.train.tiny.", "work.predict.tiny."):
        assert any(i.startswith(wanted) for i in ids), wanted
    assert [s["what"] for s in d["steps"]] == ["train", "predict"]
    assert page.pictures == 3 * len(d["steps"])
    for s in d["steps"]:
        check_step(s, page)
    assert not d["left_out"] and 0 <= d["prepared"] < d["seconds"] < 180, (d["left_out"], d["prepared"], d["seconds"])
    if d["identity"]["type"] == "CPU":
        check_energy(d, ids)
    else:
        assert d["energy"] or any("joule" in n for n in d["notes"]), "nothing says why there are no joules"
    print(len(ids))


def check_energy(d, ids):
    """The counter of count_joules.py counts 30 W."""
    value = {m["id"]: m["value"] for m in d["measurements"]}
    rates = [i for i in ids if i.startswith("work.") and i.endswith(".throughput")]
    assert d["energy"] == "RAPL" and len(rates) == 2, (d["energy"], rates)
    for i in rates:
        watts = value[i] / value[i.replace("throughput", "images-per-joule")]
        assert 20 < watts < 45, (i, watts)


def check_ended(path):
    (d,) = json.load(open(path))["devices"]
    said = {m["id"]: m for m in d["measurements"]}
    for m in said.values():
        if "value" in m:
            check_measurement(m)
        else:
            assert "signal 6" in m["why"], m
    bad = {i: m["check"] for i, m in said.items() if "value" not in m}
    (read,) = [i for i in bad if i.startswith("memory.read.")]
    assert bad.pop(read) == "failed" and bad.pop("part.launching as clpeak") == "failed", bad
    assert len(bad) >= 8 and all(i.startswith("gemm.") and c == "refused" for i, c in bad.items()), bad
    for wanted in "memory.write.", "launch.rate":
        assert any(i.startswith(wanted) and "value" in m for i, m in said.items()), wanted


def check_short(path, seconds):
    (d,) = json.load(open(path))["devices"]
    assert d["seconds"] < float(seconds) + 10 and d["left_out"], d["seconds"]
    for m in d["measurements"]:
        check_measurement(m)


def check_table(path, text):
    text = open(text).read()
    for m in json.load(open(path))["devices"][0]["measurements"]:
        assert m["name"] in text, m["name"]
    assert not re.search(" $", text, re.M)


{"result": check_result, "page": check_page, "table": check_table, "ended": check_ended, "short": check_short}[sys.argv[1]](*sys.argv[2:])
