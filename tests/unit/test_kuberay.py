"""What is sent to Kubernetes: valid there, confined, and without secrets."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.kuberay import Kuberay
from tests.rayjob import faults
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


def rayjob(where: Kuberay, name: str = JOB.name) -> dict[str, Any]:
    return yaml.safe_load(where.files(replace(JOB, name=name))["rayjob.yaml"])


@pytest.mark.parametrize("where", KUBERNETES)
@pytest.mark.parametrize("name", ["quickstart", "_Größe", "a" * 90, "x__y_"])
def test_kuberay_takes_the_job_of_a_study_of_any_name(where: Kuberay, name: str) -> None:
    for cluster in (where, replace(where, name="a-name-of-thirty-characters-xx")):
        assert faults(rayjob(cluster, name)) == []


def test_studies_whose_names_are_alike_have_jobs_of_their_own() -> None:
    names = ["a_b", "A_b", "a__b", "_a_b", "ä_b", "a" * 90, "a" * 91]
    assert len({rayjob(Kuberay(), name)["metadata"]["name"] for name in names}) == len(names)


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda job: job["spec"].update(shutdownAfterJobFinish=True), "shutdownAfterJobFinish"),
        (lambda job: job["spec"].update(shutdownAfterJobFinishes=False), "ttlSeconds"),
        (lambda job: job["spec"].update(backoffLimit="3"), "is not of type 'integer'"),
        (lambda job: job["spec"].update(activeDeadlineSeconds=0), "must be positive"),
        (lambda job: job["metadata"].update(name="x" * 48), "at most 47"),
        (lambda job: job["spec"]["rayClusterSpec"].update(rayVersion="2.9.3"), "2.52 or later"),
        (lambda job: job["spec"]["submitterPodTemplate"]["spec"].update(hostNet=True), "hostNet"),
        (
            lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("maxReplicas"),
            "'maxReplicas' is a required property",
        ),
    ],
)
def test_the_validator_refuses_what_kuberay_does(change: Change, fault: str) -> None:
    job = copy.deepcopy(rayjob(Kuberay()))
    change(job)
    assert fault in " ".join(faults(job))


KUBECTL = """#!/bin/bash
echo "$3" >> "$PLACE/said"
case "$3" in
  get) cat "$PLACE/state" 2> /dev/null || true ;;
  delete) rm "$PLACE/state" ;;
  create) test ! -e "$PLACE/state" && printf '%s ' "${NAME}" > "$PLACE/state" ;;
esac
"""
"""One RayJob, its name and state in a file; as the real one, it creates none that is there."""


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, ["apply", "get", "create"]),
        ("", ["apply", "get"]),  # the operator has not seen it yet
        ("Running", ["apply", "get"]),
        ("Failed", ["apply", "get", "delete", "create"]),
        ("Complete", ["apply", "get", "delete", "create"]),
    ],
)
def test_a_study_is_submitted_again_unless_it_runs(
    tmp_path: Path, state: str | None, said: list[str]
) -> None:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    name = rayjob(Kuberay())["metadata"]["name"]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "PLACE": str(tmp_path), "NAME": name}
    if state is not None:
        (tmp_path / "state").write_text(f"{name} {state}")
    told = ""
    for command in Kuberay().submit(JOB):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told += done.stdout
    assert (tmp_path / "said").read_text().split() == said
    assert (f"{name} runs there already" in told) == (said[-1] == "get")


def test_files_that_no_configmap_holds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.1 MiB, Kubernetes takes at most 1"):
        Kuberay().files(replace(JOB, files={"a.py": "x" * (2**20 + 100_000)}))


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
