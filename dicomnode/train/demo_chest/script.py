"""Trains the chest demonstration bundle from nothing but seeds: ``python -m dicomnode.train.demo_chest --help``."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import torch

from dicomnode.infer.digest import bundle_digest
from dicomnode.train.demo_chest.card import write_scores
from dicomnode.train.demo_chest.cycles import DEMO_CYCLES, fit, set_nodule_prior
from dicomnode.train.demo_chest.held_out import BundleRunner, score
from dicomnode.train.demo_chest.phantoms import Case, Patches, training_case
from dicomnode.train.publish.model_file import pin
from dicomnode.train.publish.weights import save_weights

TRAINING_SEEDS: Final = range(100_000, 100_110)
VALIDATION_SEEDS: Final = range(200_000, 200_004)
"""Looked at while choosing the recipe."""
TEST_SEEDS: Final = range(300_000, 300_005)
"""Scored once, for the model card."""
SAVE_EVERY_STEPS: Final = 300
"""An interrupted training leaves the weights of its cycle's last multiple of this."""
COMMAND: Final = "python -m dicomnode.train.demo_chest --score"


def main(arguments: list[str] | None = None) -> int:
    """Train (or only score) the bundle that ``--out`` names; its ``configs`` must be there already."""
    options = _parser().parse_args(arguments)
    bundle: Path = options.out
    if not (bundle / "configs" / "inference.json").is_file():
        sys.stderr.write(f"{bundle} holds no configs/inference.json: give the folder of the bundle to train\n")
        return 2
    torch.set_num_threads(options.threads)
    if not options.score:
        _train(bundle, options.seed, options.threads)
    _score(bundle)
    if options.pin:
        pin(options.pin, bundle_digest(bundle))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dicomnode.train.demo_chest", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("models/phantom_chest_ct_segmentation"), help="the bundle")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the patches")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads, and processes that draw phantoms")
    parser.add_argument("--score", action="store_true", help="score the weights that are there; train nothing")
    parser.add_argument("--pin", type=Path, metavar="FILE", help="the model file that gets the new digest")
    return parser


def _train(bundle: Path, seed: int, threads: int) -> None:
    begun = time.monotonic()
    with ProcessPoolExecutor(threads, mp_context=get_context("spawn")) as pool:
        cases: list[Case] = list(pool.map(training_case, TRAINING_SEEDS, chunksize=4))
    _say(begun, f"{len(cases)} phantoms drawn")
    torch.manual_seed(seed)
    (bundle / "models" / "model.pt").unlink(missing_ok=True)
    network = BundleRunner(bundle).network
    set_nodule_prior(network)
    weights = bundle / "models" / "model.pt"

    def report(step: int, loss: float) -> None:
        _say(begun, f"step {step}: loss {loss:.3f}")
        if step % SAVE_EVERY_STEPS == 0:
            save_weights(network, weights)

    for number, cycle in enumerate(DEMO_CYCLES):
        fit(network, Patches(cases, seed + number, decoy_share=cycle.decoy_share), cycle, report=report)
    _say(begun, f"weights written, {save_weights(network, weights)} bytes")
    _say(begun, f"validation: {score(BundleRunner(bundle), VALIDATION_SEEDS)}")


def _score(bundle: Path) -> None:
    begun = time.monotonic()
    scores = score(BundleRunner(bundle), TEST_SEEDS)
    write_scores(bundle, scores, command=COMMAND)
    _say(begun, f"test: {scores}")


def _say(begun: float, text: str) -> None:
    sys.stdout.write(f"{time.monotonic() - begun:7.1f} s  {text}\n")
    sys.stdout.flush()
