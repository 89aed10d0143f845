"""Every key of every file stands in the examples with a comment, and in docs/configuration.md with its default."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path
from typing import get_type_hints

import pytest

from dicomnode import config
from dicomnode.config import model_schema, node_schema
from dicomnode.config.conditions import CONDITION_KEYS
from dicomnode.domain import audit, model, node, security, settings, study
from dicomnode.domain.condition import Condition
from dicomnode.route.prefer import LARGER, SMALLER, THERE

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
NODE_TOML = (ROOT / "config" / "node.toml").read_text(encoding="utf-8")
MODEL_TOML = (ROOT / "config" / "model.example.toml").read_text(encoding="utf-8")

COMMENTED_KEY = re.compile(r"^# ((?:[a-z][a-z0-9_]*) = .*|  .*|\])$", re.MULTILINE)

# heading in the docs → (example, path in the example, domain class, schema, keys of one that the other lacks)
SECTIONS = {
    "[node]": (NODE_TOML, ["node"], node.NodeSettings, node_schema.NodeTable, {"database_url_file"}),
    "[receive]": (NODE_TOML, ["receive"], node.ReceiveSettings, node_schema.ReceiveTable, set()),
    "[tls]": (NODE_TOML, ["tls"], security.TlsSettings, node_schema.TlsTable, set()),
    "[completion]": (NODE_TOML, ["completion"], node.CompletionSettings, node_schema.CompletionTable, set()),
    "[worker]": (NODE_TOML, ["worker"], node.WorkerSettings, node_schema.WorkerTable, set()),
    "[delivery]": (NODE_TOML, ["delivery"], node.DeliverySettings, node_schema.DeliveryTable, set()),
    "[retention]": (NODE_TOML, ["retention"], node.RetentionSettings, node_schema.RetentionTable, set()),
    "[web]": (NODE_TOML, ["web"], node.WebSettings, node_schema.WebTable, set()),
    "[log]": (NODE_TOML, ["log"], node.LogSettings, node_schema.LogTable, set()),
    "[audit]": (NODE_TOML, ["audit"], audit.AuditSettings, node_schema.AuditTable, set()),
    "[peers.NAME]": (NODE_TOML, ["peers", "pacs"], node.Peer, node_schema.PeerTable, {"name"}),
    "[[routes]]": (NODE_TOML, ["routes", 0], node.Route, node_schema.RouteTable, set()),
    "Top level": (MODEL_TOML, [], model.ModelFile, model_schema.ModelTable, {"file_digest"}),
    "[[inputs]]": (MODEL_TOML, ["inputs", 0], model.InputRole, model_schema.InputTable, set()),
    "[inputs.spacing_mm]": (
        MODEL_TOML, ["inputs", 0, "spacing_mm"], model.SpacingLimits, model_schema.SpacingTable, set()),
    "[[labels]]": (MODEL_TOML, ["labels", 0], model.Label, model_schema.LabelTable, set()),
    "[[classes]]": (MODEL_TOML, ["classes", 0], settings.ClassLabel, model_schema.ClassTable, set()),
    "[classification]": (
        MODEL_TOML, ["classification"], settings.ClassificationSettings, model_schema.ClassificationTable, set()),
    "[detection]": (MODEL_TOML, ["detection"], settings.DetectionSettings, model_schema.DetectionTable, set()),
    "[limits]": (MODEL_TOML, ["limits"], model.Limits, model_schema.LimitsTable, set()),
    "[quality]": (MODEL_TOML, ["quality"], settings.QualitySettings, model_schema.QualityTable, set()),
    "[runtime]": (MODEL_TOML, ["runtime"], model.Runtime, model_schema.RuntimeTable, set()),
    "[outputs]": (MODEL_TOML, ["outputs"], settings.Outputs, model_schema.OutputsTable, set()),
    "[self_test]": (MODEL_TOML, ["self_test"], settings.SelfTest, model_schema.SelfTestTable, set()),
}
sections = pytest.mark.parametrize("heading", SECTIONS)


def documented(heading: str) -> dict[str, str]:
    """The key → default column of one section's table."""
    body = DOCS.split(f"\n### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+?) \| \S.* \|$", body, re.MULTILINE)
    return dict(rows)


def with_every_key(text: str) -> dict:
    return tomllib.loads(COMMENTED_KEY.sub(lambda match: match[1], text))


def at(tables, path):
    for part in path:
        tables = tables[part]
    return tables


def fields(kind) -> dict[str, dataclasses.Field]:
    return {field.name.rstrip("_"): field for field in dataclasses.fields(kind)}


def default_of(field: dataclasses.Field) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else dataclasses.MISSING


@sections
def test_the_schema_has_the_keys_of_the_domain_class(heading):
    _, _, kind, schema, apart = SECTIONS[heading]
    assert set(get_type_hints(schema)) ^ set(fields(kind)) == apart


@sections
def test_every_key_is_documented_and_no_other(heading):
    _, _, _, schema, _ = SECTIONS[heading]
    assert set(documented(heading)) == set(get_type_hints(schema))


