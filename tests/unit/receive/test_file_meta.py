from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.filewriter import dcmwrite

from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.receive.file_meta import head
from tests.builders import dataset


@pytest.mark.parametrize("sop_instance_uid", ["1.2.3.4", "1.2.3.45"])
@pytest.mark.parametrize("calling", ["CT", "SCANNER_3"])
def test_an_independent_reader_finds_every_element_and_the_data_set_behind(sop_instance_uid: str, calling: str):
    body = BytesIO()
    dcmwrite(body, dataset(PatientID="1"), implicit_vr=False, little_endian=True)
    written = head(sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid=sop_instance_uid,
                   transfer_syntax_uid="1.2.840.10008.1.2.1", calling=calling, called="DICOMNODE")
    read = dcmread(BytesIO(written + body.getvalue()))
    meta = read.file_meta
    assert read.PatientID == "1"
    assert meta.FileMetaInformationGroupLength == len(written) - 144
    assert meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert meta.MediaStorageSOPInstanceUID == sop_instance_uid
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert (meta.SourceApplicationEntityTitle, meta.SendingApplicationEntityTitle) == (calling, calling)
    assert meta.ReceivingApplicationEntityTitle == "DICOMNODE"
    assert meta.FileMetaInformationVersion == b"\0\1"
