from __future__ import annotations

import pytest
from pydicom import dcmread

from dicomnode.domain.model import InputRole
from dicomnode.errors import UndecodableText
from dicomnode.read import header
from dicomnode.read.charset import decode, text_values
from dicomnode.read.part10 import parse
from dicomnode.read.series import load, load_headers
from tests.builders import ct_series, mr_series, write_file, write_series
from tests.shared import dicom_files, shared_data

NAMES_BY_FILE = {
    "chrH31.dcm": "Yamada^Tarou=山田^太郎=やまだ^たろう", "chrX1.dcm": "Wang^XiaoDong=王^小東",
    "chrX2.dcm": "Wang^XiaoDong=王^小东", "chrGB2312.dcm": "Zhang^XiaoDong=张^小东",
    "chrI2.dcm": "Hong^Gildong=洪^吉洞=홍^길동",
    "chrH32.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "chrKoreanMulti.dcm": "김희중", "chrGerm.dcm": "Äneas^Rüdiger",
    "chrRuss.dcm": "Люкceмбypг", "chrArab.dcm": "قباني^لنزار",
    "chrHbrw.dcm": "שרון^דבורה", "SCSX2": "Wang^XiaoDong=王^小东",
    "Lena-tis-620.dcm": "Test-๛", "Lena-latin4.dcm": "Test-éüäöķ", "Lena-greek.dcm": "Test-Θ",
}
HU = [[[0] * 8] * 8] * 3


def raw_name(path, raw: bytes, terms: str | None):
    """Write a CT whose PatientName has exactly these bytes."""
    write_file(path, ct_series(HU, PatientName="N" * len(raw), SpecificCharacterSet=terms)[0])
    path.write_bytes(path.read_bytes().replace(b"N" * len(raw), raw))
    return path


@pytest.mark.parametrize(("terms", "raw", "name"), [
    ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
    ("ISO_IR 192", "王^小东".encode(), "王^小东"),
    ("GBK", "張^喆昞".encode("gbk"), "張^喆昞"),
    ("ISO_IR 100", "Buc^Jérôme".encode("latin-1"), "Buc^Jérôme"),
])
def test_a_name_is_read_and_written_as_its_character_set_says(tmp_path, terms, raw, name):
    path = raw_name(tmp_path / "a.dcm", raw + b" " * (len(raw) % 2), terms)
    assert header.record(path).attributes["PatientName"] == (name,)
    source = load([path], InputRole(role="ct")).sources[0]
    source.save_as(tmp_path / "again.dcm", enforce_file_format=True)
    assert str(dcmread(tmp_path / "again.dcm").PatientName) == name
    assert source.SpecificCharacterSet == "ISO_IR 192"


def test_no_character_set_and_no_fallback_holds_the_study_and_keeps_the_bytes(tmp_path):
    path = raw_name(tmp_path / "a.dcm", "王^小东X".encode("gb18030"), None)
    with pytest.raises(UndecodableText, match=r"PatientName cannot be read.*absent.*charset_fallback"):
        load([path], InputRole(role="ct"))
    assert header.record(path).attributes["PatientName"] == (r"\xcd\xf5^\xd0\xa1\xb6\xabX",)


def test_no_character_set_is_read_by_the_configured_fallback(tmp_path):
    path = raw_name(tmp_path / "a.dcm", "王^小东X".encode("gb18030"), None)
    assert header.record(path, charset_fallback="GB18030").attributes["PatientName"] == ("王^小东X",)
    loaded = load([path], InputRole(role="ct"), charset_fallback="GB18030")
    assert str(loaded.sources[0].PatientName) == "王^小东X"


def test_a_report_on_an_unreadable_name_goes_out_without_it(tmp_path):
    path = raw_name(tmp_path / "a.dcm", "王^小东X".encode("gb18030"), None)
    (source,) = load_headers([path])
    assert str(source.PatientName) == ""
    assert source.PatientID == "PHANTOM-1"


def test_bytes_that_are_not_of_the_declared_set_hold_the_study(tmp_path):
    path = raw_name(tmp_path / "a.dcm", b"\xff\xfe^\xff\xfe\xff", "ISO_IR 192")
    with pytest.raises(UndecodableText, match="correct it at the sender: charset_fallback stands only where no known"):
        load([path], InputRole(role="ct"), charset_fallback="GB18030")


