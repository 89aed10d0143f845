"""``models add``: a bundle from outside becomes a model of this node, tried before it stands in its place."""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dicomnode.adopt.ending import line_of
from dicomnode.adopt.guess import About, about
from dicomnode.adopt.skeleton import skeleton, with_keys
from dicomnode.adopt.unpack import bundle_root, copy_folder, unpack
from dicomnode.config.models import model_from_text, places
from dicomnode.config.toml import read_text
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import NodeConfig
from dicomnode.errors import InferenceError, ModelChanged, ModelRefused, SpoolUnavailable, UnusableBundle
from dicomnode.infer.digest import bundle_digest
from dicomnode.infer.pool import Pool

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ASK_FOR_TRUST: Final = ("Nothing was added. If you trust whoever made this bundle, and have read its code, repeat with "
                        "--trust code: it then runs its own code, in the sandbox")
VERSION_TAIL: Final = re.compile(r"[-_]v?\d+(\.\d+)+$")
"""What hubs append to an archive's name: ``spleen_ct_segmentation_v0.5.3``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an administrator asked for.

    Parameters
    ----------
    name:
        Of the model and its bundle's folder; '' takes the bundle's own.
    trust:
        ``pieces``, ``code``, or '' for pieces, refusing a bundle that needs its own code.
    digest:
        The digest that the bundle must have; '' takes any.
    model_file:
        A model file to go with the bundle; None takes ``<source>.toml`` where there is one, else a skeleton.
    load:
        Whether to load it once in the sandbox, which tells whether it runs.
    """

    name: str = ""
    trust: str = ""
    digest: str = ""
    model_file: Path | None = None
    replace: bool = False
    load: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What became of it."""

    model: ModelFile
    bundle: Path
    model_file: Path
    doubts: tuple[str, ...]
    loaded_in_s: float | None
    trouble: str = ""


def add(source: Path, config: NodeConfig, wish: Wish) -> Added:
    """Copy a bundle into ``models_dir``, pin its digest in a model file, and try whether it loads.

    Everything happens in a folder beside the bundles and is renamed into place at the end: a bundle that is refused
    leaves nothing behind.

    Raises
    ------
    UnusableBundle
        If it is no bundle, its name is taken, or its model file is of another bundle.
    ModelChanged
        If its digest is not the one asked for, or not the one that its model file pins.
    ModelRefused
        If it needs code of its own and ``trust`` does not say ``code``.
    ConfigError
        If the model file has mistakes.
    SpoolUnavailable
        If files cannot be read or written.
    """
    try:
        return _added(source, config, wish)
    except OSError as error:
        msg = f"{error.filename or source}: {error.strerror or error}; nothing was added"
        raise SpoolUnavailable(msg) from error


def _added(source: Path, config: NodeConfig, wish: Wish) -> Added:
    models_dir = config.node.models_dir
    models_dir.mkdir(parents=True, exist_ok=True)
    in_place = source.is_dir() and source.resolve().parent == models_dir.resolve()
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=models_dir) as staging:
        root = bundle_root(source, str(source)) if in_place else _staged(source, Path(staging))
        digest = bundle_digest(root)
        if wish.digest and digest != wish.digest:
            msg = f"{source}: its digest is {digest}, asked for was {wish.digest}; nothing was added"
            raise ModelChanged(msg)
        name = _name(source, root, wish)
        target, path = models_dir / name, _model_file(name, config)
        if in_place:
            target = root
        _refuse_taken(target, path, wish, in_place=in_place)
        old = target if target.is_dir() and not in_place else None
        text, doubts = _text(source, root, target.name, name=name, digest=digest, path=path, wish=wish, old=old)
        model = model_from_text(text, source=str(path))
        loaded_in_s, trouble = _tried(model, root, wish) if wish.load else (None, "")
        new = _written(path, text)
        try:
            _place(root, target, Path(staging), in_place=in_place)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    return Added(model=model, bundle=target, model_file=path, doubts=doubts, loaded_in_s=loaded_in_s, trouble=trouble)


def _staged(source: Path, staging: Path) -> Path:
    if source.is_dir():
        return copy_folder(source, staging)
    return unpack(source, staging / plain(source.stem))


def _name(source: Path, root: Path, wish: Wish) -> str:
    own = root.name if source.is_dir() or root.parent.name == plain(source.stem) else source.stem
    name = wish.name or plain(VERSION_TAIL.sub("", own))
    if not NAME.fullmatch(name):
        msg = f"name = {name!r}: allowed are letters, digits, '_', '-' and '.', at most 64; give one with --name"
        raise UnusableBundle(msg)
    return name


def _model_file(name: str, config: NodeConfig) -> Path:
    """Return where the model's file lies, or would lie."""
    candidates = [folder / f"{name}.toml" for folder in places(config.config_dir, config.node.models_dir)]
    return next((path for path in candidates if path.exists()), candidates[0])


