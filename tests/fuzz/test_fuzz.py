"""Any input to a parser gives a right answer or one clear error: the short form, by chance with fixed seeds. `make fuzz` is the long one.

The number of inputs is fixed, and the inputs are the same in each run, so what passes here once passes always.
"""

import random
import resource

import pytest
from fuzz import mutate, programs, targets

# How many inputs each gets, so that all together take less than a minute.
COUNTS = {"config": 1500, "process": 2000, "update": 3000, "state": 8000, "argv": 1500, "mountinfo": 8000, "netlink": 3000, "gvariant": 8000,
          "bus": 8000, "criu": 8000}  # fmt: skip
RUNS = {"plan": 500_000, "rest": 20_000, "home": 20_000, "json": 30_000, "form": 500_000}
SEED = 1
MEMORY = 1 << 30
"""Bytes that a target may take beyond what there is."""

pytestmark = pytest.mark.once


@pytest.fixture(scope="module", autouse=True)
def quiet():
    with pytest.MonkeyPatch.context() as patch:
        targets.quiet(patch.setattr)
        yield
    targets.tidy()


@pytest.fixture
def little_memory():
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_python(name, little_memory, monkeypatch):
    plans = []
    monkeypatch.setattr(targets, "accepted", lambda plan, judge=targets.accepted: plans.append(judge(plan)))
    seeds, chance = targets.seeds(name), random.Random(SEED)
    mutator = mutate.Mutator(seeds, name in targets.AS_JSON)
    for data in [*seeds, b""]:
        targets.judge(name, data)
    for _ in range(COUNTS[name]):
        data = mutator.change(chance, chance.choice(seeds))
        try:
            targets.judge(name, data)
        except BaseException as fault:
            raise AssertionError(f"{name}: {data!r}") from fault
    # Else what is begun with, or the changes, would be of no use.
    assert len(plans) > COUNTS[name] / 8 or name not in ("config", "process")


@pytest.mark.parametrize("name", programs.TARGETS)
def test_c(name, tmp_path):
    for number, data in enumerate(targets.seeds(name)):
        (tmp_path / str(number)).write_bytes(data)
    said = programs.call(name, "gcc", f"-runs={RUNS[name]}", f"-seed={SEED}", tmp_path)
    assert programs.inputs(said) > RUNS[name]
