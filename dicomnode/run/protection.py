"""TLS as ``[tls]`` configures it, for the roles that listen and for those that call."""

from __future__ import annotations

from dicomnode.domain.security import TlsSettings
from dicomnode.tls import Contexts, TlsFiles


def for_callers(settings: TlsSettings) -> Contexts | None:
    """Return what the receiver's TLS port needs; None where there is no such port.

    Raises
    ------
    ConfigError
        If the files cannot be used.
    """
    contexts = _contexts(settings, listens=True) if settings.port else None
    if contexts is not None:
        contexts.current()
    return contexts


def for_calls(settings: TlsSettings) -> Contexts | None:
    """Return what calls over TLS need; None without ``[tls]``. The files are looked at when a peer is called."""
    return _contexts(settings, listens=False)


def files_of(settings: TlsSettings) -> TlsFiles | None:
    """Return the files; None where they are not all named."""
    if settings.ca is None or settings.certificate is None or settings.key is None:
        return None
    return TlsFiles(ca=settings.ca, certificate=settings.certificate, key=settings.key,
                    key_password_file=settings.key_password_file, versions=settings.versions)


def _contexts(settings: TlsSettings, *, listens: bool) -> Contexts | None:
    files = files_of(settings)
    return Contexts(files, listens=listens) if files else None
