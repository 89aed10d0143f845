"""``dicomnode dataset``: images and what was marked on them become something to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.context import Context
from dicomnode.cli.dataset_phantom import phantom
from dicomnode.cli.table import as_json, print_rows
from dicomnode.errors import UnusableDataset

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Dataset

SHARES = 3
COLUMNS = ("value", "name", "type", "lesion", "training", "validation", "test")


@click.group()
def dataset() -> None:
    """Make data sets for training and evaluation, and look at them."""


dataset.add_command(phantom)


@dataset.command()
@click.argument("source", metavar="SRC", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the data set; new or empty.")
@click.option("--name", help="What to call it; default as the folder is called.")
@click.option("--task", type=click.Choice(("segmentation", "detection", "classification")), default="segmentation",
              show_default=True, help="What is to be learned: label maps, boxes, or the class of the whole image.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE[:PATTERN|..]",
              help="A label and what means it: a name, a code, or #3 for the value 3 of a mask; VALUE! for lesions. "
                   "Repeat for more. Default: all that is found.")
@click.option("--channel", "channels", multiple=True, metavar="ROLE:KEYWORD=PATTERN[,..]",
              help="A channel and which series of a study fills it. Repeat in the network's order. "
                   "Default: the annotated series alone.")
@click.option("--like", metavar="MODEL", help="Take series, labels and channels as this model file says.")
@click.option("--pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="CSV with the columns mask and series: which mask belongs to which series.")
@click.option("--unmarked", is_flag=True, help="Also take series on which nothing is marked: nothing is to be found.")
@click.option("--split", default="70/10/20", show_default=True, metavar="A/B/C",
              help="Shares of the patients for training, validation and test.")
@click.option("--splits-of", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="Patients that this data set has keep their split: to let a data set grow. Needs its --keep-key.")
@click.option("--seed", default=0, show_default=True, help="Of the split.")
@click.option("--keep-key", type=click.Path(dir_okay=False, path_type=Path),
              help="File with the key of the pseudonyms, made where there is none: the same key gives the same names.")
@click.option("--no-report", is_flag=True, help="Draw no report.html and no pictures.")
@click.pass_obj
def build(context: Context, *, source: Path, out: Path, name: str | None, task: str, labels: tuple[str, ...],
          channels: tuple[str, ...], like: str | None, pairs: Path | None, unmarked: bool, split: str,
          splits_of: Path | None, seed: int, keep_key: Path | None, no_report: bool) -> None:
    """Build a data set from the DICOM series below SRC and what was marked on them.

    Marks are DICOM Segmentations, RT Structure Sets, measurement reports, NIfTI and NRRD masks, and tables of findings.
    """
    import sys

    from dicomnode import logs
    from dicomnode.config import load_model
    from dicomnode.train.dataset.gather import Wishes, gather
    from dicomnode.train.dataset.gather_channels import Channel
    from dicomnode.train.dataset.gather_labels import LabelRule
    from dicomnode.train.dataset.pseudonyms import key_of
    from dicomnode.train.dataset.reader import read_dataset
    from dicomnode.train.dataset.report import write_report

    logs.configure(level="WARNING", human=True, stream=sys.stderr)
    if splits_of and not keep_key:
        raise UnusableDataset("--splits-of needs --keep-key, the file that the data set was built with: under another "
                              "key nobody is known again, and patients who were tested on would be trained on")
    before = read_dataset(splits_of, verify=False) if splits_of else None
    gathered = gather(Wishes(
        source=source, out=out, name=name or out.resolve().name, task=task,
        labels=[LabelRule.parse(text) for text in labels], channels=[Channel.parse(text) for text in channels],
        model=load_model(like, context.config) if like else None, pairs=pairs, unmarked=unmarked, seed=seed,
        splits={case.patient: one for one, case in before.cases} if before else {},
        shares=_shares(split), key=key_of(keep_key)), lambda text: click.echo(text, err=True))
    for what, why in gathered.left_out:
        click.echo(f"left out  {what}: {why}")
    for case, notes in gathered.notes.items():
        for note in notes:
            click.echo(f"note      {case}: {note}")
    for warning in gathered.warnings:
        click.echo(f"warning: {warning}")
    if gathered.passed_over:
        click.echo(f"not asked for: {', '.join(gathered.passed_over)}")
    if not no_report:
        click.echo(f"report: {write_report(gathered.dataset, gathered.notes, gathered.warnings)}")
    _summary(gathered.dataset)


@dataset.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--no-verify", is_flag=True, help="Do not compare the files with their digests.")
@click.option("--report", is_flag=True, help="Draw report.html and its pictures, again or for the first time.")
@as_json
def show(*, folder: Path, no_verify: bool, report: bool, json_wanted: bool) -> None:
    """Check the data set in DIR and say what it holds."""
    from dicomnode.train.dataset.reader import read_dataset
    from dicomnode.train.dataset.report import write_report

    found = read_dataset(folder, verify=not no_verify)
    if report:
        click.echo(f"report: {write_report(found)}", err=True)
    if json_wanted:
        print_rows(_label_rows(found), json_wanted=True, columns=COLUMNS, empty="no label")
    else:
        _summary(found)


def _shares(text: str) -> tuple[float, float, float]:
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) != SHARES:
        raise UnusableDataset(f"--split {text!r}: allowed are three numbers with a slash between, as 70/10/20")
    return numbers[0], numbers[1], numbers[2]


def _summary(found: Dataset) -> None:
    cases = list(found.cases)
    patients = len({case.patient for _, case in cases})
    click.echo(f"{found.name}: {found.task}, {len(cases)} cases of {patients} patients, channels "
               f"{', '.join(found.channels)} ({found.modality})")
    click.echo(f"training {len(found.training)}, validation {len(found.validation)}, test {len(found.test)}; "
               f"left out {len(found.left_out)}")
    click.echo(f"digest {found.digest}")
    print_rows(_label_rows(found), json_wanted=False, columns=COLUMNS, empty="no label")
    for label in found.unseen():
        click.echo(f"warning: no training case shows {label.name!r}: nothing can be learned of it")


def _label_rows(found: Dataset) -> list[dict[str, object]]:
    return [{"value": label.value, "name": label.name, "type": str(label.type) if label.type else None,
             "lesion": label.lesion, **{split: found.showing(label, split) for split in (
                 "training", "validation", "test")}} for label in found.labels]
