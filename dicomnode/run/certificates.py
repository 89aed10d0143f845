"""What a person should know of the files of ``[tls]`` before a peer finds out: ``check`` and ``status`` ask here."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from dicomnode.domain.security import TlsSettings
from dicomnode.errors import ConfigError
from dicomnode.run.problem import Problem
from dicomnode.run.protection import files_of
from dicomnode.tls import context
from dicomnode.x509 import Certificate, certificates

WARN_BEFORE: Final = timedelta(days=30)
UNUSABLE: Final = "put files that fit together; what runs keeps those that it has until then"


class Weight(Enum):
    """How much a remark weighs."""

    GOOD = "good"
    SOON = "soon"  # it works, and somebody should act in time
    BAD = "bad"  # associations fail, or will at the next start


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing about the files; ``action`` is empty where there is nothing to do."""

    weight: Weight
    text: str
    action: str = ""


def remarks(settings: TlsSettings, now: datetime) -> Iterator[Remark]:
    """Yield what there is to say; nothing without ``[tls]``."""
    files = files_of(settings)
    if files is None:
        return
    try:
        context(files, listens=True)
    except ConfigError as error:
        for problem in error.problems:
            yield Remark(weight=Weight.BAD, text=problem, action=UNUSABLE)
        return
    if files.certificate is not None:
        yield from _of_certificates("certificate", files.certificate, now)
    if files.key is not None:
        yield from _of_key(files.key)
    yield from _of_certificates("ca", files.ca, now)


def problems(settings: TlsSettings, now: datetime) -> Iterator[Problem]:
    """Yield each remark that needs a person."""
    for remark in remarks(settings, now):
        if remark.action:
            what = "TLS fails" if remark.weight is Weight.BAD else "TLS needs attention"
            yield Problem(what=what, why=remark.text, action=remark.action)


def _of_certificates(key: str, file: Path, now: datetime) -> Iterator[Remark]:
    try:
        found = certificates(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        yield Remark(weight=Weight.BAD, text=f"[tls] {key} = {file}: {error}", action=UNUSABLE)
        return
    for one in found:
        yield _of_certificate(key, one, now)
    if key == "certificate":
        yield from _of_purposes(found[0])


def _of_certificate(key: str, one: Certificate, now: datetime) -> Remark:
    about = f"[tls] {key}: {one.subject}"
    renew = ("ask its authority for a new one, and put it in place of the old: no restart is needed" if key != "ca"
             else "add the new certificate of the authority to the file: no restart is needed")
    if now >= one.not_after:
        return Remark(weight=Weight.BAD, text=f"{about} expired on {one.not_after:%Y-%m-%d %H:%M} UTC", action=renew)
    if now < one.not_before:
        return Remark(weight=Weight.BAD, text=f"{about} is not valid before {one.not_before:%Y-%m-%d %H:%M} UTC",
                      action="see that the clock of this machine is right")
    text = f"{about}, valid until {one.not_after:%Y-%m-%d}"
    if one.not_after - now < WARN_BEFORE:
        return Remark(weight=Weight.SOON, text=f"{text}: {(one.not_after - now).days} days", action=renew)
    return Remark(weight=Weight.GOOD, text=text)


def _of_purposes(one: Certificate) -> Iterator[Remark]:
    """A certificate that names its purposes is good for no other side; ours stands on both."""
    for purpose, when in (("server", "peers that call us"), ("client", "peers that we call")):
        if purpose not in one.purposes:
            text = (f"[tls] certificate: {one.subject} is not for the {purpose}'s side of TLS (Extended Key Usage): "
                    f"{when} refuse it")
            yield Remark(weight=Weight.SOON, text=text,
                         action="ask its authority for one with serverAuth and clientAuth")


def _of_key(file: Path) -> Iterator[Remark]:
    try:
        mode = file.stat().st_mode
    except OSError:  # replaced at this moment: the next look sees it
        return
    if mode & stat.S_IRWXO:
        yield Remark(weight=Weight.SOON, text=f"[tls] key = {file}: every user of this machine may read it "
                     f"(mode {stat.S_IMODE(mode):04o})", action=f"chmod o= {file}")
