# SPDX-License-Identifier: Apache-2.0
"""What kustomize builds of deploy/kubernetes, without a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from genjscc.client.transport import DEFAULT_PORTS
from tests.helpers.deploy_tools import DEPLOY, run

OVERLAYS = ("cpu", "gpu", "single-node")
SERVICES = ("transmitter", "channel", "receiver")


@cache
def built(overlay: str) -> str:
    return run("kubectl", "kustomize", DEPLOY / "kubernetes" / "overlays" / overlay)


def objects(overlay: str, kind: str) -> dict[str, dict[str, Any]]:
    everything = yaml.safe_load_all(built(overlay))
    return {one["metadata"]["name"]: one for one in everything if one["kind"] == kind}


def pods(overlay: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("Deployment", "StatefulSet"):
        for name, workload in objects(overlay, kind).items():
            yield name, workload["spec"]["template"]["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_strictly_valid(overlay: str, tmp_path: Path) -> None:
    target = tmp_path / f"{overlay}.yaml"
    target.write_text(built(overlay))
    run("kubernetes-validate", "--strict", "--quiet", target)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_few_rights_and_say_what_they_need(overlay: str) -> None:
    for name, pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        if name != "prometheus":  # it asks the cluster where the pods are
            assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
        image, _, tag = container["image"].rpartition(":")
        assert image, container["image"]
        assert tag != "latest"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert probe in container, f"{name}: {probe}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_was_accepted_has_time_to_end(overlay: str) -> None:
    for role in SERVICES:
        pod = dict(pods(overlay))[role]
        (container,) = pod["containers"]
        environment = {one["name"]: one["value"] for one in container["env"]}
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed = sleep + float(environment["GENJSCC_GRACE_S"])
        assert pod["terminationGracePeriodSeconds"] > needed


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_are_headless_and_found_at_the_standard_ports(overlay: str) -> None:
    for role, port in DEFAULT_PORTS.items():
        service = objects(overlay, "Service")[role]["spec"]
        assert service["clusterIP"] == "None"
        assert {one["port"] for one in service["ports"]} == {port, 9464}
        deployment = objects(overlay, "Deployment")[role]["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        assert service["selector"].items() <= labels.items()
        (container,) = deployment["template"]["spec"]["containers"]
        assert container["readinessProbe"]["grpc"] == {"port": port}
        assert {"name": "grpc", "containerPort": port}.items() <= container["ports"][0].items()


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_replicas_follow_the_queue(overlay: str) -> None:
    for role in SERVICES:
        scaler = objects(overlay, "HorizontalPodAutoscaler")[role]["spec"]
        assert scaler["scaleTargetRef"]["name"] == role
        (metric,) = scaler["metrics"]
        assert metric["pods"]["metric"]["name"] == "genjscc_queue_depth"
        # Else each apply would set the number of replicas back.
        assert "replicas" not in objects(overlay, "Deployment")[role]["spec"]
        budget = objects(overlay, "PodDisruptionBudget")[role]["spec"]
        assert budget["minAvailable"] < scaler["minReplicas"]


def test_a_gpu_for_each_replica() -> None:
    for role in SERVICES:
        pod = dict(pods("gpu"))[role]
        (container,) = pod["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert {"name": "GENJSCC_DEVICE", "value": "cuda"} in container["env"]
        assert container["image"].endswith("-cuda")
    assert "nvidia" not in built("cpu")


def test_a_single_node_can_be_emptied() -> None:
    assert not objects("single-node", "PodDisruptionBudget")
    for role in SERVICES:
        assert objects("single-node", "Deployment")[role]["spec"]["replicas"] == 1


def test_policies_name_who_exists() -> None:
    policies = objects("cpu", "NetworkPolicy")
    assert policies["nothing"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policies["nothing"]["spec"]
    names = {name for name, _ in pods("cpu")}
    for policy in policies.values():
        selected = policy["spec"]["podSelector"]["matchLabels"]
        assert selected.get("app.kubernetes.io/name", "gateway") in names
    for role, port in DEFAULT_PORTS.items():
        rules = policies[f"to-{role}"]["spec"]["ingress"]
        assert [rule["ports"] for rule in rules] == [[{"port": port}], [{"port": 9464}]]


def test_everything_is_in_the_namespace_and_part_of_the_project() -> None:
    for one in yaml.safe_load_all(built("cpu")):
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == "genjscc"
    for workload in objects("cpu", "Deployment").values():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "genjscc"


COMPONENTS = sorted(one.name for one in (DEPLOY / "kubernetes" / "components").iterdir())


@pytest.mark.parametrize("chosen", [*([one] for one in COMPONENTS), COMPONENTS])
def test_components_are_of_use_alone_and_together(chosen: list[str], tmp_path: Path) -> None:
    root = os.path.relpath(DEPLOY / "kubernetes", tmp_path)
    kustomization = {
        "resources": [f"{root}/base"],
        "components": [f"{root}/components/{one}" for one in chosen],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    target = tmp_path / "built.yaml"
    target.write_text(run("kubectl", "kustomize", tmp_path))
    run("kubernetes-validate", "--strict", "--quiet", target)
    if "tls" in chosen:
        deployments = [
            one for one in yaml.safe_load_all(target.read_text()) if one["kind"] == "Deployment"
        ]
        for one in deployments:
            (container,) = one["spec"]["template"]["spec"]["containers"]
            name = one["metadata"]["name"]
            if name == "gateway":
                assert container["command"][2] == "/etc/envoy/envoy-tls.yaml"
                continue
            probe = container["readinessProbe"]
            assert "grpc" not in probe  # Kubernetes' own knows no TLS
            assert probe["exec"]["command"][-1] == f"127.0.0.1:{DEFAULT_PORTS[name]}"
            assert "GENJSCC_GRACE_S" in {one["name"] for one in container["env"]}  # it stays


def test_components_tell_what_they_are() -> None:
    for component in (DEPLOY / "kubernetes" / "components").iterdir():
        assert (component / "README.md").is_file(), component
