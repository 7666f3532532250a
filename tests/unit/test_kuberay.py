"""What is sent to Kubernetes: valid there, confined, and without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cluster.kuberay import Kuberay
from tests.unit.test_clusters import JOB


def documents(where: Kuberay) -> list[dict[str, Any]]:
    return [d for text in where.files(JOB).values() for d in yaml.safe_load_all(text)]


def pods(where: Kuberay) -> Iterator[dict[str, Any]]:
    (job,) = (d for d in documents(where) if d["kind"] == "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    yield spec["headGroupSpec"]["template"]
    yield from (group["template"] for group in spec["workerGroupSpecs"])
    yield job["spec"]["submitterPodTemplate"]


KUBERNETES = [
    Kuberay(),
    Kuberay(gpus=0, secret="", spot={"karpenter.sh/capacity-type": "spot"}, ports=(443, 8333)),
]


@pytest.mark.parametrize("where", KUBERNETES)
def test_kubernetes_takes_every_document_and_pod(where: Kuberay) -> None:
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    plain = [d for d in documents(where) if not d["apiVersion"].startswith("ray.io/")]
    assert {d["kind"] for d in plain} == {"ServiceAccount", "NetworkPolicy", "ConfigMap"}
    for pod in pods(where):
        plain.append({"apiVersion": "v1", "kind": "Pod", **pod})
        plain[-1]["metadata"]["name"] = "x"
    for document in plain:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("where", KUBERNETES)
def test_every_pod_is_confined(where: Kuberay) -> None:
    for pod in pods(where):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec["volumes"])
        for container in spec["containers"]:
            inside = container["securityContext"]
            assert inside["readOnlyRootFilesystem"] is True
            assert inside["allowPrivilegeEscalation"] is False
            assert inside["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"].keys() >= {"cpu", "memory", "ephemeral-storage"}
            assert all("value" in variable for variable in container["env"])
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_credentials_reach_kubernetes_by_reference_and_only_where_they_are_needed() -> None:
    head, worker, submitter = pods(Kuberay(secret="mine"))
    for pod in (head, worker):
        assert pod["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "mine"}}]
    assert "envFrom" not in submitter["spec"]["containers"][0]
    (job,) = (d for d in documents(Kuberay()) if d["kind"] == "RayJob")
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert not any(d["kind"] == "Secret" for d in documents(Kuberay()))


def test_the_network_policy_selects_every_pod_and_lets_in_the_operator_alone() -> None:
    (policy,) = (d for d in documents(Kuberay()) if d["kind"] == "NetworkPolicy")
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    assert all(chosen <= pod["metadata"]["labels"].items() for pod in pods(Kuberay()))
    ours, operator = policy["spec"]["ingress"]
    assert ours["from"] == [{"podSelector": policy["spec"]["podSelector"]}]
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}


def test_the_users_files_are_where_the_command_looks_for_them() -> None:
    (config,) = (d for d in documents(Kuberay()) if d["kind"] == "ConfigMap")
    head, *_ = pods(Kuberay())
    (volume,) = (v for v in head["spec"]["volumes"] if v["name"] == "study")
    found = {i["path"]: config["data"][i["key"]] for i in volume["configMap"]["items"]}
    assert found == dict(JOB.files)
    mounts = head["spec"]["containers"][0]["volumeMounts"]
    places = {m["mountPath"] for m in mounts if m["name"] == "study"}
    assert places == {f"{head['spec']['containers'][0]['workingDir']}/{p}" for p in JOB.files}
