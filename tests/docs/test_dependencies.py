"""What the node is made of is locked, may be used and can be listed; who asks for vulnerabilities hears the truth."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
OURS, UNPINNED = "dicomnode-monai", {"pip", "setuptools"}  # those two come with every environment
TORCH_ON_A_GPU = ("nvidia-", "cuda-", "triton")  # torch for GPUs pins these itself, under NVIDIA's licence
PERMISSIBLE = re.compile(
    r"^(Apache|BSD|0BSD|BSL|MIT|ISC|PSF|Python Software Foundation|Zlib|CC0|MPL|Mozilla Public License|LGPL-3\.0-only$"
    r"|\d-Clause BSD|HPND|Unlicense|DFSG approved)", re.IGNORECASE)
TOOL = ROOT / "build" / "tools" / "bin" / "cyclonedx-py"

spec = importlib.util.spec_from_file_location("deploy_audit", ROOT / "deploy" / "audit.py")
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> list[importlib.metadata.Distribution]:
    found = importlib.metadata.distributions()
    return [one for one in found if canonical(one.metadata["Name"]) not in {OURS, *UNPINNED}
            and not canonical(one.metadata["Name"]).startswith(TORCH_ON_A_GPU)]


def licences(one: importlib.metadata.Distribution) -> list[str]:
    expression = one.metadata.get("License-Expression")
    if expression:
        return re.split(r"\s+(?:AND|OR)\s+", expression)
    classifiers = [c.rpartition(" :: ")[2] for c in one.metadata.get_all("Classifier") or () if c.startswith("License")]
    return classifiers or [(one.metadata.get("License") or "none").splitlines()[0]]


def test_every_installed_dependency_is_pinned_to_the_version_that_is_installed():
    pins = {canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS, re.MULTILINE)}
    loose = {one.metadata["Name"]: one.version for one in installed()
             if pins.get(canonical(one.metadata["Name"])) != one.version.partition("+")[0]}
    assert loose == {}


def test_every_line_of_the_constraints_pins_one_version():
    lines = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len({canonical(line.partition("==")[0]) for line in lines}) == len(lines)


def test_every_dependency_has_a_licence_that_a_hospital_may_use():
    bad = {one.metadata["Name"]: licences(one) for one in installed()
           if not all(map(PERMISSIBLE.match, licences(one)))}
    assert bad == {}


@pytest.mark.parametrize(("dependencies", "code", "said"), [
    ([{"name": "a", "version": "1", "vulns": []}], 0, "no known vulnerability in 1"),
    ([{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}], 3, "1 of 2"),
    ([{"name": "b", "skip_reason": "not found"}], 3, "COULD NOT BE CHECKED"),
    ([], 3, "COULD NOT BE CHECKED"),
    ([{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2"], "fix_versions": ["2"]}]},
      {"name": "b", "skip_reason": "not found"}], 1, "a 1: PYSEC-1, CVE-2; mended in 2"),
])
def test_what_was_not_looked_up_is_never_called_clean(capsys, dependencies, code, said):
    assert audit.judged(dependencies) == code
    assert said in capsys.readouterr().out


def test_the_bill_of_materials_names_every_dependency_and_is_valid(tmp_path):
    if not TOOL.exists():
        pytest.skip("`make sbom` makes the environment of the tool; it is not made here")
    out = tmp_path / "sbom.json"
    recipe = re.search(r"^sbom:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    for made, given in (("\\\n", " "), ("$(TOOLS)", TOOL.parents[1]), ("build/sbom.cdx.json", out),
                        ("$(SBOM_OF)", sys.executable)):
        recipe = recipe.replace(made, str(given))
    subprocess.run(recipe.split(), check=True, cwd=ROOT, timeout=240)
    bill = json.loads(out.read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == OURS
    named = {canonical(one["name"]): one["version"] for one in bill["components"]}
    for one in installed():
        assert named[canonical(one.metadata["Name"])] == one.version
