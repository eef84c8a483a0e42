"""results/figures.json and figures-v2.json -> tables on stdout, the short tables in the README, and the charts results/times.svg and growth.svg."""

import json
import pathlib
import re

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "pyrun"
from matplotlib import pyplot  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"
README = HERE.parent.parent / "README.md"
GROWING = {name: re.compile(row) for name, row in {
    "create, so many running": r"create, (\d+) containers", "state, so many running": r"state, (\d+) containers",
    "delete, so many running": r"delete, (\d+) containers", "list": r"list, (\d+) containers",
    "run with so many mounts": r"run, (\d+) mounts", "so many creates at once": r"(\d+) creates at once",
}.items()}  # fmt: skip
"""Rows of one kind that differ in a number."""
SHOWN = ("list, 1000 containers", "run, 300 mounts", "100 creates at once")
"""Those of them that stand beside the others."""
BEGIN, END = "<!-- figures: made by `make bench` -->", "<!-- end of figures -->"


def ratios(of, cells):
    """How much the first runtime needs of what each of the others does: best to best."""
    first, *others = cells.values()
    return {name: of(first) / of(other) for name, other in zip(list(cells)[1:], others)}


def shown(found):
    """The rows of the short table: row -> {runtime: [best, median]}."""
    growing = {row for row in found["times"] if any(pattern.fullmatch(row) for pattern in GROWING.values())}
    return {row: cells for row, cells in found["times"].items() if row not in growing or row in SHOWN}


def curves(found):
    """name in GROWING -> {runtime: [(number, best time)]}."""
    made = {}
    for name, pattern in GROWING.items():
        for row, cells in found["times"].items():
            if match := pattern.fullmatch(row):
                for runtime, (best, _) in cells.items():
                    made.setdefault(name, {}).setdefault(runtime, []).append((int(match[1]), best))
    return made


def slope(points):
    """Microseconds that one more takes, from the first point to the last."""
    return (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0]) * 1000


def print_all(found):
    names = list(found["runtimes"])
    print(f"machine   {found['machine']}; load {found['load']:.1f}")
    print("\n".join(f"{name:9} {version}" for name, version in found["runtimes"].items()))
    print(f"floor     {found['floor'][0]} / {found['floor'][1]} ms for a /bin/true without a runtime\n")
    for title, rows, text, number in (
        (f"ms, best / median of {found['runs']}", found["times"], lambda cell: f"{cell[0]:.2f} / {cell[1]:.2f}", lambda cell: cell[0]),
        ("memory, KiB", found["memory"], str, lambda cell: cell),
    ):
        print(f"{title:36}" + "".join(f"{name:>20}" for name in names) + "".join(f"{f'{names[0]}:{name}':>16}" for name in names[1:]))
        for row, cells in rows.items():
            line = f"{row:36}" + "".join(f"{text(cells[name]):>20}" for name in names)
            print(line + "".join(f"{ratio:16.2f}" for ratio in ratios(number, cells).values()))
        print()
    names = list(found["runtimes"])
    print(f"{'one more takes, us':36}" + "".join(f"{name:>20}" for name in names))
    for name, lines in curves(found).items():
        print(f"{name:36}" + "".join(f"{slope(lines[runtime]):20.1f}" for runtime in names))


def times_table(found):
    names = list(found["runtimes"])
    lines = [f"| command | {' | '.join(names)} | {' | '.join(f'{names[0]} : {name}' for name in names[1:])} |"]
    lines.append(f"|---|{'---|' * (2 * len(names) - 1)}")
    for row, cells in shown(found).items():
        texts = [f"{best:g} / {median:g}" for best, median in cells.values()] + [f"{ratio:.2f}" for ratio in ratios(lambda c: c[0], cells).values()]
        lines.append(f"| {row} | {' | '.join(texts)} |")
    return lines


def memory_table(found):
    names = list(found["runtimes"])
    lines = [f"| memory, KiB | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    return lines + [f"| {row} | {' | '.join(map(str, cells.values()))} |" for row, cells in found["memory"].items()]


def growth_table(found):
    names = list(found["runtimes"])
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    return lines + [
        f"| {name}, {line[names[0]][0][0]} to {line[names[0]][-1][0]} | {' | '.join(f'{slope(line[runtime]):.0f}' for runtime in names)} |"
        for name, line in curves(found).items()
    ]


def readme_text(found, on_v2):
    machine = f"{found['machine']}; {', '.join(found['runtimes'].values())}; {found['date']}"
    lines = [f"{machine}. Milliseconds, best / median of {found['runs']}; a `/bin/true` without a runtime takes {found['floor'][0]}.",
             "![times](tests/bench/results/times.svg)", "", *times_table(found), "", *memory_table(found), "",
             "What one more of them adds, in microseconds ![growth](tests/bench/results/growth.svg)", "", *growth_table(found)]  # fmt: skip
    if on_v2:
        lines += ["", f"The same with nothing but cgroup v2 ({on_v2['date']}, best / median of {on_v2['runs']}):", "", *times_table(on_v2), ""]
        lines += growth_table(on_v2)
    return "\n".join(lines)


def write_readme(text_of_figures):
    text = README.read_text()
    before, rest = text.split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{text_of_figures}\n{END}{rest.split(END)[1]}")


def draw_growth(found):
    figure, places = pyplot.subplots(2, 3, figsize=(12, 7))
    for axes, (title, lines) in zip(places.flat, curves(found).items(), strict=True):
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylabel("ms")
    places.flat[0].legend()
    figure.tight_layout()
    figure.savefig(RESULTS / "growth.svg", metadata={"Date": None})


def draw(found):
    """Bars of the best times, each row relative to pyrun's."""
    names, times = list(found["runtimes"]), shown(found)
    rows = list(times)
    figure, axes = pyplot.subplots(figsize=(9, 0.5 * len(rows) + 1.2))
    height = 0.8 / len(names)
    for index, name in enumerate(names):
        values = [times[row][name][0] / times[row][names[0]][0] for row in rows]
        places = [place + height * (index - (len(names) - 1) / 2) for place in range(len(rows))]
        bars = axes.barh(places, values, height * 0.9, label=name)
        axes.bar_label(bars, [f"{times[row][name][0]:.1f} ms" for row in rows], padding=2, fontsize=7)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel(f"time, {names[0]} = 1 (best of {found['runs']})")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(RESULTS / "times.svg", metadata={"Date": None})


def main():
    v1, v2 = (RESULTS / name for name in ("figures.json", "figures-v2.json"))
    found = json.loads(v1.read_text())
    on_v2 = json.loads(v2.read_text()) if v2.exists() else None
    print_all(found)
    if on_v2:
        print_all(on_v2)
    write_readme(readme_text(found, on_v2))
    draw(found)
    draw_growth(found)


if __name__ == "__main__":
    main()
