"""Who observed: the node, as a device with a stable UID (PS3.16 TID 1002, 1004)."""

from __future__ import annotations

from highdicom import sr
from pydicom.sr.codedict import codes

from dicomnode.domain.dicom import MANUFACTURER, MODEL_NAME
from dicomnode.domain.job import derived_uid
from dicomnode.encode.series import Stamp


def device(stamp: Stamp) -> sr.ObserverContext:
    """Return the node as device observer; its UID depends on the node alone."""
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid(stamp.node_id, "node", "device"), name=MODEL_NAME, manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME, serial_number=str(stamp.node_id)))
