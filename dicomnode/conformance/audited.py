"""What is audited, as this configuration has it (PS3.15 A.5 asks a conformance statement for it)."""

from __future__ import annotations

from dicomnode.audit.sinks import FACILITY_SEVERITY, MESSAGE_ID
from dicomnode.conformance.document import Section, Table
from dicomnode.crowds import TOLD_IN_WINDOW, WINDOW_S
from dicomnode.domain.node import NodeConfig

PROFILE = """
Audit Trail Message Format Profile (PS3.15 A.5), without extensions: {where}. Messages are valid by the schema of
A.5.1.1. None is received or processed. Each is durable on disk before it is forwarded, forwarded in order, and
forgotten when its destination has it; after a broken connection some may come twice. Refusals of one address are told
one by one up to {told} in {window:g} s, and counted beyond.
"""
SYSLOG = """
Audit Trail Message Transmission Profile - SYSLOG-TLS (PS3.15 A.6): TLS 1.2 or newer, RFC 5424 messages counted in
octets, UTF-8 with byte order mark, PRI {success} and {failure}, MSGID {message_id}, no STRUCTURED-DATA. Messages are
never cut.
"""
NONE = """
Not configured: no audit messages are written. `[audit]` names a file, a syslog server, or both.
"""
EVENTS = (
    ("Application Activity", "A.5.3.1", "the node, or a role that runs alone, starts or stops"),
    ("Begin Transferring DICOM Instances", "A.5.3.3", "before results are sent"),
    ("DICOM Instances Accessed", "A.5.3.6", "a study was read and analysed"),
    ("DICOM Instances Transferred", "A.5.3.7",
     "images of one study came over one association; results were taken, or not, by a peer"),
    ("DICOM Study Deleted", "A.5.3.8", "retention deletes the images of a study"),
    ("Security Alert, Node Authentication", "A.5.3.11", "an association or a TLS handshake was refused"),
)


def audit_trail(config: NodeConfig) -> Section:
    """Write the section on the audit trail."""
    title = "Audit trail"
    if not config.audit.wanted:
        return Section(title=title, text=NONE)
    places = [*(["an append-only file"] if config.audit.file else []), *(["syslog"] if config.audit.syslog else [])]
    text = PROFILE.format(where=" and ".join(places), told=TOLD_IN_WINDOW, window=WINDOW_S)
    if config.audit.syslog:
        text += SYSLOG.format(success=FACILITY_SEVERITY[True], failure=FACILITY_SEVERITY[False], message_id=MESSAGE_ID)
    return Section(title=title, text=text, tables=(
        Table(title="Audited events", columns=("Event", "PS3.15", "When"), rows=EVENTS),))
