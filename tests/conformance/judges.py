"""Other people's programs that judge objects: each gives lines about files; what no line is about is right."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from tests.live import need

JARS = ("pixelmed", "commons-codec", "slf4j-api")
JVM = ("-Djdk.xml.xpathTotalOpLimit=0", "-Djdk.xml.xpathExprOpLimit=0", "-Djdk.xml.xpathExprGrpLimit=0",
       "-Djava.awt.headless=true", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""PixelMed's XPaths pass Java's default limits; the rest makes a short run start sooner."""
ABSTRACTED = {"121071", "363698007", "121049"}
"""Finding, Finding Site, Language: PixelMed takes any; that ours are right is a rule of our own."""
HARMLESS = "VR checker does not support"
"""dcmtk 3.6.7 says of every file in ISO_IR 192 that it does not check its texts; it reads them all the same."""
PATIENCE_S = 1200


@dataclass(frozen=True, slots=True)
class Remark:
    """What a program says of one object, or of a whole case where ``kind`` is empty."""

    judge: str
    case: str
    kind: str
    line: str


def kind_of(path: Path) -> str:
    """Return the kind of object from its file's name."""
    return path.name.split(".")[1] if path.name.startswith("result") else ""


def dciodvfy(case: str, paths: Sequence[Path]) -> Iterator[Remark]:
    """Yield the errors of ``dciodvfy``: IODs, modules, enumerated values; warnings are its author's opinion."""
    program = need("dciodvfy", "dicom3tools")
    for path in paths:
        for line in _lines(program, str(path)):
            if line.startswith(("Error", "Abort")):
                yield Remark("dciodvfy", case, kind_of(path), line)


def dcentvfy(case: str, paths: Sequence[Path]) -> Iterator[Remark]:
    """Yield everything that ``dcentvfy`` says of sources and results together: one patient, one study."""
    program = need("dcentvfy", "dicom3tools")
    yield from (Remark("dcentvfy", case, "", line) for line in _lines(program, *map(str, paths)) if line.strip())


def dsrdump(case: str, paths: Sequence[Path]) -> Iterator[Remark]:
    """Yield what ``dsrdump`` cannot read of the reports among the files."""
    program = need("dsrdump", "dcmtk")
    for path in reports(paths):
        done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False,
                              timeout=PATIENCE_S)
        if done.returncode or "<CONTAINER:(,," not in done.stdout:
            said = [line for line in done.stderr.splitlines() if HARMLESS not in line]
            yield Remark("dsrdump", case, kind_of(path), " | ".join(said) or f"ended with {done.returncode}")


def pixelmed(cases: dict[Path, str]) -> list[Remark]:
    """Return the errors of PixelMed's validator of SR templates, all files in one Java machine.

    Of reports that differ only in names, numbers and places the smallest is judged: one takes it about a second.
    """
    folder = Path("/usr/share/java")
    need("javac", "default-jdk-headless")  # java compiles the one source file itself, if there is a compiler
    java = need("java", "default-jdk-headless")
    if not (folder / "pixelmed.jar").exists():
        pytest.skip("PixelMed is not installed: apt-get install libpixelmed-java")
    chosen = distinct(reports(list(cases)))
    done = subprocess.run(
        [java, *JVM, "-cp", ":".join(str(folder / f"{jar}.jar") for jar in JARS),
         str(Path(__file__).with_name("SrBatch.java")), *map(str, chosen)],
        capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE_S)
    assert done.stdout.count("### ") == len(chosen), done.stderr[-2000:]
    found, path = [], Path()
    for line in done.stdout.splitlines():
        if line.startswith("### "):
            path = Path(line.removeprefix("### "))
        elif line.startswith("Error"):
            found.append(Remark("PixelMed", cases[path], kind_of(path), line))
    return found


def reports(paths: Sequence[Path]) -> list[Path]:
    """Return the files that hold a structured report."""
    return [path for path in paths if kind_of(path) in {"SR3D", "SR", "TEXT", "KOS"}]


def distinct(paths: Sequence[Path]) -> list[Path]:
    """Return the smallest report of each shape."""
    best: dict[object, Path] = {}
    for path in sorted(paths, key=lambda one: (one.stat().st_size, one)):
        one = dcmread(path)
        best.setdefault((one.SOPClassUID, _shape(one)), path)
    return sorted(best.values())


def _shape(item: Dataset) -> object:
    """Return the tree of types, concepts and coded values of a content item; equal neighbours count once."""
    name = item.ConceptNameCodeSequence[0].CodeValue if item.get("ConceptNameCodeSequence") else ""
    coded = "ConceptCodeSequence" in item and name not in ABSTRACTED
    parts: list[object] = []
    for child in item.get("ContentSequence", []):
        shape = _shape(child)
        if not parts or parts[-1] != shape:
            parts.append(shape)
    template = item.ContentTemplateSequence[0].TemplateIdentifier if "ContentTemplateSequence" in item else ""
    unit = item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue \
        if item.get("MeasuredValueSequence") else ""
    return (item.get("ValueType"), item.get("RelationshipType"), name, template, unit,
            item.ConceptCodeSequence[0].CodeValue if coded else "", item.get("GraphicType"), tuple(parts))


def _lines(*command: str) -> list[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False,
                          timeout=PATIENCE_S, env=environment)
    return (done.stdout + done.stderr).splitlines()
