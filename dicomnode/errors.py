"""Every error that crosses a room's door.

The class says the rule and the verdict; the message says what, where, the value met,
what is allowed and what to do next::

    DicomNodeError
    ├─ ConfigError                   FAIL   exit 78
    ├─ RefusedInstance               FAIL   exit 65   carries the DIMSE status (PS3.4 Table B.2-1, PS3.7 Annex C)
    │  ├─ OutOfResources             0xA700
    │  ├─ Mismatch                   0xA900
    │  ├─ NotOurSopClass             0x0122
    │  ├─ NotAuthorized              0x0124
    │  ├─ CannotUnderstand           0xC000
    │  └─ ProcessingFailure 0x0110 · NoSuchInstance 0x0112 · NoSuchAction 0x0123 · ResourceLimitation 0x0213
    ├─ UnusableInput                 FAIL   exit 65   the study is not analysed, and this is why
    │  ├─ NoSuitableSeries · MissingSlices · IrregularSpacing · GantryTilt · MixedOrientation
    │  ├─ DuplicatePositions · MixedPixelSpacing · MixedMatrix · MissingGeometry · MissingRescale
    │  ├─ UndecodablePixels · ConflictingInstances · OutsideIntendedUse · MixedFrameOfReference
    │  ├─ UndecodableText · UnusableAnnotation · PoorPixels · UnalignedInputs · TooLarge
    │  └─ MixedPatients
    ├─ UnusableDataset               FAIL   exit 65   carries every problem found
    ├─ UnusableCheckpoint            FAIL   exit 65
    ├─ TrainingDiverged              FAIL   exit 70   names the cases of the step
    ├─ UnusableBundle                FAIL   exit 65   a bundle that is not taken in
    ├─ HubUnavailable                FAIL   exit 69   a bundle could not be fetched
    ├─ InferenceError                RETRY  exit 70
    │  ├─ GpuOutOfMemory RETRY · ModelTimeout RETRY · ModelProcessDied RETRY
    │  └─ ModelMissing FAIL · ModelChanged FAIL · ModelRefused FAIL · ModelFailed FAIL
    ├─ EncodingError                 FAIL   exit 70   our fault; the input is kept
    ├─ UnforeseenFailure             FAIL   exit 70   our fault; the input is kept
    ├─ DeliveryError                        exit 69
    │  ├─ PeerUnreachable RETRY · TlsFailed RETRY · PeerBusy RETRY · AssociationRejectedTransient RETRY
    │  └─ AssociationRejectedPermanent FAIL · PeerRefused FAIL
    ├─ SpoolError
    │  └─ SpoolFull RETRY · SpoolUnavailable RETRY   exit 74, spends no budget
    ├─ LedgerUnavailable             RETRY  exit 69, spends no budget
    └─ ClaimLost                     STOP   somebody else owns the work now

A foreign library's exception ends at its room's door as one of these.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_BAD_DATA = 65
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70
EXIT_IO = 74
EXIT_CONFIG = 78


class Verdict(Enum):
    """What the conductor does with the work that met an error."""

    RETRY = "retry"  # try again later, within the work's budget
    FAIL = "fail"  # trying again cannot help
    STOP = "stop"  # somebody else owns the work: leave it alone


class DicomNodeError(Exception):
    """The root: catch it only where the outcome is written down."""

    verdict: ClassVar[Verdict] = Verdict.FAIL
    exit_code: ClassVar[int] = EXIT_INTERNAL
    spends_budget: ClassVar[bool] = True

    @property
    def reason(self) -> str:
        """The class and the message in one line, as events, reports and the terminal show it."""
        return f"{type(self).__name__}: {self}"


class ConfigError(DicomNodeError):
    """The configuration cannot be used; carries every problem found, not the first.

    Parameters
    ----------
    problems:
        One line each: file, key path, value met, what is allowed.
    """

    exit_code = EXIT_CONFIG

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RefusedInstance(DicomNodeError):
    """An instance was not accepted; the sender got ``status`` (PS3.4 Table B.2-1)."""

    exit_code = EXIT_BAD_DATA
    status: ClassVar[int] = 0xC000


class OutOfResources(RefusedInstance):
    """The node cannot store the instance now: disk floor reached (0xA700)."""

    status = 0xA700
    verdict = Verdict.RETRY


class Mismatch(RefusedInstance):
    """Data set and command disagree on SOP Class or SOP Instance UID (0xA900)."""

    status = 0xA900


class NotOurSopClass(RefusedInstance):
    """The SOP Class is not one this node stores (0x0122)."""

    status = 0x0122


class NotAuthorized(RefusedInstance):
    """The peer may not send this (0x0124)."""

    status = 0x0124


class CannotUnderstand(RefusedInstance):
    """The data set cannot be parsed or lacks an identifying UID (0xC000)."""

    status = 0xC000


class ProcessingFailure(RefusedInstance):
    """A request that is no C-STORE cannot be read (0x0110, PS3.7 C.5)."""

    status = 0x0110


class NoSuchInstance(RefusedInstance):
    """A request names a SOP Instance that it may not name (0x0112, PS3.7 C.5)."""

    status = 0x0112


class NoSuchAction(RefusedInstance):
    """An N-ACTION asks for another action than the SOP Class knows (0x0123, PS3.7 C.5)."""

    status = 0x0123


class ResourceLimitation(RefusedInstance):
    """A request that is no C-STORE cannot be kept now: the spool is full or away (0x0213, PS3.7 C.5)."""

    status = 0x0213
    verdict = Verdict.RETRY


class UnusableInput(DicomNodeError):
    """The study cannot be analysed, and the message says why."""

    exit_code = EXIT_BAD_DATA


class NoSuitableSeries(UnusableInput):
    """No series of the study satisfies the model's input declaration."""


