"""What may import what: edges point one way, and the hot modules stay within Python's built-in C modules."""

import ast

import pytest
from harness import PROJECT

# Built into libpython; the standalone binary runs the hot modules while only the core of Python is initialised.
BUILT_IN = {"posix", "errno", "time", "sys", "marshal", "_struct", "fcntl", "select", "_signal"}
# Modules of ours that need more of Python. Hot modules import them inside the functions that need them, if at all.
COLD = {"archive", "cli", "validate", "trace", "features", "schemas"}
# From the command line down to the plan; a module imports nothing of a higher rank.
RANKS = {
    "plan": 1,
    "mounts": 2,
    "process": 2,
    "seccomp": 2,
    "namespaces": 2,
    "devices": 2,
    "compile": 3,
    "launch": 4,
    "commands": 5,
    "__main__": 7,
}
# Made by the build: in C, out of cli.py, out of the schemas.
BUILT = {"_native", "_json", "_argv_table", "_build_info", "_checks"}

SOURCES = {
    ".".join(path.relative_to(PROJECT / "pyrun").with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((PROJECT / "pyrun").rglob("*.py"))
    if path.stem not in BUILT
}
HOT = [name for name in SOURCES if name not in COLD]


def imports(name, top_level_only):
    """The modules that a module imports: (line, dotted name); `pyrun.x` where `from pyrun import x` gives a module."""
    tree = ast.parse(SOURCES[name].read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [word for word in inner if own(word) in SOURCES or own(word) in BUILT]
            yield from ((node.lineno, word) for word in modules or [node.module])


def own(dotted):
    """`mounts` for pyrun.mounts, `` for pyrun itself, None for what is not ours."""
    package, _, rest = dotted.partition(".")
    return rest if package == "pyrun" else None


def edges():
    """{module: modules of ours that it imports, anywhere in it}."""
    return {
        name: {own(dotted) for _, dotted in imports(name, False) if own(dotted) in SOURCES} - {name, "__init__", ""}
        for name in SOURCES
    }


@pytest.mark.parametrize("name", HOT)
def test_hot_modules_import_only_what_is_built_in(name):
    for line, dotted in imports(name, top_level_only=True):
        mine = own(dotted)
        allowed = dotted in BUILT_IN if mine is None else mine not in COLD
        assert allowed, f"{SOURCES[name].relative_to(PROJECT)}:{line} imports {dotted}"


def test_edges_point_from_the_command_line_down_to_the_plan():
    def rank(name):
        return RANKS.get(name.partition(".")[0])

    upwards = [
        f"{name} imports {other}"
        for name, others in edges().items()
        for other in sorted(others)
        if rank(name) and rank(other) and rank(other) > rank(name)
    ]
    assert not upwards


def test_no_import_goes_round_in_a_circle():
    graph, done = edges(), set()

    def visit(name, path):
        assert name not in path, f"{' -> '.join(path[path.index(name):])} -> {name}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