@pytest.mark.parametrize(("written", "term"), [
    ("ISO-IR 192", "ISO_IR 192"), ("iso_ir_192", "ISO_IR 192"), ("GB 18030", "GB18030"), ("gbk", "GBK"),
    ("ISO IR 100", "ISO_IR 100")])
def test_a_term_that_is_misspelt_is_read_as_the_one_it_can_mean_and_noted(tmp_path, written, term):
    name = "Jérôme^XX" if term == "ISO_IR 100" else "王^小东X"
    raw = name.encode({"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}.get(term, "latin-1"))
    path = raw_name(tmp_path / "a.dcm", raw + b" " * (len(raw) % 2), written)
    assert header.record(path).attributes["PatientName"] == (name,)
    loaded = load([path], InputRole(role="ct"), charset_fallback="ISO_IR 13")
    assert str(loaded.sources[0].PatientName) == name
    assert loaded.notes == (f"SpecificCharacterSet is misspelt: read as {term}",)


def test_the_sites_word_stands_for_a_set_that_nobody_knows(tmp_path):
    path = raw_name(tmp_path / "a.dcm", "王^小东X".encode("gb18030"), "CHINESE")
    with pytest.raises(UndecodableText, match="set charset_fallback"):
        load([path], InputRole(role="ct"))
    assert str(load([path], InputRole(role="ct"), charset_fallback="GB18030").sources[0].PatientName) == "王^小东X"


def test_an_unreadable_description_is_emptied_and_said_so(tmp_path):
    path = write_file(tmp_path / "a.dcm", ct_series(HU, StudyDescription="XXXXXXXX")[0])
    path.write_bytes(path.read_bytes().replace(b"XXXXXXXX", b"T\xe4tigkei"))
    loaded = load([path], InputRole(role="ct"))
    assert not loaded.sources[0].StudyDescription
    assert loaded.notes == ("StudyDescription is not of its character set: left empty",)


def test_text_inside_sequences_follows_the_same_set(tmp_path):
    built = mr_series(HU, PatientName="王^小东", SpecificCharacterSet="GB18030")
    for image in built:
        item = ct_series(HU)[0].__class__()
        item.RequestedProcedureDescription = "头部"
        image.RequestAttributesSequence = [item]
    loaded = load(write_series(tmp_path, built), InputRole(role="t1", modality="MR"))
    assert loaded.sources[0].RequestAttributesSequence[0].RequestedProcedureDescription == "头部"


@pytest.mark.parametrize(("raw", "terms", "text"), [
    (b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", ("", "ISO 2022 IR 58"), "Zhang=张^小东"),
    (b"Zhang=\xd5\xc5^\xd0\xa1\xb6\xab", ("", "ISO 2022 IR 58"), "Zhang=张^小东"),
    (b"\x1b$)A\x86\xb4", ("", "ISO 2022 IR 58"), "喆"),
    (b"\x1b$B;3ED\x1b(B^x", ("", "ISO 2022 IR 87"), "山田^x"),
    (b"\xd4\xcf", ("ISO 2022 IR 13", "ISO 2022 IR 87"), "ﾔﾏ"),
    (b"plain", (), "plain"),
])
def test_code_extensions_are_read(raw, terms, text):
    assert decode(raw, terms) == text


@pytest.mark.parametrize(("raw", "terms", "fallback"), [
    (b"\xd5\xc5", (), ""), (b"\xd5\xc5", ("ISO_IR 6",), ""), (b"\xd5\xc5", ("KLINGON",), ""),
    (b"\xd5\xc5", (), "KLINGON"), (b"\x1b!x\xd5", ("", "ISO 2022 IR 58"), ""), (b"\xff", ("GB18030",), ""),
])
def test_what_no_set_explains_is_an_error_not_a_guess(raw, terms, fallback):
    with pytest.raises(UnicodeError):
        decode(raw, terms, fallback=fallback)


@pytest.mark.parametrize(("file", "name"), NAMES_BY_FILE.items())
def test_names_of_real_files_are_read(file, name):
    (path,) = (path for path in dicom_files(shared_data("dicom_charsets")) if path.name == file)
    assert text_values(parse(path).header, "PatientName") == (name,)
