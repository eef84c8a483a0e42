"""The hot checks and the JSON Schemas say the same: of every config, and with the same words."""

import json
import random
import re
import subprocess
import sys

import configs
import pytest

from pyrun.config import _checks, faults, schemas, shape

ALPHABETS = ["019-+.aZ", "/\0a", "KMGB0129", "rwmx\n", "MB:0\n\0", "0-3, x\n", "é٣/\n"]


def test_table_is_fresh():
    made = subprocess.run([sys.executable, "-m", "pyrun.config.schemas"], capture_output=True, text=True, check=True).stdout
    with open(_checks.__file__) as file:
        assert file.read() == made, "run `make ext`"


@pytest.mark.parametrize("config", configs.configs())
def test_valid(config):
    assert list(faults.schema_faults("config", config)) == []
    assert shape.walk(_checks.CONFIG, config) is None


def test_corpus_has_every_member():
    """So that the mutants reach every member of the specification."""

    def paths(schema, path):
        for name, member in schema.get("properties", {}).items():
            yield f"{path}.{name}"
            yield from paths(member, f"{path}.{name}")
        for rule, mark in (("items", "[]"), ("additionalProperties", ".*")):
            if rule in schema:
                yield from paths(schema[rule], path + mark)

    def used(schema, value, path):
        if isinstance(value, list):
            for entry in value:
                yield from used(schema.get("items", {}), entry, path + "[]")
        elif isinstance(value, dict):
            for name, member in value.items():
                known = name in schema.get("properties", {})
                inner = schema["properties"][name] if known else schema.get("additionalProperties", {})
                here = f"{path}.{name}" if known else f"{path}.*"
                yield here
                yield from used(inner, member, here)

    schema = schemas.load("config")
    found = {path for config in configs.configs() for path in used(schema, config, "")}
    assert set(paths(schema, "")) - found == set()


def test_same_verdict_and_words():
    count = valid = 0
    for config in configs.mutants():
        count += 1
        hot, cold = shape.walk(_checks.CONFIG, config), list(faults.schema_faults("config", config))
        valid += not cold
        assert bool(hot) == bool(cold), f"{hot} {cold} {config}"
        assert not hot or shape.explain(hot) in [one[:2] for one in cold], f"{shape.explain(hot)} {cold}"
    # Both verdicts, and often.
    assert valid > 3000
    assert count - valid > 15000


def test_process_alone():
    for config in configs.configs():
        process = config["process"]
        assert shape.walk(_checks.PROCESS, process) is None
        assert list(faults.schema_faults("process", process)) == []
    assert shape.explain(shape.walk(_checks.PROCESS, {"cwd": "/"})) == next(faults.schema_faults("process", {"cwd": "/"}))[:2]


@pytest.mark.parametrize(("pattern", "form"), schemas.FORMS.items(), ids=schemas.FORMS.values())
def test_forms_are_their_patterns(pattern, form):
    """Texts made of a seeded random mix of the characters that the patterns tell apart."""
    chance, compiled = random.Random(pattern), re.compile(pattern.replace("$", r"\Z"))
    texts = ["1.0.0", "1.2.3-rc.1+build-7.x", "1.10.0-0a", "1.0.0-01", "1.0.0-a..b", "1.0.0+", "1.0.0-", "01.0.0", "1.0", "2.0.0", "1.٣.0"]
    texts += ["2MB", "1GB", "64KB", "0KB", "1KB\n", "MB:0=1", "MB:\n", "", "/", "/\0"]
    for alphabet in ALPHABETS:
        texts += ["".join(chance.choices(alphabet, k=chance.randrange(12))) for _ in range(2000)]
        texts += ["1.0.0" + "".join(chance.choices(alphabet, k=chance.randrange(6))) for _ in range(2000)]
    verdicts = [shape.FORMS[form](text) for text in texts]
    assert [text for text, verdict in zip(texts, verdicts, strict=True) if verdict != bool(compiled.search(text))] == []
    assert True in verdicts
    assert False in verdicts


def test_null_counts_as_left_out():
    for config in configs.configs():
        for keys, value in configs.places(config):
            if not isinstance(value, dict):
                continue
            for name in [*value, "unknown"]:
                nulled = configs.changed(config, (*keys, name), configs.put(None))
                left_out = configs.changed(config, (*keys, name), lambda container, key: container.pop(key, None))
                hot = shape.walk(_checks.CONFIG, nulled)
                assert bool(hot) == bool(shape.walk(_checks.CONFIG, left_out))
                assert bool(hot) == bool(list(faults.schema_faults("config", nulled)))


def test_unknown_members_are_ignored():
    config = json.loads(json.dumps(configs.BASE | {"linux": {}}))
    for value in (config, config["root"], config["process"], config["linux"]):
        value["com.example.unknown"] = {"any": [None, 1.5, "thing"]}
    assert shape.walk(_checks.CONFIG, config) is None
    assert list(faults.schema_faults("config", config)) == []


@pytest.mark.parametrize(
    ("name", "value", "paths"),
    [
        ("state", {"ociVersion": "1.3.0", "id": "a", "status": "running", "pid": 5, "bundle": "/b", "annotations": {"a": "b"}}, []),
        ("state", {"ociVersion": "1.3.0", "id": "a", "status": "stopped", "bundle": "/b"}, []),
        ("state", {"ociVersion": "1.3.0", "id": "a", "status": "running", "bundle": "/b"}, ["pid"]),
        ("state", {"ociVersion": "1.3.0", "id": "a/b", "status": "gone", "pid": -1, "bundle": "b"}, ["id", "status", "pid", "bundle"]),
        ("features", {"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0", "hooks": None, "linux": {"seccomp": {"enabled": True}}}, []),
        ("features", {"ociVersionMin": "1.0.0", "linux": {"namespaces": ["net"]}}, ["ociVersionMax", "linux.namespaces[0]"]),
    ],
)
def test_state_and_features(name, value, paths):
    assert {path for path, *_ in faults.schema_faults(name, value)} == set(paths)
