"""linux.intelRdt as file operations, on a directory laid out like resctrl: the real one needs a CPU with RDT."""

import pytest

from pyrun.base.errors import ConfigError
from pyrun.host import rdt

LINES = {"l3CacheSchema": "L3:0=f;1=0f", "memBwSchema": "MB:0=20", "schemata": ["L3CODE:0=3"]}


@pytest.fixture
def resctrl(tmp_path, monkeypatch):
    """A directory in resctrl's place in which, as there, a new directory has its files at once."""
    (tmp_path / "mon_groups").mkdir()
    populate(tmp_path, "L3:0=ff;1=ff\n")
    make = rdt._mkdir

    def mkdir(path, where):
        make(path, where)
        populate(tmp_path / path, "")

    monkeypatch.setattr(rdt, "_mkdir", mkdir)
    return tmp_path


def populate(directory, text):
    for name, content in (("tasks", ""), ("schemata", text)):
        (directory / name).write_text(content)
    (directory / "mon_groups").mkdir(exist_ok=True)


def group(resctrl, **members):
    return rdt.Group(members, "box", str(resctrl))


def test_without_a_closid_the_class_is_the_containers_own(resctrl):
    g = group(resctrl, **LINES)
    g.create()
    g.add(42)
    # The order of the lines is the specification's.
    assert (resctrl / "box/schemata").read_text() == "L3:0=f;1=0f\nMB:0=20\nL3CODE:0=3\n"
    assert (resctrl / "box/tasks").read_text() == "42"
    assert g.own == [f"{resctrl}/box"]


def test_a_class_with_a_closid_is_made_and_stays(resctrl):
    g = group(resctrl, closID="gold", schemata=["L3:0=f"])
    g.create()
    g.add(42)
    assert (resctrl / "gold/schemata").read_text() == "L3:0=f\n" and (resctrl / "gold/tasks").read_text() == "42"
    assert g.own == []


def test_a_class_that_is_there_must_have_the_values(resctrl):
    (resctrl / "gold").mkdir()
    populate(resctrl / "gold", "    MB:0=100\n    L3:0=00f;1=0ff\n")
    group(resctrl, closID="gold", l3CacheSchema="L3:0=f").create()
    assert (resctrl / "gold/schemata").read_text() == "    MB:0=100\n    L3:0=00f;1=0ff\n"
    with pytest.raises(ConfigError, match="has other values for L3"):
        group(resctrl, closID="gold", schemata=["L3:0=1"]).create()


def test_a_class_without_values_must_be_there(resctrl):
    with pytest.raises(ConfigError, match=r"linux\.intelRdt\.closID: .*gold does not exist"):
        group(resctrl, closID="gold").create()


def test_the_root_is_the_default_class(resctrl):
    g = group(resctrl, closID="/", enableMonitoring=True)
    g.create()
    g.add(42)
    assert (resctrl / "tasks").read_text() == "42" and (resctrl / "mon_groups/box/tasks").read_text() == "42"
    assert (resctrl / "schemata").read_text() == "L3:0=ff;1=ff\n"
    assert g.own == [f"{resctrl}/mon_groups/box"]


def test_the_monitoring_group_goes_first(resctrl):
    g = group(resctrl, enableMonitoring=True)
    g.create()
    assert g.own == [f"{resctrl}/box/mon_groups/box", f"{resctrl}/box"]


def test_what_was_the_containers_own_is_removed(tmp_path):
    (tmp_path / "box/mon").mkdir(parents=True)
    rdt.delete([f"{tmp_path}/box/mon", f"{tmp_path}/box", f"{tmp_path}/gone"])
    assert not (tmp_path / "box").exists()
