"""What a person asked of a training, and the folders that it may write to."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.train.fit.world import World

LOCK: Final = "lock"
"""A file in the folder of a training; a folder without it was not made by one, and nothing in it is removed."""

@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person asked for.

    Parameters
    ----------
    data : a data set's folder.
    out : the bundle's folder; ``<out>.run`` beside it keeps checkpoints, curves and pictures.
    model_file : where the model file goes.
    resume : go on with the training that was begun in ``<out>.run``.
    replace : drop such a training, and the bundle that is there.
    threads : of each process, for computing; None is torch's own choice.
    workers : processes that draw samples ahead.
    """

    data: Path
    out: Path
    model_file: Path
    resume: bool = False
    replace: bool = False
    device: str = "auto"
    threads: int | None = None
    workers: int = 1

    @property
    def folder(self) -> Path:
        """Where the training keeps what is not the bundle."""
        return self.out.with_name(f"{self.out.name}.run")


def make_way(order: Order, world: World) -> None:
    """Refuse to overwrite what nobody said to replace.

    Raises
    ------
    ConfigError
        If an unfinished training, a bundle, or something else stands in the way.
    """
    problems = []
    if world.first:
        begun = (order.folder / "last.pt").is_file()
        if begun and not (order.resume or order.replace):
            problems.append(f"{order.folder} holds a training: --resume goes on with it, --replace drops it")
        if order.out.exists() and not (order.out / "configs").is_dir() and any(order.out.iterdir()):
            problems.append(f"{order.out} is no bundle: name another folder for --out")
        elif order.out.exists() and not (order.resume or order.replace):
            problems.append(f"{order.out} exists: --replace replaces it")
    problems = world.tell(problems)
    if problems:
        raise ConfigError(*problems)
    if world.first:
        if order.replace and not order.resume and (order.folder / LOCK).is_file():
            shutil.rmtree(order.folder, ignore_errors=True)
        order.folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second training out of the folder; the lock ends with the process, however it ends.

    Raises
    ------
    ConfigError
        If another training holds it.
    """
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{folder}: another training is running there: wait for it, or choose another --out") \
                from error
        yield
