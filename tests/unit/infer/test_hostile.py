"""Bundles that want to do harm: none of it runs in pieces mode, and each is refused with what it asked for.

Every sample tries to leave a mark: a file, a process, a changed environment. The mark must not be there afterwards.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dicomnode.errors import ModelFailed, ModelRefused
from dicomnode.infer.bundle import load_pieces
from dicomnode.infer.job import Loading
from tests.bundles import SMALL_UNET, spleen_form

Config = dict[str, Any]
Change = Callable[[Config, str], None]


def put(**ids: object) -> Change:
    """A change that puts ids into the config; ``MARK`` in any text stands for the file to touch."""
    def change(config: Config, mark: str) -> None:
        config.update(json.loads(json.dumps(ids).replace("MARK", mark)))
    return change


def step(*items: object, chain: str = "preprocessing") -> Change:
    """A change that puts steps at the beginning of a chain."""
    def change(config: Config, mark: str) -> None:
        config[chain]["transforms"][:0] = json.loads(json.dumps(items).replace("MARK", mark))
    return change


REFUSED: dict[str, Change] = {
    "a target that is a shell": put(inferer={"_target_": "os.system", "command": "touch MARK"}),
    "a target that starts a process": put(inferer={"_target_": "subprocess.run", "args": ["touch", "MARK"]}),
    "a target that opens a file": put(inferer={"_target_": "builtins.open", "file": "MARK", "mode": "w"}),
    "a target that evaluates": put(inferer={"_target_": "builtins.exec", "source": "open('MARK', 'w')"}),
    "a helper of MONAI that imports anything": put(inferer={
        "_target_": "monai.utils.optional_import", "module": "os", "name": "system"}),
    "MONAI's own instantiate": put(inferer={"_target_": "monai.utils.module.instantiate", "__path": "os.system"}),
    "MONAI's downloader": put(inferer={
        "_target_": "monai.apps.download_url", "url": "http://192.0.2.1/x", "filepath": "MARK"}),
    "a scripted model, which is code": put(network_def={"_target_": "torch.jit.load", "f": "models/model.ts"}),
    "torch's loader, which unpickles": put(network_def={"_target_": "torch.load", "f": "MARK", "weights_only": False}),
    "an allowed name in a package of its own": put(inferer={"_target_": "scripts.SimpleInferer"}),
    "an allowed name under a path that is another object": put(inferer={"_target_": "monai.inferers.os.system"}),
    "a step that is a shell": step({"_target_": "os.popen", "cmd": "touch MARK"}),
    "a step hidden in a nested chain": step({"_target_": "Compose", "transforms": [
        {"_target_": "Compose", "transforms": [{"_target_": "os.mknod", "path": "MARK"}]}]}),
    "a lambda that imports": step({"_target_": "Lambdad", "keys": "image",
                                   "func": "$lambda x: __import__('os').system('touch MARK')"}),
    "a lambda that reaches its globals": step({"_target_": "Lambdad", "keys": "image",
                                               "func": "$lambda x: x.__init__.__globals__['os'].system('touch MARK')"}),
    "a lambda that walks to every class": step({
        "_target_": "Lambdad", "keys": "image", "func": "$lambda x: ().__class__.__base__.__subclasses__()"}),
    "a lambda that saves what it sees": step({"_target_": "Lambdad", "keys": "image",
                                              "func": "$lambda x: torch.save(x, 'MARK')"}),
    "an expression that imports": put(inferer="$__import__('os').system('touch MARK')"),
    "an expression that is a statement": put(inferer="$import os; os.system('touch MARK')"),
    "an expression that evaluates text": put(inferer="$eval(\"open('MARK', 'w')\")"),
    "an expression that asks for attributes by name": put(inferer="$getattr(torch, 'os').system('touch MARK')"),
    "an expression through a module that torch imports": put(inferer="$torch.os.system('touch MARK')"),
    "an expression through a module of numpy": put(inferer="$np.lib.npyio.os.system('touch MARK')"),
    "an expression through MONAI": put(inferer="$monai.utils.optional_import('os')[0].system('touch MARK')"),
    "an expression behind a reference": put(inferer={"_target_": "SimpleInferer", "x": "@harm"},
                                            harm="$open('MARK', 'w')"),
    "an expression behind a macro": put(inferer="%harm", harm={"_target_": "os.system", "command": "touch MARK"}),
    "an expression behind a relative id": put(harm="$open('MARK', 'w')", inferer={
        "_target_": "SimpleInferer", "x": "@##harm"}),
    "an expression as a key of a network": put(network_def={**SMALL_UNET, "act": "$open('MARK', 'w')"}),
    "a format string that reads attributes": put(inferer="$'{0.__class__.__init__}'.format(1)"),
    "a generator whose frame is read": put(inferer="$(x for x in [1]).gi_frame.f_globals"),
    "a formatted value that is a call": put(inferer="$f'{open(chr(77))}'"),
    "a builtin whose name is bound elsewhere": put(inferer={
        "_target_": "SimpleInferer", "x": "$[[open for open in []], open('MARK', 'w')]"}),
    "code behind a name that a lambda binds": put(inferer={
        "_target_": "SimpleInferer", "x": "$[(lambda exec: 0), exec(\"open('MARK', 'w')\")]"}),
    "an assignment expression": put(inferer="$(f := open)('MARK', 'w')"),
    "the debugger": put(network_def={**SMALL_UNET, "_mode_": "debug"}),
    "the debugger by its flag": put(network_def={**SMALL_UNET, "_debug_": True}),
    "a class handed out uncalled": put(inferer={"_target_": "os.system", "_mode_": "callable"}),
    "something that must come first": put(inferer={
        "_target_": "SimpleInferer", "_requires_": ["$open('MARK', 'w')"]}),
    "something switched off by an expression": put(inferer={
        "_target_": "SimpleInferer", "_disabled_": "$open('MARK', 'w')"}),
    "a macro that reads a file of the host": put(inferer="%/etc/passwd.json#x"),
    "a macro that climbs out of the bundle": put(inferer="%../../../etc/node.yaml#database_url"),
    "a power that eats memory": put(inferer={"_target_": "SimpleInferer", "x": "$10 ** 10 ** 10"}),
    "a loader where no chain is": put(inferer={"_target_": "LoadImage", "image_only": True}),
    "a saver where no chain is": put(inferer={"_target_": "SaveImage", "output_dir": "MARK"}),
    "a post-processing that writes": step({"_target_": "scripts.Writer", "path": "MARK"}, chain="postprocessing"),
}
IGNORED: dict[str, Change] = {
    "imports": put(imports=["$import os", "$os.system('touch MARK')"]),
    "what runs": put(run=["$open('MARK', 'w')"], initialize=["$open('MARK', 'w')"], finalize=["$open('MARK', 'w')"]),
    "handlers": put(handlers=[{"_target_": "os.system", "command": "touch MARK"}]),
    "an evaluator": put(evaluator={"_target_": "os.system", "_requires_": "$open('MARK', 'w')"}),
    "a data set": put(dataset={"_target_": "os.system", "command": "touch MARK"}, datalist="$open('MARK', 'w')"),
    "a bundle root": put(bundle_root="$open('MARK', 'w')"),
    "a device": put(device="$open('MARK', 'w')"),
    "where weights lie": put(handlers=[{"_target_": "CheckpointLoader", "load_path": "$open('MARK', 'w')"}]),
    "a saver in the chain": step({"_target_": "SaveImaged", "keys": "pred", "output_dir": "MARK"},
                                 chain="postprocessing"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, bytes]:
    folder = spleen_form(tmp_path_factory.mktemp("bundle") / "small")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def loaded(files: dict[str, bytes], change: Change, mark: Path) -> object:
    config = json.loads(files["configs/inference.json"])
    change(config, str(mark))
    given = {**files, "configs/inference.json": json.dumps(config).encode()}
    return load_pieces(Loading(files=given, overrides={}, device=torch.device("cpu")))


@pytest.mark.parametrize("sample", REFUSED)
def test_a_hostile_bundle_is_refused_and_nothing_of_it_runs(sample, plain, tmp_path):
    mark, before = tmp_path / "mark", dict(os.environ)
    with pytest.raises(ModelRefused):
        loaded(plain, REFUSED[sample], mark)
    assert list(tmp_path.iterdir()) == []
    assert dict(os.environ) == before


@pytest.mark.parametrize("sample", IGNORED)
def test_what_pieces_mode_does_not_need_is_never_evaluated(sample, plain, tmp_path):
    assert loaded(plain, IGNORED[sample], tmp_path / "mark") is not None
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_eats_memory_fails_by_the_limit_of_its_process(plain, tmp_path):
    with pytest.raises(ModelFailed, match=r"\[0\] \* 10 \*\* 12"):
        loaded(plain, put(inferer={"_target_": "SimpleInferer", "x": "$[0] * 10 ** 12"}), tmp_path / "mark")


class Harm:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self._mark}",)


@pytest.mark.parametrize("wrapped", [lambda one: one, lambda one: {"state_dict": {"weight": one}}, lambda one: [one]])
@pytest.mark.parametrize("saved", ["torch", "legacy", "pickle"])
def test_a_pickle_among_the_weights_is_refused_and_does_not_run(wrapped, saved, plain, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "weights.pt"
    value = wrapped(Harm(mark))
    if saved == "pickle":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=saved == "torch")
    weights = path.read_bytes()
    path.unlink()
    with pytest.raises(ModelFailed, match="weights_only"):
        loaded({**plain, "models/model.pt": weights}, put(), mark)
    assert list(tmp_path.iterdir()) == []


def test_there_are_more_samples_than_were_asked_for():
    assert len(REFUSED) + len(IGNORED) >= 13


def test_a_target_may_be_called_by_its_short_name_or_by_its_own_package_and_by_no_other():
    from dicomnode.infer.allowed import CLASSES
    from dicomnode.infer.audit import problems_of

    for name, full in CLASSES.items():
        assert list(problems_of({"_target_": name}, "x")) == []
        assert list(problems_of({"_target_": full}, "x")) == []
        assert list(problems_of({"_target_": f"evil.{name}"}, "x"))
        assert list(problems_of({"_target_": f"{full}.__init__"}, "x"))
