"""``dicomnode dataset phantom``: synthetic images with their truth, to learn from without a patient."""

from __future__ import annotations

import os
from pathlib import Path

import click

KINDS = ("chest", "nodules", "brain")
VALIDATION_SHARE = 16
TEST_SHARE = 5


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice(KINDS))
@click.option("--cases", type=click.IntRange(min=1), required=True, help="How many to learn from.")
@click.option("--validation", type=click.IntRange(min=0), help="How many to choose by. [default: a sixteenth as many]")
@click.option("--test", type=click.IntRange(min=0), help="How many to be scored on. [default: a fifth as many]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another one, other phantoms.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the data set; new or empty.")
@click.option("--processes", type=click.IntRange(min=1), help="That draw at a time. [default: one for each core]")
def phantom(*, kind: str, cases: int, validation: int | None, test: int | None, seed: int, out: Path,
            processes: int | None) -> None:
    """Draw synthetic phantoms and write them as a data set.

    KIND is chest (CT; lungs and nodules as label maps), nodules (CT; boxes) or brain (MR; T1, T1c, T2, FLAIR).
    The three splits draw from seeds that never meet.
    """
    from dicomnode.train.dataset.phantom_sets import write_phantoms

    with click.progressbar(length=1, label=f"{kind} phantoms") as bar:
        def tell(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        found = write_phantoms(
            kind, out, cases=cases, validation=max(1, cases // VALIDATION_SHARE) if validation is None else validation,
            test=max(1, cases // TEST_SHARE) if test is None else test, seed=seed,
            processes=processes or os.cpu_count() or 1, tell=tell)
    click.echo(f"{found.name}: {found.task}, channels {', '.join(found.channels)} ({found.modality}); training "
               f"{len(found.training)}, validation {len(found.validation)}, test {len(found.test)}")
    click.echo(f"digest {found.digest}")
