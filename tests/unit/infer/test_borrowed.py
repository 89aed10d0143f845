"""What MONAI's RetinaNet borrows from torchvision, against cases worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dicomnode.infer.borrowed import (
    BalancedPositiveNegativeSampler,
    IntermediateLayerGetter,
    Matcher,
    lend,
    validate_trainable_layers,
)

OVERLAPS = torch.tensor([[0.9, 0.45, 0.1, 0.0, 0.2], [0.2, 0.30, 0.6, 0.0, 0.3]])
"""Two true boxes, five predictions."""


def test_a_prediction_gets_the_true_box_that_it_overlaps_most():
    assert Matcher(0.5, 0.4)(OVERLAPS)[[0, 2]].tolist() == [0, 1]


def test_a_prediction_below_the_low_threshold_is_background_and_between_the_two_is_ignored():
    assert Matcher(0.5, 0.4)(OVERLAPS).tolist() == [0, -2, 1, -1, -1]


def test_an_overlap_equal_to_a_threshold_counts_as_having_reached_it():
    assert Matcher(0.5, 0.4)(torch.tensor([[0.5, 0.4]])).tolist() == [0, -2]


def test_a_true_box_without_a_good_match_gets_its_best_ones_ties_included():
    poor = torch.tensor([[0.8, 0.1, 0.0, 0.0], [0.0, 0.2, 0.2, 0.1]])
    assert Matcher(0.5, 0.4)(poor).tolist() == [0, -1, -1, -1]
    assert Matcher(0.5, 0.4, allow_low_quality_matches=True)(poor).tolist() == [0, 1, 1, -1]


def test_a_low_quality_match_goes_to_the_box_that_the_prediction_itself_overlaps_most():
    shared = torch.tensor([[0.9, 0.7], [0.0, 0.3]])
    assert Matcher(0.8, 0.6, allow_low_quality_matches=True)(shared).tolist() == [0, 0]


@pytest.mark.parametrize(("shape", "said"), [((0, 3), "true boxes"), ((3, 0), "predictions")])
def test_matching_nothing_is_refused_and_says_what_is_missing(shape, said):
    with pytest.raises(ValueError, match=said):
        Matcher(0.5, 0.4)(torch.zeros(shape))


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="low_threshold"):
        Matcher(0.4, 0.5)


def test_the_sampler_fills_up_with_negatives_and_never_draws_what_is_ignored():
    torch.manual_seed(0)
    labels = torch.tensor([1, 2, 0, 0, 0, 0, 0, 0, -1, -1])
    (positive,), (negative,) = BalancedPositiveNegativeSampler(6, 0.5)([labels])
    assert positive.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert int(negative.sum()) == 4
    assert not negative[[0, 1, 8, 9]].any()


def test_the_sampler_draws_no_more_positives_than_their_share_and_varies_by_chance():
    sampler = BalancedPositiveNegativeSampler(4, 0.25)
    draws = set()
    for seed in range(8):
        torch.manual_seed(seed)
        (positive, _), (negative, _) = sampler([torch.tensor([1, 1, 1, 0, 0, 0, 0, 0]), torch.tensor([0])])
        assert (int(positive.sum()), int(negative.sum())) == (1, 3)
        draws.add(tuple(positive.tolist()))
    assert len(draws) > 1


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)


def test_the_layer_getter_gives_the_wanted_outputs_by_their_new_names_and_drops_what_follows():
    chain, x = Chain(), torch.tensor([[1.0, -2.0]])
    getter = IntermediateLayerGetter(chain, {"first": "0", "third": "1"})
    given = getter(x)
    assert list(given) == ["0", "1"]
    assert torch.equal(given["0"], chain.first(x))
    assert torch.equal(given["1"], chain.third(torch.relu(chain.first(x))))
    assert set(getter.state_dict()) == {"first.weight", "first.bias", "third.weight", "third.bias"}


def test_the_layer_getter_refuses_a_layer_that_is_no_child():
    with pytest.raises(ValueError, match="layer9"):
        IntermediateLayerGetter(Chain(), {"layer9": "0"})


def test_a_backbone_that_starts_from_chance_trains_whole():
    limits = {"max_value": 5, "default_value": 3}
    assert validate_trainable_layers(is_trained=False, trainable_backbone_layers=None, **limits) == 5
    with pytest.warns(UserWarning, match="no effect"):
        assert validate_trainable_layers(is_trained=False, trainable_backbone_layers=2, **limits) == 5
    assert validate_trainable_layers(is_trained=True, trainable_backbone_layers=None, **limits) == 3
    assert validate_trainable_layers(is_trained=True, trainable_backbone_layers=0, **limits) == 0
    with pytest.raises(ValueError, match="0 to 5"):
        validate_trainable_layers(is_trained=True, trainable_backbone_layers=6, **limits)


def detector():
    from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
    from monai.apps.detection.networks.retinanet_network import RetinaNet
    from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
    from monai.networks.blocks import BackboneWithFPN
    from monai.networks.nets import ResNet

    torch.manual_seed(0)
    backbone = ResNet("basic", [1, 1, 1, 1], [4, 8, 16, 32], spatial_dims=3, n_input_channels=1, conv1_t_size=3,
                      conv1_t_stride=1)
    features = BackboneWithFPN(backbone, {"layer1": "0"}, [4], 8, spatial_dims=3)
    network = RetinaNet(3, 1, 1, features, size_divisible=4)
    return RetinaNetDetector(network, AnchorGeneratorWithAnchorShape((1, 2), ((4, 4, 4),)))


def test_monais_retinanet_builds_and_learns_without_torchvision():
    lend()
    assert lend() == ()
    made = detector()
    assert any(name.startswith("feature_extractor.body.layer1") for name in made.network.state_dict())
    made.set_regular_matcher(0.4, 0.2)
    made.set_balanced_sampler(32, 0.5)
    made.train()
    target = [{"boxes": torch.tensor([[2.0, 2, 2, 6, 6, 6]]), "labels": torch.tensor([0])}]
    losses = made([torch.rand(1, 16, 16, 16)], target)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert made.network.feature_extractor.body["conv1"].weight.grad.abs().sum() > 0