@sections
def test_the_documented_default_is_the_default(heading):
    _, _, kind, _, _ = SECTIONS[heading]
    for key, text in documented(heading).items():
        default = default_of(fields(kind)[key]) if key in fields(kind) else None
        if default is dataclasses.MISSING:
            assert text == "required", key
        elif default is None or (dataclasses.is_dataclass(default) and default == type(default)()):
            assert text in {"none", "any"}, key
        elif key == "sop_classes":
            assert len(default) == len(text.split(", ")), key
        else:
            assert text == f"`{written(default)}`", key


def written(value: object) -> str:
    if isinstance(value, model.Range):
        return "{ " + ", ".join(f"{k} = {v:g}" for k, v in dataclasses.asdict(value).items() if v is not None) + " }"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


@sections
def test_every_key_stands_in_the_example(heading):
    example, path, _, schema, _ = SECTIONS[heading]
    missing = set(get_type_hints(schema)) - set(at(with_every_key(example), path)) - {"when" * (heading == "[limits]")}
    assert not missing


@sections
def test_a_commented_key_of_the_example_shows_its_default(heading):
    example, path, kind, _schema, _ = SECTIONS[heading]
    try:
        given = at(tomllib.loads(example), path)
    except KeyError:
        given = {}
    for key, value in at(with_every_key(example), path).items():
        if key in given or key not in fields(kind) or key == "sop_classes":
            continue
        default = default_of(fields(kind)[key])
        if default is None and key != "quiet_s":
            continue
        plain = json.loads(json.dumps(default, default=str))
        assert value == (node.CompletionSettings().quiet_s if key == "quiet_s" else plain), key


@pytest.mark.parametrize("text", [NODE_TOML, MODEL_TOML], ids=["node.toml", "model.example.toml"])
def test_every_key_of_the_example_has_a_comment(text):
    lines = [line for line in text.splitlines() if re.match(r"^(# )?[A-Za-z_]+ = ", line)]
    assert len(lines) > 20
    assert [line for line in lines if not re.search(r"\S +# \S", line.removeprefix("# "))] == []


def test_every_kept_attribute_is_listed():
    listed = DOCS.split("may use only these:", 1)[1]
    assert re.findall(r"`([A-Za-z]+)`", listed) == list(study.INDEXED_KEYWORDS)


@pytest.mark.parametrize("text", [NODE_TOML, COMMENTED_KEY.sub(lambda match: match[1], NODE_TOML)],
                         ids=["as it is", "every key"])
def test_the_example_node_file_loads(tmp_path, text):
    folder = tmp_path / "config"
    (folder / "models").mkdir(parents=True)
    for name in ("demo_chest", "demo_nodule"):
        model_text = MODEL_TOML.replace('name = "example" ', f'name = "{name}" ')
        (folder / "models" / f"{name}.toml").write_text(model_text, encoding="utf-8")
    (folder / "node.toml").write_text(re.sub(r"^database_url_file.*$", "", text, flags=re.MULTILINE), encoding="utf-8")
    settings = config.load(folder / "node.toml", environ={})
    assert settings.node.models_dir == tmp_path / "models"
    assert settings.receive == node.ReceiveSettings()
    assert settings.delivery == node.DeliverySettings()
    assert settings.routes[0].when == {"Modality": ("CT",), "BodyPartExamined": ("CHEST", "THORAX")}


def test_the_example_model_file_loads_with_every_key():
    text = COMMENTED_KEY.sub(lambda match: match[1], MODEL_TOML)
    assert config.model_from_text(text, source="example").name == "example"
    assert dataclasses.replace(config.model_from_text(text, source="example"), file_digest="") \
        == dataclasses.replace(config.model_from_text(MODEL_TOML, source="example"), file_digest="")


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "models").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_model_file_loads_and_is_called_as_it_calls_itself(path):
    assert config.model_from_text(path.read_text(encoding="utf-8"), source=path.name).name == path.stem


def test_the_orthanc_example_speaks_of_the_node_of_the_example():
    orthanc = json.loads((ROOT / "config" / "orthanc" / "orthanc.json").read_text(encoding="utf-8"))
    example = tomllib.loads(NODE_TOML)
    assert orthanc["DicomModalities"]["dicomnode"]["AET"] == example["node"]["ae_title"]
    assert orthanc["DicomModalities"]["dicomnode"]["Port"] == node.NodeSettings().port
    assert orthanc["DicomAet"] == example["peers"]["pacs"]["ae_title"]
    assert orthanc["DicomPort"] == example["peers"]["pacs"]["port"]


def test_every_part_of_a_condition_and_every_wish_is_documented():
    conditions = DOCS.split("\n## Conditions\n", 1)[1].split("\n## ", 1)[0]
    rows = [key for row in re.findall(r"^\| (`[a-z_`, ]+`) \|", conditions, re.MULTILINE)
            for key in re.findall("[a-z_]+", row)]
    assert rows == [field.name for field in dataclasses.fields(Condition)] == list(CONDITION_KEYS)
    wishes = DOCS.split("\n## Choosing a series\n", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r'^\| `"([a-z]+)"', wishes, re.MULTILINE)) | set(
        re.findall(r', `"([a-z]+)"` \|', wishes)) == SMALLER | LARGER | THERE | {"soft", "sharp"}
