"""A bundle's config as plain data: JSON and YAML, macros, relative ids, the model file's changes, and their limits."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from dicomnode.errors import ModelFailed, ModelRefused
from dicomnode.infer.configs import changed, expanded, find, parsed, read_config

BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n".encode() for n in range(9))

MERGES = b"a0: &a0 {x: 1}\n" + b"".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n".encode() for n in range(1, 40))
WIDE_MERGE = b"a: &a {x: 1}\nb: {<<: [" + b"*a, " * 1000 + b"*a]}\n"


def test_yaml_and_json_say_the_same():
    text = "network_def:\n  _target_: UNet\n  channels: [4, 8]\nspacing: &mm [1.5, 1.5, 2.0]\nagain: *mm\n"
    spacing = [1.5, 1.5, 2.0]
    said = {"network_def": {"_target_": "UNet", "channels": [4, 8]}, "spacing": spacing, "again": spacing}
    assert read_config({"configs/inference.yaml": text.encode()}) == said
    assert read_config({"configs/inference.json": json.dumps(said).encode()}) == said


@pytest.mark.parametrize("text", [BOMB, MERGES, WIDE_MERGE, b"a: &a [*a]\n", b"{a: " + b"[" * 400 + b"]" * 400 + b"}"])
def test_a_config_that_writes_out_without_end_is_refused_before_it_does(text):
    with pytest.raises(ModelRefused, match="writes out"):
        parsed("configs/inference.yaml", text)


def test_a_deep_json_is_refused():
    with pytest.raises(ModelRefused, match="levels"):
        parsed("configs/inference.json", b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}")


def test_python_objects_in_yaml_are_refused_not_built(tmp_path):
    mark = tmp_path / "mark"
    text = f"a: !!python/object/apply:os.system ['touch {mark}']\n".encode()
    with pytest.raises(ModelFailed, match="not readable"):
        parsed("configs/inference.yaml", text)
    assert not mark.exists()


def test_macros_that_double_one_another_are_refused():
    config = {f"m{n}": [f"%m{n + 1}"] * 9 for n in range(9)} | {"m9": "end"}
    with pytest.raises(ModelRefused, match="writes out"):
        expanded(config, {})


def test_a_macro_that_leads_to_itself_is_refused():
    with pytest.raises(ModelRefused, match="levels"):
        expanded({"a": "%b", "b": "%a"}, {})


def test_a_macro_reads_another_config_file_of_the_bundle_from_memory():
    files = {"configs/common.json": b'{"size": [8, 8], "net": {"roi": "%size", "up": "%##size"}}'}
    config = {"a": "%common.json#net", "b": "%configs/common.json::size::1", "c": "%./configs/common.json"}
    got = expanded(config, files)
    assert got["a"] == {"roi": [8, 8], "up": [8, 8]}
    assert (got["b"], got["c"]["size"]) == (8, [8, 8])


@pytest.mark.parametrize("path", ["/etc/passwd.json", "../../etc/secret.yaml", "configs/../../x.json", "absent.json"])
def test_a_macro_to_a_file_outside_the_bundle_is_refused(path):
    with pytest.raises(ModelRefused, match="config files of the bundle itself"):
        expanded({"a": f"%{path}#key"}, {"configs/inference.json": b"{}"})


def test_a_path_is_found_from_the_root_and_from_configs_and_never_above():
    files = {"configs/a.json": b"", "b.json": b""}
    found = {path: find(files, path) for path in ("a.json", "configs/a.json", "x/../b.json", "/b.json", "../b.json")}
    assert list(found.values()) == ["configs/a.json", "configs/a.json", "b.json", None, None]


def test_a_macro_to_nowhere_says_where_it_stands():
    with pytest.raises(ModelFailed, match=r"b::0: macro %a::z leads nowhere"):
        expanded({"a": {"x": 1}, "b": ["%a#z"]}, {})


def test_the_model_file_replaces_adds_and_removes_ids():
    config = {"net": {"_target_": "UNet", "img_size": 96}, "steps": [1, 2, 3]}
    changed(config, {"net#channels": [4], "steps#0": 9, "inferer": {"_target_": "SimpleInferer"}},
            ["net#img_size", "steps::1"])
    assert config == {"net": {"_target_": "UNet", "channels": [4]}, "steps": [9, 3],
                      "inferer": {"_target_": "SimpleInferer"}}


@pytest.mark.parametrize(("overrides", "remove"), [
    ({"nothing#here": 1}, []), ({"steps#7": 1}, []), ({"steps#last": 1}, []), ({}, ["net#absent"]), ({}, ["steps#7"])])
def test_a_change_without_a_place_is_named(overrides, remove):
    with pytest.raises(ModelFailed, match="has no place"):
        changed({"net": {}, "steps": [1]}, overrides, remove)


KEYS = st.sampled_from(["a", "b", "c"])
LEAVES = st.one_of(st.integers(0, 9), st.sampled_from([
    "text", "@a", "@##b", "@#0", "$@a + 1", "$@#c * 2", "@a::b", "@a#0", "%a", "%b#c", "%#b", "%##a", "a#b"]))
NESTED = st.recursive(LEAVES, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)), max_leaves=8)
CONFIGS = st.dictionaries(KEYS, NESTED, min_size=1)


@given(config=CONFIGS)
def test_ids_and_macros_are_written_out_as_monai_does(config):
    """Where MONAI writes them out: a macro that stands in another macro's target it leaves as it is."""
    copy = json.loads(json.dumps(config))
    try:
        parser = ConfigParser(copy)
        parser.resolve_macro_and_relative_ids()
        expected = parser.get()
    except (KeyError, ValueError, IndexError, TypeError):
        return
    assume(not set("%#") & set(json.dumps(expected)))
    assert expanded(config, {}) == expected


def test_yaml_reads_numbers_as_monai_does(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1e-3\nb: 1.0e-3\nc: off\nd: 010\n", encoding="utf-8")
    assert parsed("x.yaml", path.read_bytes()) == ConfigParser.load_config_file(path)
