"""What came of a run of the suite: samples, and the table, the plot and the JSON made from them."""
import json
import math
import os
import re
import statistics

MARKS = "<!-- suite: begin -->", "<!-- suite: end -->"


def quartiles(values):
    if len(values) < 2:
        return [values[0], values[0]]
    cut = statistics.quantiles(values, n=4, method="inclusive")
    return [cut[0], cut[2]]


class Samples:
    """One value for each work, place and round. The unit "s" is a time, every other one a rate."""

    def __init__(self):
        self.rounds, self.units, self.values = 0, {}, {}

    def note(self, work, place, value, unit="s"):
        """Of the round that is under way."""
        self.units.setdefault(work, unit)
        self.values.setdefault(work, {}).setdefault(place, {})[self.rounds] = value

    def end_round(self):
        self.rounds += 1

    def add(self, rows, rounds):
        """The rows of another run: its rounds follow ours."""
        for row in rows:
            self.units.setdefault(row["work"], row["unit"])
            mine = self.values.setdefault(row["work"], {}).setdefault(row["place"], {})
            mine.update({self.rounds + i: value for i, value in enumerate(row["samples"]) if value is not None})
        self.rounds += rounds

    def ratios(self, work, place, first):
        """How many times as fast as the first place, in each round that has both."""
        here, there = self.values[work][place], self.values[work].get(first, {})
        pairs = [(here[number], there[number]) for number in here if number in there]
        return [there / here if self.units[work] == "s" else here / there for here, there in pairs]

    def rows(self, places):
        """In the order of the works, then of the places; the ratios are to the first place."""
        found = []
        for work, by_place in self.values.items():
            for place in places:
                if place not in by_place:
                    continue
                values = list(by_place[place].values())
                row = {"work": work, "place": place, "unit": self.units[work], "samples": [by_place[place].get(i) for i in range(self.rounds)],
                       "median": statistics.median(values), "quartiles": quartiles(values)}
                ratios = self.ratios(work, place, places[0])
                if ratios:
                    row.update(ratio=statistics.median(ratios), ratio_quartiles=quartiles(ratios))
                found.append(row)
        return found


def scale_of(value, unit):
    """The unit that suits a value, and how many of them one of `unit` is."""
    if unit != "s":
        return unit, 1
    return next((name, factor) for name, factor, below in [("µs", 1e6, 1e-3), ("ms", 1e3, 1), ("s", 1, math.inf)] if value < below)


def number_text(value):
    """With three digits, or all that are in front of the point."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def value_text(row):
    """The median and the quartiles, in one unit."""
    name, factor = scale_of(row["median"], row["unit"])
    low, high = (number_text(value * factor) for value in row["quartiles"])
    return f"{number_text(row['median'] * factor)} {name} ({low}–{high})"


def rate_text(row):
    return "{:.2f} ({:.2f}–{:.2f})".format(row["ratio"], *row["ratio_quartiles"])


def by_work(rows):
    works = {}
    for row in rows:
        works.setdefault(row["work"], {})[row["place"]] = row
    return works


def table(report):
    """Markdown: a work a line, a place a column, then each other place's rate relative to the first."""
    places = [place["name"] for place in report["places"]]
    lines = ["| work | " + " | ".join([*places, *(f"{name}: rate" for name in places[1:])]) + " |",
             "|---|" + "---|" * len(places) + "---|" * (len(places) - 1)]
    for work, here in by_work(report["rows"]).items():
        values = [value_text(here[name]) if name in here else "–" for name in places]
        rates = [rate_text(here[name]) if "ratio" in here.get(name, {}) else "–" for name in places[1:]]
        lines.append("| " + " | ".join([work, *values, *rates]) + " |")
    return "\n".join(lines) + "\n"


def version_number(text):
    """Of what a program says about itself."""
    return (re.search(r"(?<![\w.])v?\d+(\.\d+)+", text) or re.search(r"\S+$", text))[0]


