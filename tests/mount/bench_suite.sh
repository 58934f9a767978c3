#!/bin/bash
# tools/bench/suite: every work but the slow ones, with sizes that measure nothing, and what comes of it: table, JSON, plot, block.
. "$(dirname "$0")/lib.sh"
need python3 tar
suite=$here/../../tools/bench/suite
build=$(cd "$CAIRNFS_BIN/.." && pwd)
[ -x "$build/tools/bench/micro" ] || skip "tools/bench/micro is not built"
measure() { "$suite" "$work" --quick --rounds 1 --mount "ours=$build:min_age=0" "$@"; }
nothing_left() {
  same "$(find "$work" -maxdepth 1 -name 'cairnfs-bench.*')" "" "what the suite left"
  ! grep -F "$work/cairnfs-bench." /proc/self/mounts || fail "the suite left a mount"
}

chmod o+x "$work"  # for the user that PostgreSQL runs as

# The mount once more, as a file system that the suite knows nothing about.
mode=cas
make_store
printf '%s\n' before '<!-- suite: begin -->' 'stale figures' '<!-- suite: end -->' after >figures.md
measure --only micro --only tree --only sqlite --daemon "other=$CAIRNFS_BIN/cairnfs mount $store %m" \
  --json one.json --svg one.svg --write figures.md >table 2>said || { cat said >&2; fail "suite"; }
wait_for_lock
nothing_left

# Where fio is missing it says so; where it is not, it measures. The rounds are put together.
mkdir empty
python=$(python3 -c 'import sys; print(sys.executable)')
PATH=$work/empty "$python" "$suite" "$work" --quick --rounds 1 --mount "ours=$build" --only fio >/dev/null 2>missing ||
  fail "suite without fio: $(cat missing)"
grep -qF 'SKIPPED: fio: fio is not installed (apt-get install fio)' missing || fail "no word about fio: $(cat missing)"
measure --only large --only postgresql --json two.json >/dev/null 2>said || fail "suite --only large: $(cat said)"
measure --only large --json three.json >/dev/null 2>&1 || fail "suite --only large, again"
"$suite" --from two.json three.json --json both.json --svg both.svg >both

python3 - <<'PY'
import json, xml.dom.minidom

def rows(name):
    return json.load(open(name))["rows"]

one = json.load(open("one.json"))
assert [place["name"] for place in one["places"]][1:] == ["ours", "other"], one["places"]
assert "min_age=0" in one["places"][1]["mounted_with"] and one["places"][1]["transport"], one["places"]
for key in ["kernel", "cpu", "cpus", "memory_MiB", "file_system", "mount_options", "versions", "builds"]:
    assert one["machine"][key], key
run, = one["runs"]
assert "--only micro" in run["command"] and "one.json" not in run["command"], run
assert all(len(run[when]["load"]) == 3 and run[when]["date"] for when in ["begin", "end"]), run
assert not one["failed"], one["failed"]

works = {row["work"] for row in one["rows"]}
assert {"stat", "untar, then fsync", "tar cf, cold", "SQLite: single rows, WAL"} <= works, works
for row in one["rows"]:
    assert len(row["samples"]) == 1 and row["samples"][0] > 0 and row["median"] == row["samples"][0], row
    here = {r["place"]: r["median"] for r in one["rows"] if r["work"] == row["work"]}
    assert len(here) == (2 if row["work"].startswith("import") else 3), here
    first = here[one["places"][0]["name"]]
    ratio = first / row["median"] if row["unit"] == "s" else row["median"] / first
    assert abs(row["ratio"] / ratio - 1) < 1e-9, row
for row in rows("both.json"):
    found = [[r["samples"][0] for r in rows(name) if (r["work"], r["place"]) == (row["work"], row["place"])] or [None] for name in ["two.json", "three.json"]]
    assert row["samples"] == sum(found, []) and row["quartiles"][0] <= row["median"] <= row["quartiles"][1], row
both = [row for row in rows("both.json") if None not in row["samples"]]
assert len(both) == 6 and not json.load(open("both.json"))["failed"], both

table = open("table").read()
assert table.count("\n") == len(works) + 2 and all(f"| {work} |" in table for work in works), table
text = open("figures.md").read()
assert text.startswith("before\n<!-- suite: begin -->\n") and text.endswith("\n<!-- suite: end -->\nafter\n"), text
assert table in text and run["command"] in text and one["machine"]["kernel"] in text and "stale" not in text and "(one.svg)" in text, text

def plot(name):
    return xml.dom.minidom.parse(name)
texts = [node.firstChild.data for node in plot("one.svg").getElementsByTagName("text")]
assert works <= set(texts) and {"ours", "other"} <= set(texts), texts
rest = len({row["work"] for row in rows("both.json")})  # one place beside the first
bars = [node for node in plot("both.svg").getElementsByTagName("rect") if node.getAttribute("height") == "12" and node.getAttribute("y") != "48"]
assert len(bars) == rest >= 3, len(bars)
lines = plot("both.svg").getElementsByTagName("line")
assert sum(node.getAttribute("stroke-width") == "1.5" for node in lines) == 3, "an error bar for each work that ran twice"
PY

# The rest of the file is nobody's but its authors'; a file without the marks is refused before anything is measured.
"$suite" --from one.json --write figures.md >/dev/null
same "$(grep -c suite: figures.md)" 2 "marks after writing twice"
echo "no marks" >plain.md
if measure --only micro --write plain.md >/dev/null 2>why; then fail "a file without marks was written"; fi
grep -q 'needs one line <!-- suite: begin -->' why || fail "no reason in: $(cat why)"
same "$(cat plain.md)" "no marks"

# What does not start ends the suite and leaves nothing; what cannot do a work loses that work only.
if measure --only large --daemon "none=false %m" >/dev/null 2>why; then fail "a daemon that fails was measured"; fi
grep -q 'nothing is mounted' why || fail "no reason in: $(cat why)"
nothing_left
mkdir file && touch file/suite.large
measure --only large --place "full=$work/file" --json odd.json >odd 2>why || fail "a strange place's failure is not ours: $(cat why)"
grep -q 'FAILED: large on full' why || fail "no word about the failure: $(cat why)"
grep -q 'then fsync |.*| – |' odd || fail "no gap in $(cat odd)"
nothing_left