class MissingSlices(UnusableInput):
    """A gap in the stack: at least one slice did not arrive."""


class IrregularSpacing(UnusableInput):
    """The distance between slices varies beyond the model's declared tolerance."""


class GantryTilt(UnusableInput):
    """The stack is sheared: slice positions do not lie along the slice normal."""


class MixedOrientation(UnusableInput):
    """The series holds more than one image orientation."""


class DuplicatePositions(UnusableInput):
    """Two slices claim the same place: several phases or acquisitions in one series."""


class MixedPixelSpacing(UnusableInput):
    """The series holds more than one in-plane pixel spacing."""


class MixedMatrix(UnusableInput):
    """The series holds more than one Rows × Columns."""


class MixedFrameOfReference(UnusableInput):
    """The images do not share one Frame of Reference UID."""


class MissingGeometry(UnusableInput):
    """Position, orientation, spacing or frame of reference is absent."""


class MissingRescale(UnusableInput):
    """CT without Rescale Slope and Intercept: values cannot be read as HU."""


class UndecodablePixels(UnusableInput):
    """The pixel data are damaged, or no decoder for their transfer syntax is installed."""


class TooLarge(UnusableInput):
    """The images claim more pixels than the node decodes, or than were sent: nothing of them was decoded."""


class UndecodableText(UnusableInput):
    """The patient's name or identifier cannot be read: no character set is declared, or the bytes are not of it."""


class UnusableAnnotation(UnusableInput):
    """A segmentation, contour, report or mask cannot be read, or not be laid on the images."""


class PoorPixels(UnusableInput):
    """The pixels fail a quality check that the model file refuses: constant, repeated or saturated slices, no HU."""


class UnalignedInputs(UnusableInput):
    """The inputs of one model do not lie on each other: other grids than the model takes, or no place in common."""


class ConflictingInstances(UnusableInput):
    """One SOP Instance UID arrived with different pixels or geometry."""


class MixedPatients(UnusableInput):
    """The images of one analysis are of more than one patient."""


class OutsideIntendedUse(UnusableInput):
    """The study lies outside the limits for which the model was validated."""


class MissingInput(UnusableInput):
    """The images of the study are no longer in the store."""


