"""``dicomnode check``: everything the node needs, tried one by one; exit 0 or the first failing code."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from dicomnode.cli.context import Context
from dicomnode.errors import EXIT_CONFIG, EXIT_IO, EXIT_OK, EXIT_UNAVAILABLE, ConfigError, DicomNodeError

if TYPE_CHECKING:
    from dicomnode.infer.pool import Pool


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    what: str
    ok: bool
    detail: str
    exit_code: int = EXIT_OK
    hint: bool = False  # worth knowing, no failure


@click.command(short_help="Try everything that the node needs, one by one.")
@click.option("--deep", is_flag=True, help="Also run each model's self-test on its phantom.")
@click.option("--json", "json_wanted", is_flag=True, help="Print one JSON array of objects.")
@click.pass_obj
def check(context: Context, *, deep: bool, json_wanted: bool) -> None:
    """Check configuration, database, disk, models, GPU, sandbox and every peer that receives results."""
    findings = []
    for finding in _all(context, deep=deep):
        findings.append(finding)
        if not json_wanted:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red", bold=True)
            click.echo(
                f"{click.style('note', fg='yellow') if finding.hint else mark}  {finding.what:<28} {finding.detail}"
            )
    if json_wanted:
        click.echo(json.dumps([asdict(f) for f in findings], ensure_ascii=False, indent=2))
    sys.exit(next((f.exit_code for f in findings if not f.ok), EXIT_OK))


def _all(context: Context, *, deep: bool) -> Iterator[Finding]:
    try:
        config = context.config
    except ConfigError as error:
        yield from (Finding("configuration", ok=False, detail=p, exit_code=error.exit_code) for p in error.problems)
        return
    yield Finding(
        "configuration", ok=True, detail=f"{config.path}: {len(config.peers)} peers, {len(config.routes)} routes"
    )
    yield _tried("database", lambda: _database(context))
    yield from _disk(context)
    yield from _commitment(context)
    yield from _models(context, deep=deep)
    yield from _machine()
    yield from _tls(context)
    yield from _audit(context)
    yield from _peers(context)
    yield from _routes(context)


def _tried(what: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(what, ok=True, detail=attempt())
    except DicomNodeError as error:
        return Finding(what, ok=False, detail=error.reason, exit_code=error.exit_code)


def _database(context: Context) -> str:
    from dicomnode.ledger.engine import Ledger

    if context.config.node.migrate and Ledger(context.config.database_url).revision() is None:
        return "not made yet: `dicomnode serve` or `dicomnode db upgrade` makes it"
    return f"{context.ledger.dialect}, revision {context.ledger.revision()}"


def _disk(context: Context) -> Iterator[Finding]:
    config = context.config
    folder = config.node.data_dir
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    writable = os.access(existing, os.W_OK)
    yield Finding("spool", ok=writable, detail=f"{folder} is {'' if writable else 'not '}writable", exit_code=EXIT_IO)
    enough = free_gb >= config.receive.min_free_gb
    yield Finding(
        "disk",
        ok=enough,
        exit_code=EXIT_IO,
        detail=f"{free_gb:.1f} GB free; below {config.receive.min_free_gb:g} GB images are refused with 0xA700",
    )


def _commitment(context: Context) -> Iterator[Finding]:
    from dicomnode.run.commitment_advice import advice

    for detail in advice(context.config):
        yield Finding("storage commitment", ok=True, hint=True, detail=detail)


def _models(context: Context, *, deep: bool) -> Iterator[Finding]:
    from dicomnode.config import load_model
    from dicomnode.infer.pool import Pool

    config = context.config
    pool = Pool(config.node.models_dir, device=config.worker.device, threads=config.worker.threads, warm=1)
    try:
        for name in dict.fromkeys(name for route in config.routes for name in route.model):
            yield _tried(f"model {name}", lambda name=name: _model(pool, load_model(name, config), deep=deep))  # type: ignore[misc]
    finally:
        pool.close()


def _model(pool: Pool, model: object, *, deep: bool) -> str:
    from dicomnode.domain.model import ModelFile
    from dicomnode.run.selftest import self_test

    if not isinstance(model, ModelFile):
        raise TypeError(model)
    pool.verify(model)
    detail = f"version {model.version}, digest {model.digest[:19]}… as pinned"
    if deep and model.self_test is not None:
        scores = self_test(model, pool)
        detail += "; self-test " + ", ".join(f"{label} {score:.3f}" for label, score in scores.items())
    return detail


def _routes(context: Context) -> Iterator[Finding]:
    from dicomnode.config import load_model
    from dicomnode.run.outbox import going_nowhere

    config = context.config
    for route in config.routes:
        models = [load_model(name, config) for name in route.model]
        for detail in going_nowhere(route, config.peers, models):
            yield Finding(f"route {route.name}", ok=True, hint=True, detail=detail)


def _machine() -> Iterator[Finding]:
    from dicomnode.infer.pool import sandbox_report
    from dicomnode.receive.syntaxes import decodable_transfer_syntaxes

    gpus = shutil.which("nvidia-smi")
    yield Finding("GPU", ok=True, hint=not gpus, detail="present" if gpus else "none: models run on the CPU")
    for measure, granted in sandbox_report().items():
        yield Finding(f"sandbox: {measure}", ok=True, hint=granted.startswith("not"), detail=granted)
    yield Finding(
        "transfer syntaxes", ok=True, detail=f"{len(decodable_transfer_syntaxes())} can be decoded and are offered"
    )


def _tls(context: Context) -> Iterator[Finding]:
    from dicomnode.run.certificates import Weight, remarks
    from dicomnode.run.loop import utc_now

    settings = context.config.tls
    if settings.port:
        yield Finding("TLS", ok=True, detail=f"port {settings.port}, versions {', '.join(settings.versions)}")
    for one in remarks(settings, utc_now()):
        detail = f"{one.text}; {one.action}" if one.action else one.text
        yield Finding("TLS", ok=one.weight is not Weight.BAD, hint=one.weight is Weight.SOON, detail=detail,
                      exit_code=EXIT_CONFIG)


def _audit(context: Context) -> Iterator[Finding]:
    from dicomnode.run.auditing import tried

    for sink, refused in tried(context.config):
        detail = refused or "takes messages"
        yield Finding(f"audit: {sink}", ok=not refused, detail=detail, exit_code=EXIT_UNAVAILABLE)


def _peers(context: Context) -> Iterator[Finding]:
    from dicomnode.deliver.scu import echo
    from dicomnode.run.protection import for_calls

    config = context.config
    tls = for_calls(config.tls)
    for name in dict.fromkeys(peer for route in config.routes for peer in route.to):
        peer = config.peers[name]
        yield _tried(
            f"peer {name}",
            lambda peer=peer: (  # type: ignore[misc]
                f"{peer.ae_title} at {peer.host}:{peer.port} answers C-ECHO "
                f"{'over TLS ' if peer.tls else ''}in "
                f"{echo(node_ae_title=config.node.ae_title, peer=peer, timeout_s=5.0, tls=tls) * 1000:.0f} ms"
            ),
        )
