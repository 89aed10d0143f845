"""A rule that catches nothing is none: each is broken once, and must say so."""

from copy import deepcopy
from functools import cache

import pytest
from pydicom import dcmread

from tests.conformance.planted import FAULTS
from tests.object_rules import OBJECT_RULES, SET_RULES
from tests.rules.scene import Scene, kind_of

BY_NAME = {rule.__name__: rule for rule in (*OBJECT_RULES, *SET_RULES)}


@cache
def read(path):
    return dcmread(path)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: f"{one.rule}-{one.kind}")
def test_a_planted_fault_is_caught_by_its_rule(fault, result_of):
    made = result_of(fault.case)
    results, sources = [read(path) for path in made.paths], [read(path) for path in made.sources]
    right = [one for one in results if kind_of(one) == fault.kind][fault.place]
    spoiled = deepcopy(right)
    fault.spoil(spoiled)
    both = fault.rule == "every_object_has_its_own_series"
    others = [one for one in results if one is not right or both]
    assert not list(said(fault.rule, right, Scene(results=results, sources=sources)))
    assert list(said(fault.rule, spoiled, Scene(results=[*others, spoiled], sources=sources)))


def said(name, one, scene):
    rule = BY_NAME[name]
    return rule(scene) if rule in SET_RULES else rule(one, scene)


def test_every_rule_has_a_planted_fault():
    assert {fault.rule for fault in FAULTS} == set(BY_NAME)