def machine_lines(report):
    """The machine and the places in a few sentences."""
    machine, disk = report["machine"], report["machine"]["disk"]
    runs = report["runs"]
    loads = [run[when]["load"][0] for run in runs for when in ("begin", "end")]
    dates = sorted({run["begin"]["date"][:10] for run in runs})
    virtual = " (virtual machine)" if machine["virtual_machine"] else ""
    yield (f"{machine['kernel']}, {machine['cpus']} × {machine['cpu']}{virtual}, {machine['memory_MiB'] / 1024:.0f} GiB; "
           f"{machine['file_system']} ({machine['mount_options']})" +
           (f" on {disk['name']} (write cache: {disk['write_cache']}, FUA: {disk['fua']}, scheduler: {disk['scheduler']})" if disk else "") + ".")
    if machine.get("guest_halt_poll_ns"):
        yield f"guest_halt_poll_ns={machine['guest_halt_poll_ns']}."
    if machine.get("page_reporting_order"):
        yield f"page_reporting_order={machine['page_reporting_order']}."
    yield f"{dates[0]}{' to ' + dates[-1] if len(dates) > 1 else ''}, load {min(loads)} to {max(loads)}."
    yield ", ".join(f"{name} {version_number(version)}" for name, version in machine["versions"].items()) + "."
    for place in report["places"]:
        if "transport" in place:
            build = machine["builds"][place["name"]]
            options = place["mounted_with"] or "no options"
            yield f"{place['name']}: {version_number(build['version'])} ({build['type']}), libfuse {build['libfuse']}, {place['transport']}, {options}."
        elif "command" in place:
            yield f"{place['name']}: `{place['command']}`."
    if not machine["caches_dropped"]:
        yield "Not run by root: \"cold\" was not cold."
    for what in report["skipped"] + report["failed"]:
        yield what + "."


def rounds_text(report):
    """How many samples the rows have, which differs where works were run one by one."""
    counts = sorted({sum(value is not None for value in row["samples"]) for row in report["rows"]}) or [0]
    return f"{counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} round{'s' if counts[-1] != 1 else ''}"


def block(report, picture=None):
    parts = [MARKS[0], "", "Written by `tools/bench/suite --write`. " + " ".join(machine_lines(report)), "",
             *("    " + run["command"] for run in report["runs"]), "",
             f"Medians and quartiles of {rounds_text(report)}; rates are relative to {report['places'][0]['name']} within each round, "
             "2.00 is twice as fast.", ""]
    if picture:
        parts += [f"![rates and their quartiles]({picture})", ""]
    return "\n".join([*parts, table(report) + MARKS[1]])


def check_marks(path):
    """The text before the block and that behind it; ValueError if it is not there once."""
    text = path.read_text()
    if any(text.count(mark) != 1 for mark in MARKS) or text.index(MARKS[0]) > text.index(MARKS[1]):
        raise ValueError(f"{path} needs one line {MARKS[0]} and, below it, one line {MARKS[1]}")
    return text.split(MARKS[0])[0], text.split(MARKS[1])[1]


def write_block(path, report, svg_path=None):
    before, behind = check_marks(path)
    picture = os.path.relpath(svg_path, path.parent) if svg_path else None
    path.write_text(before + block(report, picture) + behind)


def save(path, report):
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def joined(reports):
    """One report of several runs on one machine, such as one for each work."""
    first, samples, places = reports[0], Samples(), {}
    for report in reports:
        for key, value in report["machine"].items():
            if key != "builds" and value != first["machine"][key]:
                raise ValueError(f"the runs differ in the machine's \"{key}\": they cannot be one table")
        for place in report["places"]:
            known = places.setdefault(place["name"], (place, report["machine"]["builds"].get(place["name"])))
            if known != (place, report["machine"]["builds"].get(place["name"])):
                raise ValueError(f"the runs differ in what {place['name']} is: they cannot be one table")
        if report["places"][0] != first["places"][0]:
            raise ValueError("the runs differ in their first place: their rates cannot be compared")
        samples.add(report["rows"], sum(run["rounds"] for run in report["runs"]))
    together = {key: [item for report in reports for item in report[key]] for key in ("runs", "skipped", "failed")}
    builds = {name: build for name, (_, build) in places.items() if build}
    return {**first, **{key: list({json.dumps(item): item for item in items}.values()) for key, items in together.items()},
            "machine": {**first["machine"], "builds": builds}, "places": [place for place, _ in places.values()],
            "rows": samples.rows(list(places))}


