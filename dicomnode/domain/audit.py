"""What is audited, and where its messages go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from dicomnode.domain.study import Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Where the audit messages of PS3.15 A.5 go: a file, a syslog server, both, or by default nowhere.

    ``file``: one message a line, only ever appended to; relative to ``data_dir``.
    ``syslog``: ``host:port`` of a server that speaks RFC 5425.
    ``syslog_ca``: what the server's certificate must chain to; empty: what the system trusts.
    ``syslog_certificate``, ``syslog_key``: what this node shows the server; empty: nothing.
    """

    file: str = ""
    syslog: str = ""
    syslog_ca: str = ""
    syslog_certificate: str = ""
    syslog_key: str = ""

    def __post_init__(self) -> None:
        """Refuse a server without port, and half a key pair."""
        if self.syslog and not self.syslog_port:
            msg = f"syslog = {self.syslog!r}: allowed is host:port, such as audit.hospital.example:6514"
            raise ValueError(msg)
        if bool(self.syslog_certificate) != bool(self.syslog_key):
            msg = "syslog_certificate and syslog_key: the one needs the other"
            raise ValueError(msg)

    @property
    def wanted(self) -> bool:
        """Whether anything is audited."""
        return bool(self.file or self.syslog)

    @property
    def syslog_host(self) -> str:
        """The server's name or address, without the brackets of an IPv6 address."""
        return self.syslog.rpartition(":")[0].strip("[]")

    @property
    def syslog_port(self) -> int:
        """The server's port; 0 where ``syslog`` names none."""
        host, _, port = self.syslog.rpartition(":")
        return int(port) if host and port.isdecimal() and len(port) <= 5 and int(port) <= 65535 else 0  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedStudy:
    """Whose images are meant: what an audit message says of a study and its patient, and nothing else may.

    Parameters
    ----------
    instances:
        SOP Class UID → number of instances.
    """

    study_uid: str
    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    accession_number: str = ""
    instances: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, study_uid: str, attributes: Attributes, instances: Mapping[str, int]) -> Self:
        """Return what the audit trail says of a study whose images have these attributes."""
        def first(keyword: str) -> str:
            return next(iter(attributes.get(keyword, ())), "")

        return cls(
            study_uid=study_uid, patient_id=first("PatientID"), issuer=first("IssuerOfPatientID"),
            patient_name=first("PatientName"), accession_number=first("AccessionNumber"), instances=instances)