def plain(text: str) -> str:
    """Return a text as the name of a folder: what is no letter, digit, '_', '-' or '.' becomes '_'."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-") or "bundle"


def _refuse_taken(target: Path, path: Path, wish: Wish, *, in_place: bool) -> None:
    taken = [str(one) for one in (() if in_place else (target,)) + (path,) if one.exists()]
    if taken and not wish.replace:
        msg = f"{' and '.join(taken)} exists already; give another --name, or --replace"
        raise UnusableBundle(msg)


def _text(source: Path, root: Path, bundle: str, *, name: str, digest: str, path: Path, wish: Wish,
          old: Path | None) -> tuple[str, tuple[str, ...]]:
    """Return the model file's text: the one given, the one that stands there re-pinned, or a skeleton."""
    beside = source.with_name(f"{source.name}.toml")
    given = wish.model_file or (beside if source.is_dir() and beside.is_file() and beside != path else None)
    found = about(root)
    trust = {"trust": wish.trust} if wish.trust else {}
    if given is not None:
        text = read_text(given)
        model = model_from_text(text, source=str(given))
        if model.digest != digest:
            msg = f"{given} pins {model.digest}, the bundle has {digest}; nothing was added"
            raise ModelChanged(msg)
        if model.trust == "code" and not wish.trust:
            raise ModelRefused(f"{given} says trust = 'code': the bundle would run code of its own. {ASK_FOR_TRUST}")
        return with_keys(text, name=name, bundle=bundle, **trust), ()
    if path.exists():
        text = read_text(path)
        _refuse_other_outputs(model_from_text(text, source=str(path)), len(found.labels), path)
        if old is not None:
            _refuse_other_meaning(about(old), found, path)
        return with_keys(text, bundle=bundle, digest=digest, version=found.version, **trust), ()
    return skeleton(found, name=name, bundle=bundle, digest=digest, trust=wish.trust or "pieces"), found.doubts


def _refuse_other_outputs(known: ModelFile, outputs: int, path: Path) -> None:
    """A new version may keep the model file that was confirmed, but not where its outputs are others."""
    described = len(known.classes) if known.task == "classification" else len(known.labels)
    if outputs and outputs != described:
        msg = (f"{path} describes {described} outputs, the new bundle says that it has {outputs}: "
               "move that file away, and a new one is written")
        raise UnusableBundle(msg)


def _refuse_other_meaning(old: About, new: About, path: Path) -> None:
    """What a person confirmed for one order of inputs and outputs must not be said of another."""
    was, now = _meaning(old), _meaning(new)
    if was != now:
        msg = (f"{path} was confirmed for a bundle that says of itself: {was}; the new one says: {now}. "
               "Move that file away, and a new one is written")
        raise UnusableBundle(msg)


def _meaning(found: About) -> str:
    inputs, outputs = (", ".join(one) or "nothing" for one in (
        (f"{one.role} ({one.modality})" for one in found.inputs),
        (f"{one.value} {one.name.lower()}" for one in found.labels)))
    return f"{found.task} of {inputs}, giving {outputs}"


def _tried(model: ModelFile, root: Path, wish: Wish) -> tuple[float | None, str]:
    """Load the bundle in the sandbox; return the seconds, or what went wrong where a person can mend it."""
    began = time.monotonic()
    try:
        with Pool(root.parent, device="cpu", threads=1, warm=1) as pool:
            pool.prepare(replace(model, bundle=root.name))
    except ModelRefused as error:
        if wish.trust:
            return None, line_of(str(error))
        msg = f"{error}. {ASK_FOR_TRUST}"
        raise ModelRefused(msg) from error
    except InferenceError as error:
        return None, line_of(error.reason)
    return time.monotonic() - began, ""


def _place(root: Path, target: Path, staging: Path, *, in_place: bool) -> None:
    if in_place:
        return
    if target.exists():
        target.rename(staging / "replaced")
    try:
        root.rename(target)
    except OSError:
        if (staging / "replaced").exists():
            (staging / "replaced").rename(target)
        raise


def _written(path: Path, text: str) -> Path:
    """Write a model file beside its place; return where, for a rename once the bundle is in its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    return new