# ---- The plot ----

COLOURS = ["#3b6ea5", "#c46a2b", "#5a9a5a", "#8a5aa0", "#777777"]
LEFT, WIDTH, BAR, GAP, TOP = 330, 460, 14, 8, 78


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def label(x, y, text, anchor="start", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escaped(text)}</text>'


def line(x1, y1, x2, y2, colour="#000", width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def one_bar(x, y, row, colour):
    """From 1 to the median, with the quartiles as an error bar and the number behind all of it."""
    low, high = (x(value) for value in row["ratio_quartiles"])
    begin, end = sorted((x(1), x(row["ratio"])))
    middle = y + BAR / 2
    out = [f'<rect x="{begin:.1f}" y="{y}" width="{max(end - begin, 1):.1f}" height="{BAR - 2}" fill="{colour}"/>']
    if high > low:
        out += [line(low, middle, high, middle, width=1.5), line(low, y + 3, low, y + BAR - 5), line(high, y + 3, high, y + BAR - 5)]
    return [*out, label(max(end, high) + 5, y + 10, f"{row['ratio']:.2f}")]


def svg(report):
    """Rates relative to the first place on a logarithmic scale: medians as bars, quartiles as error bars."""
    first, *others = [place["name"] for place in report["places"]]
    works = {work: [here[name] for name in others if "ratio" in here.get(name, {})] for work, here in by_work(report["rows"]).items()}
    works = {work: rows for work, rows in works.items() if rows}
    shown = [value for rows in works.values() for row in rows for value in [row["ratio"], *row["ratio_quartiles"]]] or [1]
    low, high = math.floor(math.log2(min(*shown, 0.5))), math.ceil(math.log2(max(*shown, 2)))

    def x(ratio):
        return LEFT + WIDTH * (math.log2(ratio) - low) / (high - low)

    bottom = TOP + sum(len(rows) * BAR + GAP for rows in works.values())
    width, height = LEFT + WIDTH + 60, bottom + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">', f'<rect width="{width}" height="{height}" fill="#fff"/>',
           label(12, 20, f"Rate relative to {first}, within each round (to the right: faster)", more=' font-size="15" font-weight="bold"'),
           label(12, 38, f"Bars: medians of {rounds_text(report)}. Error bars: quartiles. "
                 f"{report['machine']['kernel']}, {report['machine']['cpus']} × {report['machine']['cpu']}")]
    for i, name in enumerate(others):
        out += [f'<rect x="{12 + 150 * i}" y="48" width="12" height="12" fill="{COLOURS[i % len(COLOURS)]}"/>', label(29 + 150 * i, 58, name)]
    for power in range(low, high + 1):
        colour = "#000" if power == 0 else "#ddd"
        out += [line(x(2.0**power), TOP - 6, x(2.0**power), bottom, colour),
                label(x(2.0**power), bottom + 16, f"{2**power}" if power >= 0 else f"1/{2**-power}", "middle")]
    y = TOP
    for work, rows in works.items():
        out.append(label(LEFT - 10, y + len(rows) * BAR / 2 + 3, work, "end"))
        for row in rows:
            out += one_bar(x, y, row, COLOURS[others.index(row["place"]) % len(COLOURS)])
            y += BAR
        y += GAP
    return "\n".join([*out, "</svg>", ""])
