"""Whether the node would run what a recipe makes: tried before the training, with the network as it is then."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from dicomnode.config.models import model_from_text
from dicomnode.errors import ConfigError, ModelFailed, ModelRefused
from dicomnode.infer.job import Loading, runner_of
from dicomnode.infer.request import described
from dicomnode.train.publish.config import inference_config
from dicomnode.train.publish.model_file import model_file_text, trust_of
from dicomnode.train.publish.weights import stored_weights

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Dataset
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.tasks import TrainingTask
    from dicomnode.train.publish.provenance import Reference

NO_DIGEST: Final = f"sha256:{'0' * 64}"


def refuse_unpublishable(recipe: Recipe, dataset: Dataset, task: TrainingTask, reference: Reference) -> None:
    """Write the model file and load the bundle as the node does, all in memory.

    A bundle with scripts of its own is not loaded here: the node runs it only where an administrator trusts it.

    Raises
    ------
    ConfigError
        With the node's own sentence: what of the bundle or of its model file it would refuse.
    """
    text = model_file_text(recipe, dataset, reference, bundle="bundle", digest=NO_DIGEST)
    model = model_from_text(text, source=f"model file of recipe {recipe.name}")
    if trust_of(recipe) == "code":
        return
    buffer = io.BytesIO()
    torch.save(stored_weights(task.network), buffer)
    config = json.dumps(inference_config(task.published(), dataset.channels)).encode()
    files = {"configs/inference.json": config, "models/model.pt": buffer.getvalue()}
    plain = replace(model, runtime=replace(model.runtime, backend="torch"))
    try:
        runner_of(Loading(files=files, overrides=model.runtime.overrides, device=torch.device("cpu"),
                          model=described(plain)))
    except (ModelRefused, ModelFailed) as error:
        raise ConfigError(
            f"recipe {recipe.name}: the node would not run the bundle that it makes: {error}. Change the recipe, or "
            "keep the code in a folder that `scripts` names: then the bundle runs where trust = 'code'") from error
