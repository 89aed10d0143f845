"""What a request for storage commitment carries."""

from __future__ import annotations

from io import BytesIO

import pytest
from pynetdicom.dsutils import decode

from dicomnode.deliver.commit import encoded_request
from dicomnode.domain.dicom import CT_IMAGE_STORAGE, SEGMENTATION_STORAGE, InstanceRef


@pytest.mark.parametrize("implicit_vr", [True, False])
def test_a_request_names_its_transaction_and_every_instance_in_order(implicit_vr):
    refs = [InstanceRef(sop_class_uid=SEGMENTATION_STORAGE, sop_instance_uid="1.2.3"),
            InstanceRef(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid="1.2.4")]
    request = decode(BytesIO(encoded_request("1.2.99", refs, implicit_vr=implicit_vr)), implicit_vr, True)  # noqa: FBT003
    assert request.TransactionUID == "1.2.99"
    assert [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence] \
        == [(SEGMENTATION_STORAGE, "1.2.3"), (CT_IMAGE_STORAGE, "1.2.4")]