class UnusableDataset(DicomNodeError):
    """A data set for training cannot be made or used; carries every problem found, not the first.

    Parameters
    ----------
    problems:
        One line each: file or case, value met, what is allowed.
    """

    exit_code = EXIT_BAD_DATA

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class UnusableCheckpoint(DicomNodeError):
    """A training cannot go on from its checkpoint: unreadable, or made by another training."""

    exit_code = EXIT_BAD_DATA


class TrainingDiverged(DicomNodeError):
    """A loss or a gradient is no number any more; the last good checkpoint is kept."""


class UnforeseenFailure(DicomNodeError):
    """Our fault: a foreign exception reached a conductor; the input is kept."""


class UnusableBundle(DicomNodeError):
    """A zip or folder is no bundle that this node takes in; nothing was added."""

    exit_code = EXIT_BAD_DATA


class HubUnavailable(DicomNodeError):
    """A bundle could not be fetched: the hub or mirror did not answer, does not have it, or sent something else."""

    exit_code = EXIT_UNAVAILABLE


class InferenceError(DicomNodeError):
    """The model did not give a result."""

    verdict = Verdict.RETRY


class GpuOutOfMemory(InferenceError):
    """Memory did not suffice even after every fallback."""


class ModelTimeout(InferenceError):
    """The model passed its time limit and was killed."""


class ModelProcessDied(InferenceError):
    """The model's child process ended without an answer."""


class ModelMissing(InferenceError):
    """The model file or its bundle is not there."""

    verdict = Verdict.FAIL
    exit_code = EXIT_CONFIG


class ModelChanged(InferenceError):
    """The bundle's digest is not the pinned one: nothing of it was loaded."""

    verdict = Verdict.FAIL
    exit_code = EXIT_CONFIG


class ModelRefused(InferenceError):
    """The bundle asks for classes or expressions that are not allowed."""

    verdict = Verdict.FAIL
    exit_code = EXIT_CONFIG


class ModelFailed(InferenceError):
    """The bundle raised, or its output is not what the model file declares."""

    verdict = Verdict.FAIL


class EncodingError(DicomNodeError):
    """A result could not be encoded: our fault; the input is kept."""


class DeliveryError(DicomNodeError):
    """A result did not reach its peer.

    Parameters
    ----------
    status:
        The DIMSE status, or None where none was received.
    """

    exit_code = EXIT_UNAVAILABLE

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class PeerUnreachable(DeliveryError):
    """No TCP connection, no answer, or the association broke."""

    verdict = Verdict.RETRY


class TlsFailed(DeliveryError):
    """One side does not accept the other's certificate, or no version or cipher suite of TLS is shared.

    Certificates expire and are renewed: the delivery waits for that, within its age.
    """

    verdict = Verdict.RETRY


class PeerBusy(DeliveryError):
    """The peer is out of resources (0xA7xx): back-pressure, spends no budget."""

    verdict = Verdict.RETRY
    spends_budget = False


class AssociationRejectedTransient(DeliveryError):
    """A-ASSOCIATE-RJ, result 2 (PS3.8 Table 9-21)."""

    verdict = Verdict.RETRY


class AssociationRejectedPermanent(DeliveryError):
    """A-ASSOCIATE-RJ, result 1 (PS3.8 Table 9-21)."""


class PeerRefused(DeliveryError):
    """The peer refused the object, or every form of it that we have."""


class SpoolError(DicomNodeError):
    """Bytes cannot be put on disk now."""

    verdict = Verdict.RETRY
    exit_code = EXIT_IO
    spends_budget = False


class SpoolFull(SpoolError):
    """The disk floor is reached or the device is full."""


class SpoolUnavailable(SpoolError):
    """The spool is read-only, missing or failing."""


class LedgerUnavailable(DicomNodeError):
    """The database does not answer."""

    verdict = Verdict.RETRY
    exit_code = EXIT_UNAVAILABLE
    spends_budget = False


class ClaimLost(DicomNodeError):
    """The token or lease is no longer ours."""

    verdict = Verdict.STOP
