"""The summary page: what is burned in, what is not, and that it is a picture and no image to measure in."""

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.volume import Volume
from dicomnode.encode import picture
from dicomnode.encode.capture import encode_capture
from dicomnode.encode.lettering import columns, latin, legible, wide, wrapped
from dicomnode.encode.picture import tiles_of
from tests.builders import affine_lps, ct_series
from tests.findings import LUNG, NODULE, block, findings, parsed, provenance, stack_of, stamp

SHAPE = (9, 32, 32)
SPOT = block(SHAPE, slice(6, 8), slice(10, 14), slice(10, 16))


def a_case(values=0, **attributes: object):
    series = ct_series(np.zeros(SHAPE), **attributes)
    stack = stack_of(series)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 4:28, 4:28] = LUNG.value
    volume = Volume(values_zyx=np.full(SHAPE, values, np.int16), stack=stack, modality="CT")
    return findings(stack, mask, lesions=[SPOT]), {stack.series_uid: volume}, {stack.series_uid: series}


def test_the_page_is_rgb_says_that_text_is_burned_in_and_has_no_frame_of_reference():
    found, volumes, sources = a_case()
    result = parsed(encode_capture([found], volumes, sources, stamp()))
    assert result.PhotometricInterpretation == "RGB"
    assert list(result.ImageType) == ["DERIVED", "SECONDARY"]
    assert result.BurnedInAnnotation == "YES"
    assert "FrameOfReferenceUID" not in result
    assert result.SeriesDescription == "AI summary demo_chest - NOT VERIFIED"
    assert result.PatientName == sources[found.stack.series_uid][0].PatientName
    assert result.StudyDescription == "Phantom study"


def test_outlines_are_drawn_in_the_colours_of_the_model_file():
    found, volumes, sources = a_case()
    pixels = parsed(encode_capture([found], volumes, sources, stamp())).pixel_array.reshape(-1, 3)
    for label in (LUNG, NODULE):
        assert (pixels == label.colour_rgb).all(axis=1).sum() > 300


def test_nothing_about_the_patient_is_burned_in():
    somebody = a_case(PatientName="Somebody^Else", PatientID="4711", PatientBirthDate="19010101")
    one, other = (parsed(encode_capture([found], volumes, sources, stamp()))
                  for found, volumes, sources in (a_case(), somebody))
    assert one.PatientID != other.PatientID
    np.testing.assert_array_equal(one.pixel_array, other.pixel_array)


@pytest.fixture
def lettered(monkeypatch):
    """Every text that is drawn, in the order of drawing."""
    texts = []
    draw = picture.ImageDraw.ImageDraw.text

    def told(pen, place, text, **options: object):
        texts.append(text)
        return draw(pen, place, text, **options)

    monkeypatch.setattr(picture.ImageDraw.ImageDraw, "text", told)
    return texts


def test_the_page_names_warning_model_version_time_and_every_number(lettered):
    found, volumes, sources = a_case()
    encode_capture([found], volumes, sources, stamp())
    assert lettered[:2] == ["AI RESULT - NOT VERIFIED - RESEARCH USE ONLY", "demo_chest 1.2 - 2026-03-01 08:30 +0000"]
    assert lettered.count("AI - NOT VERIFIED") == lettered.count("image 7") + 1 == 3
    table = lettered[lettered.index("finding"):]
    assert table == ["finding", "side", "shown on", "diameter", "volume", "probability",
                     "Nodule 1", "left", "image 7", "6.5 mm", "0.25 ml", "0.90",
                     "structure", "volume", "Lung", f"{found.organs[0].measurements[0].value:.1f} mL"]


def test_a_slice_is_called_by_the_number_that_viewers_show(lettered):
    found, volumes, sources = a_case(InstanceNumber=lambda k: 109 - k)
    encode_capture([found], volumes, sources, stamp())
    assert "slice 7 of 9" not in lettered
    assert lettered.count("image 103") == 2, "below the picture and in the table"


@pytest.mark.parametrize("number", [None, 1], ids=["absent", "the same everywhere"])
def test_a_slice_without_a_number_of_its_own_is_counted_along_the_normal(lettered, number):
    found, volumes, sources = a_case(InstanceNumber=number)
    encode_capture([found], volumes, sources, stamp())
    assert lettered.count("slice 7 of 9") == 2


