"""The manifests in deploy/ are valid, and name only commands, ports, paths, keys and columns that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import psycopg
import pytest
import yaml

from dicomnode.cli import COMMANDS, cli
from dicomnode.config import load

ROOT = Path(__file__).parents[2]
KUBERNETES, COMPOSE = ROOT / "deploy" / "kubernetes", ROOT / "deploy" / "compose"
SCHEMA = "1.37"
OTHER_APIS = ("kustomize.config.k8s.io/", "keda.sh/")
SERVICE_KEYS = frozenset({
    "image", "restart", "environment", "volumes", "secrets", "networks", "user", "read_only", "tmpfs", "cap_drop",
    "security_opt", "depends_on", "command", "entrypoint", "ports", "stop_grace_period", "mem_limit",
    "healthcheck", "deploy"})
SHELL = re.compile(r"ls /data/run/(\w+)\.\*\.\$\(uname -n\)\.alive")

Row = dict[str, Any]


def documents() -> Iterator[tuple[Path, Row]]:
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield path, document


def of_kind(*kinds: str) -> list[Row]:
    return [document for _, document in documents() if document["kind"] in kinds]


def pods() -> dict[str, Row]:
    return {one["metadata"]["name"]: one["spec"]["template"] for one in of_kind("Deployment", "Job")}


def services() -> dict[str, Row]:
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]


def is_command(words: list[str]) -> bool:
    found: click.Command | None = cli
    for word in words:
        if not isinstance(found, click.Group):
            return False
        found = found.get_command(click.Context(found), word)
    return found is not None and words[0] in COMMANDS


def test_every_manifest_is_valid_by_the_schema_of_kubernetes():
    checked = 0
    for path, document in documents():
        if not document["apiVersion"].startswith(OTHER_APIS):
            kubernetes_validate.validate(document, SCHEMA, strict=True)
            checked += 1
        assert document["kind"], path
    assert checked == 19


def test_every_container_runs_a_command_of_the_node():
    for name, pod in pods().items():
        (container,) = pod["spec"]["containers"]
        assert is_command(container["args"]), name
        assert "command" not in container  # the image's entry point is `dicomnode`
    commands = {" ".join(pod["spec"]["containers"][0]["args"]) for pod in pods().values()}
    assert commands == {"receive", "keep", "work", "deliver", "web", "db upgrade"}
    ours = {name: one for name, one in services().items() if name not in {"database", "models"}}
    assert all(is_command(one["command"]) for one in ours.values())
    assert {" ".join(one["command"]) for one in ours.values()} == commands


def test_every_pod_runs_without_privileges_on_a_root_that_is_read_only():
    for name, pod in pods().items():
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True, name
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    for name, service in services().items():
        if name != "database":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
            assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_is_mounted_exists_and_the_configuration_lies_where_the_environment_says():
    for name, pod in pods().items():
        (container,) = pod["spec"]["containers"]
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        assert mounts.keys() == {one["name"] for one in pod["spec"]["volumes"]}, name
        environment = {one["name"]: one["value"] for one in container["env"]}
        assert environment["DICOMNODE_CONFIG"] == f"{mounts['config']}/node.toml"
    (claim,) = of_kind("PersistentVolumeClaim")
    claims = {volume["persistentVolumeClaim"]["claimName"] for pod in pods().values()
              for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume}
    assert claims == {claim["metadata"]["name"]}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("folder", [KUBERNETES, COMPOSE], ids=["kubernetes", "compose"])
def test_the_configuration_is_one_that_the_node_takes(folder, tmp_path):
    text = (folder / "node.toml").read_text(encoding="utf-8")
    secret = tmp_path / "database_url"
    secret.write_text("postgresql+psycopg://dicomnode@database/dicomnode")
    stated = tomllib.loads(text)["node"]["database_url_file"]
    (tmp_path / "node.toml").write_text(text.replace(stated, str(secret)), encoding="utf-8")
    shutil.copytree(ROOT / "config" / "models", tmp_path / "models")
    config = load(tmp_path / "node.toml", environ={})
    assert config.database_url.startswith("postgresql+psycopg://")
    mounts = {one["mountPath"] for one in pods()["dicomnode-worker"]["spec"]["containers"][0]["volumeMounts"]}
    assert {str(config.node.data_dir), str(Path(stated).parent)} <= mounts
    assert {peer.port for peer in config.peers.values()} <= egress_ports("sender")


def test_the_shipped_models_come_onto_an_empty_volume_and_never_over_what_lies_there(tmp_path):
    (script,) = pods()["dicomnode-migrate"]["spec"]["initContainers"][0]["args"]
    assert services()["models"]["command"] == [script]
    run = [sys.executable, "-c", script.replace("/data/models", str(tmp_path / "models"))]
    subprocess.run(run, cwd=ROOT, check=True, timeout=60)
    (tmp_path / "models" / "demo_chest.toml").write_text("ours")
    subprocess.run(run, cwd=ROOT, check=True, timeout=60)
    assert (tmp_path / "models" / "demo_chest.toml").read_text() == "ours"
    assert (tmp_path / "models" / "phantom_chest_ct_segmentation").is_dir()


def test_both_ways_of_deploying_configure_the_same():
    first, second = ((folder / "node.toml").read_text(encoding="utf-8").splitlines()[1:]
                     for folder in (KUBERNETES, COMPOSE))
    assert first == second


def test_ports_of_probes_services_and_policies_are_those_that_the_node_listens_on():
    config = tomllib.loads((KUBERNETES / "node.toml").read_text(encoding="utf-8"))
    wanted = {"dicomnode-receiver": config["node"]["port"], "dicomnode-web": config["web"]["port"]}
    for name, port in wanted.items():
        (container,) = pods()[name]["spec"]["containers"]
        (named,) = container["ports"]
        assert named["containerPort"] == port
        probes = [container[probe] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
                  if probe in container]
        assert all((one.get("tcpSocket") or one["httpGet"])["port"] == named["name"] for one in probes)
        (service,) = [one for one in of_kind("Service") if one["spec"]["selector"]["role"] in name]
        assert [(one["port"], one["targetPort"]) for one in service["spec"]["ports"]] == [(port, named["name"])]
        assert ingress_ports(service["spec"]["selector"]["role"]) == {port}


def test_an_exec_probe_looks_for_the_file_that_the_role_holds():
    from dicomnode.run import receiver, sender, worker

    held = {"worker": worker, "sender": sender, "receiver": receiver}
    for pod in pods().values():
        for container in pod["spec"]["containers"]:
            script = container.get("readinessProbe", {}).get("exec", {}).get("command", [""])[-1]
            if script:
                (role,) = SHELL.fullmatch(script).groups()
                assert f'"{role}")' in Path(held[role].__file__).read_text(encoding="utf-8")


def test_selectors_and_budgets_fit_the_deployments():
    deployments = {one["metadata"]["name"]: one for one in of_kind("Deployment")}
    for one in deployments.values():
        assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
    for budget in of_kind("PodDisruptionBudget"):
        deployment = deployments[budget["metadata"]["name"]]
        assert budget["spec"]["selector"] == deployment["spec"]["selector"]
        assert budget["spec"].get("minAvailable", 0) < deployment["spec"]["replicas"]


def test_every_file_is_named_by_its_kustomization_and_every_named_file_is_there():
    for path in KUBERNETES.rglob("kustomization.yaml"):
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
        there = {one.name for one in path.parent.glob("*.yaml")} - {path.name}
        assert {one for one in stated["resources"] if one != ".."} == there, path
        for generator in stated.get("configMapGenerator", []):
            assert all((path.parent / name).is_file() for name in generator["files"])


def test_the_question_that_scales_workers_is_answered_by_the_ledger(postgres_url):
    (scaled,) = of_kind("ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] in pods()
    (trigger,) = scaled["spec"]["triggers"]
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert connection.execute(trigger["metadata"]["query"]).fetchone() == (0,)


def test_the_compose_file_names_only_what_it_declares():
    composed = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    for name, service in composed["services"].items():
        assert service.keys() <= SERVICE_KEYS, name
        assert set(service["networks"]) <= composed["networks"].keys()
        assert set(service.get("depends_on", ())) <= composed["services"].keys()
        secrets = {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}
        assert secrets <= composed["secrets"].keys()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (COMPOSE / source).exists() if source.startswith(".") else source in composed["volumes"]
    gpu = yaml.safe_load((COMPOSE / "compose.gpu.yaml").read_text(encoding="utf-8"))
    assert gpu["services"].keys() <= composed["services"].keys()


def test_the_containers_run_as_the_user_of_the_image_by_its_entry_point():
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (.+)$", image, re.MULTILINE)
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", image, re.MULTILINE)
    assert entry == '["dicomnode"]'
    assert {f"{pod['spec']['securityContext']['runAsUser']}:{pod['spec']['securityContext']['runAsGroup']}"
            for pod in pods().values()} == {user}
    assert {one["user"] for name, one in services().items() if name != "database"} == {user}


def test_every_metric_command_and_file_that_the_page_on_scale_names_exists():
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    exposed = (ROOT / "dicomnode" / "web" / "metrics.py").read_text(encoding="utf-8")
    for metric in re.findall(r"dicomnode_([a-z_]+)", page):
        assert f'"{metric}"' in exposed or metric == "jobs", metric  # jobs and deliveries are made in one loop
    for words in re.findall(r"`dicomnode ([a-z ]+?)(?: --[a-z]+)?`", page):
        assert is_command(words.split()), words
    for link in re.findall(r"\]\(([^)#]+)", page):
        assert (ROOT / "docs" / link).exists(), link
    for stated in re.findall(r"`((?:tests|benchmarks|deploy)/[^` ]+)`", page):
        assert (ROOT / stated).exists(), stated


def ingress_ports(role: str) -> set[int]:
    return {port["port"] for rule in _rules(role, "ingress") for port in rule["ports"]}


def egress_ports(role: str) -> set[int]:
    return {port["port"] for rule in _rules(role, "egress") for port in rule["ports"]}


def _rules(role: str, way: str) -> list[Row]:
    return [rule for one in of_kind("NetworkPolicy")
            if one["spec"]["podSelector"]["matchLabels"].get("role") == role for rule in one["spec"].get(way, ())]
