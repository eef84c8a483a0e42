"""The table of specs/kubernetes.md: a run of all steps writes it."""

import re

from harness import PROJECT

PAGE = PROJECT / "specs/kubernetes.md"
MARK = "<!-- written by `make kubernetes` from here to the end -->\n"


class Table:
    """A plugin of pytest: collects what came of each step."""

    def __init__(self, runtimes):
        self.runtimes = runtimes
        self.steps = {}  # (file, step) -> {runtime: result}
        self.selected = False

    def pytest_collection_modifyitems(self, config, items):
        files = {path.name for path in (PROJECT / "tests/kubernetes").glob("step_*.py")}
        self.selected = config.option.keyword or config.option.markexpr or files != {item.path.name for item in items}
        self.names = {}
        for item in items:
            if not item.path.stem.startswith("step_"):
                continue
            callspec = getattr(item, "callspec", None)
            step = " ".join((item.function.__doc__ or item.originalname).split())
            self.names[item.nodeid] = (item.path.stem.removeprefix("step_"), step, callspec.params.get("runtime") if callspec else None)

    def pytest_runtest_logreport(self, report):
        if report.nodeid not in self.names or (report.when != "call" and report.passed):
            return
        file, step, runtime = self.names[report.nodeid]
        said = "ok" if report.passed else "skipped" if report.skipped else "fails"
        results = self.steps.setdefault((file, step), {})
        if results.get(runtime) != "fails":
            results[runtime] = said

    def pytest_sessionfinish(self, session):
        if self.steps and not self.selected and PAGE.exists():
            PAGE.write_text(PAGE.read_text().partition(MARK)[0] + MARK + self.text())

    def text(self):
        lines = [f"\n| | step | {' | '.join(self.runtimes)} |", f"|---|---{'|---' * len(self.runtimes)}|"]
        for (file, step), results in self.steps.items():
            lines.append(f"| {file} | {escape(step)} | {' | '.join(results.get(name, '') for name in self.runtimes)} |")
        return "\n".join(lines) + "\n"


def escape(text):
    return re.sub(r"([|<])", r"\\\1", text)
