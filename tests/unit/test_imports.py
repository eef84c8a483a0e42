"""What may import what: imports point one way, from package to package, and hot modules stay within Python's built-in C modules."""

import ast
import re

import pytest
from harness import PROJECT

import csrc.modules

# Built into libpython.
BUILT_IN = {"posix", "errno", "time", "sys", "marshal", "_struct", "fcntl", "select", "_signal"}
# Dropped by the build, with the annotations that it is for.
DROPPED = {"__future__"}
# Modules of ours that need more of Python. Hot modules import them inside the functions that need them, if at all.
COLD = {name.removeprefix("pyrun.") for name in csrc.modules.COLD}
# The packages, from the ground up: a module imports from its own package and from those before it.
RANKS = ["base", "config", "cli", "plan", "init", "host", "cgroup", "criu", "container", "trace", "validate", "image", "commands", "__main__"]
# Made by the build: in C, of cli/declaration.py, of csrc/plan.h, of the schemas.
BUILT = {"_native", "_json", "_build_info", "cli._argv_table", "plan._ops", "config._checks"}

SOURCES = {
    ".".join(path.relative_to(PROJECT / "pyrun").with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((PROJECT / "pyrun").rglob("*.py"))
}
SOURCES = {name: path for name, path in SOURCES.items() if name not in BUILT}
HOT = [name for name in SOURCES if name not in COLD]


def imports(name, top_level_only):
    """The modules that a module imports: (line, dotted name); `pyrun.x` where `from pyrun import x` gives a module."""
    tree = ast.parse(SOURCES[name].read_text())
    tree.body = [node for node in tree.body if not for_types_alone(node)]
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [word for word in inner if own(word) in SOURCES or own(word) in BUILT]
            yield from ((node.lineno, word) for word in modules or [node.module])


def for_types_alone(node):
    """Whether it is an `if TYPE_CHECKING`: its imports are for annotations, and are never run."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def own(dotted):
    """`plan.mounts` for pyrun.plan.mounts, `` for pyrun itself, None for what is not ours."""
    package, _, rest = dotted.partition(".")
    return rest if package == "pyrun" else None


def edges():
    """{module: modules of ours that it imports, anywhere in it}."""
    return {
        name: {own(dotted) for _, dotted in imports(name, False) if own(dotted) in SOURCES} - {name, "__init__", ""}
        for name in SOURCES
    }


def rank(name):
    return RANKS.index(name.partition(".")[0])


@pytest.mark.parametrize("name", HOT)
def test_hot_modules_import_only_what_is_built_in(name):
    for line, dotted in imports(name, top_level_only=True):
        mine = own(dotted)
        allowed = dotted in BUILT_IN | DROPPED if mine is None else mine not in COLD
        assert allowed, f"{SOURCES[name].relative_to(PROJECT)}:{line} imports {dotted}"


def test_every_module_has_a_rank():
    assert {name.partition(".")[0] for name in SOURCES} - {"__init__", ""} == set(RANKS)


def test_imports_point_down():
    upwards = [
        f"{name} imports {other}" for name, others in edges().items() if name not in ("__init__", "")
        for other in sorted(others) if rank(other) > rank(name)
    ]  # fmt: skip
    assert not upwards


def circle(graph):
    """The names of one circle in a graph ({name: names}), None if there is none."""
    done = set()

    def visit(name, path):
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if found := visit(other, [*path, name]):
                    return found
            done.add(name)
        return None

    return next((found for name in graph if (found := visit(name, []))), None)


def test_no_import_goes_round_in_a_circle():
    assert circle(edges()) is None


def test_headers_and_build_scripts_neither():
    """csrc/: init knows nothing of the extension, and only plan.h is known to both."""
    csrc = PROJECT / "csrc"
    graph = {}
    for path in [*csrc.rglob("*.[ch]")]:
        found = re.findall(r'^#include "(.+)"', path.read_text(), re.MULTILINE)
        graph[str(path.relative_to(csrc))] = {
            str((path.parent / word).resolve().relative_to(csrc)) for word in found if (path.parent / word).exists()
        } | {word for word in found if not (path.parent / word).exists() and (csrc / word).exists()}
    scripts = {path.stem for path in csrc.glob("*.py")}
    for name in scripts:
        tree = ast.parse((csrc / f"{name}.py").read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        graph[f"{name}.py"] = {f"{word}.py" for word in names & scripts}
    assert circle(graph) is None
    for name, others in graph.items():
        if name.startswith("init/"):
            assert {other for other in others if not other.startswith("init/")} <= {"plan.h"}, name
        else:
            assert not {other for other in others if other.startswith("init/")}, name
