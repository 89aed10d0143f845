"""Which presentation contexts are proposed, and how many associations many files need."""

from __future__ import annotations

from pathlib import Path

from dicomnode.deliver.part10 import EXPLICIT_LE, IMPLICIT_LE, OutgoingFile
from dicomnode.deliver.scu import _batches, proposals_for


def file(sop_class: str, syntax: str = EXPLICIT_LE) -> OutgoingFile:
    return OutgoingFile(path=Path("x"), sop_class_uid=sop_class, sop_instance_uid="1.2.3", transfer_syntax_uid=syntax)


def test_each_class_is_proposed_as_it_lies_and_uncompressed_each_once():
    assert proposals_for([file("1.1"), file("1.1"), file("1.2", "1.2.840.10008.1.2.5")]) == (
        ("1.1", EXPLICIT_LE), ("1.1", IMPLICIT_LE),
        ("1.2", "1.2.840.10008.1.2.5"), ("1.2", EXPLICIT_LE), ("1.2", IMPLICIT_LE),
    )


def test_one_association_suffices_for_many_files_of_one_class():
    assert [len(batch) for batch in _batches(file("1.1") for _ in range(1000))] == [1000]


def test_no_association_proposes_more_than_128_contexts():
    files = [file(f"1.{n}") for n in range(150)]
    batches = list(_batches(files))
    assert [file for batch in batches for file in batch] == files
    assert [len(proposals_for(batch)) for batch in batches] == [128, 128, 44]


def test_no_files_need_no_association():
    assert list(_batches([])) == []