@pytest.mark.parametrize(("row", "column", "letters"), [
    ((1, 0, 0), (0, 1, 0), ["R", "A"]), ((-1, 0, 0), (0, -1, 0), ["L", "P"]), ((0, 1, 0), (0, 0, -1), ["A", "H"]),
], ids=["axial", "axial of a prone patient", "sagittal"])
def test_letters_say_which_side_of_the_patient_lies_left_and_on_top(lettered, row, column, letters):
    found, volumes, sources = a_case(affine=affine_lps(row=row, column=column))
    encode_capture([found], volumes, sources, stamp())
    spelt = [text for text in lettered if text in set("LRAPHF")]
    assert spelt == letters * (len(spelt) // 2)
    assert spelt


def test_pictures_of_findings_come_before_those_of_structures_whatever_the_model(lettered):
    found, volumes, sources = a_case()
    organs = replace(found, detections=(), lesion_zyx=None, provenance=provenance("organs"))
    encode_capture([organs, replace(found, segmentation=None)], volumes, sources, stamp())
    assert next(text for text in lettered if text.startswith("image")) == "image 7"


def test_a_structure_that_two_models_measured_is_told_with_its_model(lettered):
    found, volumes, sources = a_case()
    other = replace(found, detections=(), lesion_zyx=None, provenance=provenance("other"))
    encode_capture([found, other], volumes, sources, stamp())
    assert [text for text in lettered if text.startswith("Lung")] == ["Lung (demo_chest)", "Lung (other)"]


def test_every_text_on_the_page_comes_from_findings_and_models(lettered):
    found, volumes, sources = a_case(PatientName="Somebody^Else", PatientID="4711", PatientBirthDate="19010101",
                                     AccessionNumber="A-0815", InstitutionName="Ward 7", StudyDescription="Private")
    encode_capture([found], volumes, sources, stamp())
    told = " ".join(lettered)
    assert not [word for word in ("Somebody", "4711", "1901", "0815", "Ward", "Private") if word in told]


def test_names_that_the_font_has_no_letters_for_are_said_by_their_codes(lettered):
    found, volumes, sources = a_case()
    label = replace(NODULE, name="结节")
    chinese = replace(found, detections=tuple(replace(one, label=label, tracking_id=f"结节 {one.number}")
                                              for one in found.detections))
    encode_capture([chinese], volumes, sources, stamp(language="zh"))
    assert "Nodule 1" in lettered
    assert all(legible(text) for text in lettered)


def test_what_a_reader_must_know_stands_below_the_numbers(lettered):
    found, volumes, sources = a_case()
    noted = replace(found, warnings=("the series leans 12.0° (gantry tilt)", *(f"remark {n}" for n in range(6))))
    encode_capture([noted], volumes, sources, stamp())
    assert lettered[-5:] == ["Note: the series leans 12.0° (gantry tilt)", "Note: remark 0", "Note: remark 1",
                             "Note: remark 2", "More notes: see the report"]


def test_letters_that_the_font_lacks_are_never_drawn():
    assert latin("Müller 5 × 3 µm – 中") == "Muller 5 x 3 um - ?"
    assert legible("12.0° (a/b), [c] {1}")


def test_long_texts_are_broken_between_words_and_columns_leave_room():
    text = "one two three four five six seven eight nine ten"
    lines = list(wrapped(text, 120))
    assert " ".join(lines) == text
    assert all(wide(line) <= 120 for line in lines)
    first, second, _ = columns([["a", "b"], ["a long cell", "c"]], 10)
    assert (first, second) == (0, wide("a long cell") + 10)


def test_nothing_marked_gives_no_page():
    found, volumes, sources = a_case()
    empty = findings(found.stack, np.zeros(SHAPE, np.uint8))
    assert encode_capture([empty], volumes, sources, stamp()) is None


def test_slices_of_lesions_come_first_and_each_slice_once():
    found, volumes, _ = a_case()
    tiles = tiles_of(found, volumes[found.stack.series_uid])
    assert [tile.index for tile in tiles] == [6, 2, 3]


def test_a_lesion_known_only_by_its_box_is_outlined_too():
    found, volumes, _ = a_case()
    boxed = replace(found, segmentation=None, lesion_zyx=None)
    (tile,) = tiles_of(boxed, volumes[found.stack.series_uid])
    ((mask, colour, number),) = tile.marks
    np.testing.assert_array_equal(mask, SPOT[6])
    assert (colour, number) == (NODULE.colour_rgb, "1")


def test_the_page_is_the_same_bytes_again():
    one, other = (encode_capture([found], volumes, sources, stamp())
                  for found, volumes, sources in (a_case(), a_case()))
    assert one.payload == other.payload


def test_a_tall_voxel_is_drawn_tall():
    found, volumes, sources = a_case(affine=affine_lps(spacing_zyx_mm=(2, 3, 1)))
    pixels = parsed(encode_capture([found], volumes, sources, stamp())).pixel_array
    rows, columns = np.nonzero((pixels[:440] == LUNG.colour_rgb).all(axis=2))
    first = columns < 384 * 2
    inside = first & (columns >= 384)
    height, width = np.ptp(rows[inside]), np.ptp(columns[inside])
    assert abs(height / width - 3) < 0.15


def test_a_finding_of_two_models_stands_once_on_the_page():
    found, volumes, sources = a_case()
    twin = replace(found, provenance=provenance("detector"), segmentation=None, lesion_zyx=None, organs=(),
                   detections=(replace(found.detections[0], volume_ml=None, probability=0.75),))
    once = parsed(encode_capture([found], volumes, sources, stamp()))
    both = parsed(encode_capture([found, twin], volumes, sources, stamp()))
    assert both.Rows == once.Rows
    alone = parsed(encode_capture([twin], volumes, sources, stamp()))
    assert (alone.pixel_array.reshape(-1, 3) == NODULE.colour_rgb).all(axis=1).sum() > 100
