"""Model files → ModelFile."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.sr.codedict import codes

from dicomnode import config
from dicomnode.config.input_rules import NUMERIC
from dicomnode.config.model_rules import PROCEDURES
from dicomnode.domain.condition import Condition
from dicomnode.domain.dicom import Code
from dicomnode.domain.model import ModelFile, Range, SpacingLimits
from dicomnode.domain.study import INDEXED_KEYWORDS
from dicomnode.errors import ConfigError, ModelMissing

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / "config" / "model.example.toml").read_text(encoding="utf-8")


def model(text: str) -> ModelFile:
    return config.model_from_text(text, source="m.toml")


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        model(text)
    return caught.value.problems


def node(folder: Path, text: str = ""):
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, environ={})


def test_the_example_comes_out_as_written():
    example = model(EXAMPLE)
    assert example.procedure == Code(value="25045-6", scheme="LN", meaning="CT unspecified body region")
    assert example.inputs[0].slices == Range(min=20, max=2000)
    assert example.inputs[0].spacing_mm == SpacingLimits(
        max_between_slices=5.0, min_between_slices=0.3, max_in_plane=1.5, max_gap=10.0)
    assert example.inputs[0].prefer == {"SliceThickness": "thinnest", "ConvolutionKernel": "soft"}
    assert example.inputs[0].when == {"ImageType": ("ORIGINAL",)}
    assert example.limits.when == {"BodyPartExamined": ("CHEST", "THORAX"), "KVP": Condition(min=80, max=140)}
    assert example.limits.age_years == Range(min=18)
    assert example.labels[0].type.meaning == "Nodule"
    assert example.labels[0].colour_rgb == (240, 90, 70)
    assert example.runtime.overrides == {"inferer#overlap": 0.25}
    assert example.self_test is not None
    assert example.self_test.dice_at_least == {"Nodule": 0.8}


@pytest.mark.parametrize(("scheme", "value", "now"), [
    ("SCT", "123037004", "91723000"), ("SRT", "M-01000", "49755003"), ("SCT", "49755003", "49755003"),
    ("99X", "123037004", "123037004")])
def test_a_category_that_is_retired_is_replaced_by_what_took_its_place(scheme, value, now):
    was = f'category = {{ value = "{value}", scheme = "{scheme}"'
    met = re.sub(r'category = \{ value = "\d+", scheme = "SCT"', was, EXAMPLE)
    assert model(met).labels[0].category.value == now


@pytest.mark.parametrize(("written", "meant", "said"), [
    ("{ min = 70 }", Condition(min=70), "at least 70"),
    ("{ min = 80, max = 140, or_absent = true }", Condition(min=80, max=140, or_absent=True), "80 to 140, or absent"),
    ('{ any_of = "A", lacks = ["GD", "+C"] }', Condition(any_of=("A",), lacks=("GD", "+C")),
     "A and text without GD, +C"),
    ('{ contains = ["T1", "MPR"], present = true }', Condition(contains=("T1", "MPR"), present=True),
     "present and text with T1 or MPR"),
    ("{ present = false }", Condition(present=False), "absent"),
])
def test_a_condition_is_a_table(written, meant, said):
    found = model(EXAMPLE.replace("{ min = 80, max = 140 }", written)).limits.when["KVP"]
    assert found == meant
    assert str(found) == said


@pytest.mark.parametrize(("written", "said"), [
    ("{ mim = 70 }", "unknown key 'mim'; did you mean min?"),
    ('{ min = "70" }', "min: allowed are finite numbers"),
    ("{ min = nan }", "min: allowed are finite numbers"),
    ("{ min = 9, max = 8 }", "min = 9 lies above max = 8: nothing is within"),
    ("{ or_absent = true }", "a condition asks for nothing"),
    ("{ present = 1 }", "present: allowed are true and false"),
    ("{ present = false, min = 1 }", "present = false stands alone"),
    ("{ contains = [] }", "contains: allowed is a text, or a list of texts"),
])
def test_a_mistake_in_a_condition_is_said_with_its_place(written, said):
    (problem,) = problems(EXAMPLE.replace("{ min = 80, max = 140 }", written))
    assert problem.startswith("m.toml: [limits] KVP = {")
    assert said in problem


def test_a_wish_is_a_word_a_number_or_texts_in_order():
    prefer = model(EXAMPLE.replace('SliceThickness = "thinnest", ConvolutionKernel = "soft"',
                                   'SliceThickness = 1.25, ConvolutionKernel = ["B31", "B30"]')).inputs[0].prefer
    assert prefer == {"SliceThickness": 1.25, "ConvolutionKernel": ("B31", "B30")}
    (problem,) = problems(EXAMPLE.replace('ConvolutionKernel = "soft"', "ConvolutionKernel = []"))
    assert 'm.toml: [[inputs]] "ct": prefer.ConvolutionKernel = []: allowed are thinnest' in problem


def test_the_file_digest_is_that_of_the_text():
    assert model(EXAMPLE).file_digest == "sha256:" + hashlib.sha256(EXAMPLE.encode()).hexdigest()
    assert model(EXAMPLE + "\n# a comment").file_digest != model(EXAMPLE).file_digest


@pytest.mark.parametrize(("old", "new", "expected"), [
    ("sha256:0000", "sha512:0000",
     'm.toml: digest = "sha512:' + "0" * 64 + '": allowed is "sha256:" and 64 hexadecimal digits, '
     "as `dicomnode models verify` prints it"),
    ("value = 1 ", "value = 0 ", 'm.toml: [[labels]] "Nodule": value = 0: allowed are values above 0'),
    ("[240, 90, 70]", "[240, 90, 256]",
     'm.toml: [[labels]] "Nodule": colour_rgb[2] = 256: allowed are values up to 255'),
    ("[240, 90, 70]", "[240, 90]",
     'm.toml: [[labels]] "Nodule": colour_rgb = [240, 90]: at least 3 needed, 2 given'),
    ("slices = { min", "slices = { mim",
     'm.toml: [[inputs]] "ct": slices.mim: unknown key; did you mean min?'),
    ("SliceThickness =", "SliceThicknes =",
     ('m.toml: [[inputs]] "ct": prefer.SliceThicknes: not an attribute that the node keeps; '
     "did you mean SliceThickness?")),
    ("BodyPartExamined =", "BodyPart =",
     "m.toml: [limits] BodyPart: not an attribute that the node keeps; did you mean BodyPartExamined?"),
    ("Nodule = 0.8", "Nodul = 0.8", "m.toml: [self_test] dice_at_least.Nodul: there is no label of that name"),
    ('scheme = "SCT", meaning = "Nodule"', 'meaning = "Nodule"',
     'm.toml: [[labels]] "Nodule": type.scheme: this key is missing and has no default'),
])
def test_a_mistake_in_a_model_file_is_said_with_its_place(old, new, expected):
    assert old in EXAMPLE
    assert problems(EXAMPLE.replace(old, new)) == (expected,)


def test_the_first_input_gives_the_grid_and_cannot_be_absent():
    text = EXAMPLE.replace("# required = true ", "required = false ", 1)
    (found,) = problems(text)
    assert found.startswith("m.toml: [[inputs]] number 1: required = false: allowed is true")


def test_a_procedure_that_no_report_may_state_is_refused_with_those_that_it_may():
    (problem,) = problems(EXAMPLE.replace('"25045-6", scheme = "LN"', '"24590-2", scheme = "LN"', 1))
    assert 'procedure = "24590-2": allowed are the codes of CID 100: ' in problem
    assert "25045-6 (LN)" in problem


def test_the_procedures_are_those_of_the_standard():
    group = codes.cid100
    ours = {(getattr(group, name).scheme_designator, getattr(group, name).value) for name in group.concepts}
    assert ours == PROCEDURES


def test_a_label_value_that_stands_twice_is_refused():
    end = EXAMPLE.index("# How the bundle is run")
    label = EXAMPLE[EXAMPLE.index("[[labels]]"):end].replace('name = "Nodule"', 'name = "Other"')
    found = problems(EXAMPLE[:end] + label + EXAMPLE[end:])
    assert found == ("m.toml: [[labels]] value = 1: stands 2 times; each needs its own",)


def test_the_folder_beside_the_configuration_goes_before_models_dir(tmp_path):
    beside, below = tmp_path / "models", tmp_path / "bundles"
    for folder, use in ((beside, "beside"), (below, "below")):
        folder.mkdir()
        text = EXAMPLE.replace("Say here for whom and for what, and what it must not be used for.", use)
        (folder / "example.toml").write_text(text, encoding="utf-8")
    settings = node(tmp_path, '[node]\nmodels_dir = "bundles"\n')
    assert config.model_path("example", settings) == beside / "example.toml"
    assert config.load_model("example", settings).intended_use == "beside"
    (beside / "example.toml").unlink()
    assert config.load_model("example", settings).intended_use == "below"


@pytest.mark.parametrize("name", ["absent", "../node", "a/b", ""])
def test_a_name_without_a_model_file_is_missing_and_never_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelMissing, match="no model file at"):
        config.load_model(name, node(tmp_path))


def test_a_model_file_must_be_called_as_it_calls_itself(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "other.toml").write_text(EXAMPLE, encoding="utf-8")
    with pytest.raises(ConfigError, match=r'name = "example": allowed is "other"'):
        config.load_model("other", node(tmp_path))


def of_input(text: str) -> str:
    """The one thing that is wrong with an input that says this."""
    (problem,) = problems(EXAMPLE.replace(
        'prefer = { SliceThickness = "thinnest", ConvolutionKernel = "soft" }', text))
    return problem.removeprefix("m.toml: ")


def test_the_example_has_the_line_that_these_tests_replace():
    assert 'prefer = { SliceThickness = "thinnest", ConvolutionKernel = "soft" }' in EXAMPLE


@pytest.mark.parametrize(("text", "said"), [
    ('prefer = { SliceThickness = "thinest" }',
     ('[[inputs]] "ct": prefer.SliceThickness = "thinest": allowed are thinnest, thickest, most, present, absent, '
      "and a number to be near to; did you mean thinnest?")),
    ('prefer = { KVP = ["120", "low"] }', '[[inputs]] "ct": prefer.KVP = ["120", "low"]: allowed are thinnest'),
    ("prefer = { ConvolutionKernel = 3 }",
     '[[inputs]] "ct": prefer.ConvolutionKernel = 3: allowed are texts: the attribute is no number'),
    ('prefer = { BodyPartExamined = "most" }',
     '[[inputs]] "ct": prefer.BodyPartExamined = "most": allowed are texts, present and absent'),
    ('prefer = { SeriesDescription = "sharp" }',
     '[[inputs]] "ct": prefer.SeriesDescription = "sharp": allowed only of ConvolutionKernel and FilterType'),
    ('split_take = "last"', '[[inputs]] "ct": split_take = "last": allowed only beside split_by'),
])
def test_a_wish_that_no_series_can_meet_is_refused(text, said):
    assert of_input(text).startswith(said)


@pytest.mark.parametrize("wish", [
    'SliceThickness = "thickest"', "SliceThickness = 1.5", 'MagneticFieldStrength = ["3", "1.5"]',
    'InstanceNumber = "most"', 'EchoTime = "present"', 'ConvolutionKernel = ["B30f", "soft"]',
    'ImageType = "ORIGINAL"', 'ContrastBolusAgent = "absent"'])
def test_a_wish_that_a_series_can_meet_is_taken(wish):
    model(EXAMPLE.replace('prefer = { SliceThickness = "thinnest"', f"prefer = {{ {wish}").replace(
        ', ConvolutionKernel = "soft" }', " }"))


@pytest.mark.parametrize(("was", "now", "said"), [
    ("min_between_slices = 0.3", "min_between_slices = 7.0",
     '[[inputs]] "ct": spacing_mm.min_between_slices = 7: allowed are values up to max_between_slices = 5'),
    ("# tilt_deg = 0.0", "tilt_deg = 95.0", '[[inputs]] "ct": spacing_mm.tilt_deg = 95.0: allowed are values up to 45'),
    ("age_years = { min = 18 }", "age_years = { min = -3 }", "[limits] age_years.min = -3: allowed are 0 and above"),
    ("age_years = { min = 18 }", "age_years = { min = 18, max = 2 }",
     "[limits] age_years.min = 18: allowed are values up to max = 2; nothing is within"),
    ("slices = { min = 20, max = 2000 }", "slices = { min = 20, max = 2 }",
     '[[inputs]] "ct": slices.min = 20: allowed are values up to max = 2; nothing is within'),
    ("slices = { min = 20, max = 2000 }", "slices = { min = 0 }",
     '[[inputs]] "ct": slices.min = 0: allowed are 1 and above'),
])
def test_bounds_that_nothing_lies_within_are_refused(was, now, said):
    assert was in EXAMPLE
    (problem,) = problems(EXAMPLE.replace(was, now))
    assert problem.removeprefix("m.toml: ").startswith(said)


def test_the_attributes_whose_values_are_numbers_are_those_of_the_standard():
    numbers = {"DS", "FD", "FL", "IS", "SL", "SS", "UL", "US"}
    assert {keyword for keyword in INDEXED_KEYWORDS if dictionary_VR(keyword) in numbers} == NUMERIC
