"""What of a bundle's config may run."""

from __future__ import annotations

import pytest

from dicomnode.infer.allowed import CLASSES
from dicomnode.infer.audit import NotAllowed, evaluated_slice, expression_problems

ROOTS = ("network_def", "preprocessing", "inferer", "postprocessing")
HOSTILE = {
    "a class outside the list": {"_target_": "os.system", "command": "true"},
    "a harmless-looking helper of MONAI": {"_target_": "monai.utils.optional_import", "module": "os"},
    "an allowed name in another package": {"_target_": "evil.UNet"},
    "a target that is an expression": {"_target_": "$__import__('os').system"},
    "a loader outside a chain": {"_target_": "LoadImaged", "keys": "image"},
    "the debugger": {"_target_": "UNet", "_mode_": "debug"},
    "a debug flag": {"_target_": "UNet", "_debug_": True},
    "an import": "$import os",
    "the import function": "$__import__('os').getpid()",
    "evaluation": "$eval('1')",
    "opening a file": "$open('/etc/passwd').read()",
    "a walk through the class tree": "$().__class__.__base__.__subclasses__()",
    "a hidden attribute behind an allowed method": "$torch.zeros(1).__reduce__()",
    "a format string that reaches attributes": "$'{0.__class__}'.format(1)",
    "reading a pickle": "$torch.load('/tmp/x')",
    "a numpy file": "$np.load('x', allow_pickle=True)",
    "a lambda that hides a call": "$lambda x: getattr(x, 'data')",
    "a name from the environment": "$globals()",
    "an assignment": "$(x := torch)",
    "a power that eats the memory": "$10 ** 10 ** 10",
    "a foreign name as default": "$[os for _ in range(1)]",
    "a call of a reference": "$@network_def.apply(print)",
    "a builtin that a comprehension elsewhere binds": "$[[exec for exec in []], exec('1')]",
    "a builtin that a lambda elsewhere binds": "$[(lambda open: 0), open('/etc/passwd')]",
    "a builtin in the iterable of the comprehension that binds it": "$[open for open in [open('/etc/passwd')]]",
    "a builtin as default of the lambda that binds it": "$lambda open=open: open('/etc/passwd')",
    "a module's name for something else": "$[torch.sort for torch in [@network_def]]",
    "a module's name as an argument": "$lambda np: np.array",
    "a loop that writes into an object": "$[0 for torch.float in [1]]",
    "a loop that writes into the other ids": "$[0 for @network_def.shape in [1]]",
}
PLAIN = [
    "$@bundle_root + '/models/model.pt'",
    "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))",
    "$[[3] * 3 for i in range(4)]",
    "$torch.nn.Sequential(*@layers)",
    "$1.5 if @highres else 3.0",
    "$lambda x: x.argmax(dim=0, keepdim=True)",
    "$np.float32",
    "$lambda input, n=2: [x + y for x in input if x for y in range(x + n)]",
]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_config_that_asks_for_more_than_the_list_is_refused(case):
    config = {"network_def": {"_target_": "UNet"}, "inferer": HOSTILE[case]}
    with pytest.raises(NotAllowed):
        evaluated_slice(config, ROOTS)


@pytest.mark.parametrize("expression", PLAIN)
def test_an_expression_of_the_zoo_passes(expression):
    assert list(expression_problems(expression)) == []


def test_only_what_is_evaluated_is_audited():
    config = {"network_def": {"_target_": "UNet"}, "evaluator": {"_target_": "scripts.Evil"}, "run": ["$exit()"]}
    assert evaluated_slice(config, ROOTS) == {"network_def": {"_target_": CLASSES["UNet"]}}


def test_what_the_evaluated_part_refers_to_is_audited_too():
    config = {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@size"}, "size": "$exec('1')"}
    with pytest.raises(NotAllowed, match="size"):
        evaluated_slice(config, ROOTS)


def test_every_problem_is_named_not_the_first():
    config = {"network_def": {"_target_": "os.system"}, "inferer": {"_target_": "os.popen"}}
    with pytest.raises(NotAllowed) as caught:
        evaluated_slice(config, ROOTS)
    assert "os.system" in str(caught.value)
    assert "os.popen" in str(caught.value)


def test_loaders_and_savers_leave_every_chain_also_by_reference():
    config = {
        "loader": {"_target_": "LoadImaged", "keys": "image"},
        "preprocessing": {"_target_": "Compose", "transforms": [
            "@loader", {"_target_": "Compose", "transforms": [{"_target_": "EnsureChannelFirstDict", "keys": "image"}]},
            {"_target_": "monai.transforms.EnsureTyped", "keys": "image"}]},
        "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "SaveImaged", "keys": "pred"}]},
    }
    part = evaluated_slice(config, ROOTS)
    assert part["preprocessing"]["transforms"] == [
        {"_target_": CLASSES["Compose"], "transforms": []},
        {"_target_": CLASSES["EnsureTyped"], "keys": "image"}]
    assert part["postprocessing"]["transforms"] == []


@pytest.mark.parametrize(("written", "name"), [
    ("Invertd", "Invertd"), ("InvertD", "Invertd"), ("InvertDict", "Invertd"),
    ("monai.transforms.post.dictionary.Invertd", "Invertd"), ("monai.networks.nets.unet.UNet", "UNet")])
def test_every_spelling_of_an_allowed_class_means_the_listed_object(written, name):
    assert evaluated_slice({"inferer": {"_target_": written}}, ROOTS)["inferer"]["_target_"] == CLASSES[name]
