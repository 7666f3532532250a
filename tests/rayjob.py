"""A RayJob as KubeRay takes it: the fields of its API ``ray.io/v1``, and the operator's own rules.

KubeRay publishes its CRDs in its repository only, and no package carries them. The fields, types
and rules here are written down from its API types (``rayjob_types.go``, ``raycluster_types.go``)
and from what its operator checks (``validation.go``), without what releases after 1.6 brought.
Pods are Kubernetes' own ``PodTemplateSpec``, which the CRD embeds, from the package
kubernetes-validate. What is not written down is refused, so this is stricter than an API server,
which drops it in silence.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

import jsonschema
import kubernetes_validate

TEXT, WHOLE, NUMBER, TRUTH = ({"type": t} for t in ("string", "integer", "number", "boolean"))
INT32 = {**WHOLE, "minimum": -(2**31), "maximum": 2**31 - 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
MANAGERS = {"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]}
MOST_NAME = 47
"""63 of a DNS label, less "-serve-svc", less what the operator appends for the RayCluster."""
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
OLDEST_RAY_WITH_TOKENS = (2, 52)


def fields(known: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }


def core(kind: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/io.k8s.api.core.v1.{kind}"}


METADATA = {"annotations": TEXTS, "labels": TEXTS, "name": TEXT, "namespace": TEXT}
EMBEDDED = fields({**METADATA, "finalizers": {"type": "array", "items": TEXT}})
POD = fields({"metadata": EMBEDDED, "spec": core("PodSpec")})
SERVICES = {"enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]}
HEAD = {
    "enableIngress": TRUTH,
    "headService": core("Service"),
    "labels": TEXTS,
    "rayStartParams": TEXTS,
    "resources": TEXTS,
    "serviceType": SERVICES,
    "template": POD,
}
WORKERS = {
    "groupName": TEXT,
    "idleTimeoutSeconds": INT32,
    "labels": TEXTS,
    "maxReplicas": INT32,
    "minReplicas": INT32,
    "numOfHosts": INT32,
    "rayStartParams": TEXTS,
    "replicas": INT32,
    "resources": TEXTS,
    "scaleStrategy": fields({"workersToDelete": {"type": "array", "items": TEXT}}),
    "suspend": TRUTH,
    "template": POD,
}
AUTOSCALER = {
    "env": {"type": "array", "items": core("EnvVar")},
    "envFrom": {"type": "array", "items": core("EnvFromSource")},
    "idleTimeoutSeconds": INT32,
    "image": TEXT,
    "imagePullPolicy": TEXT,
    "resources": core("ResourceRequirements"),
    "securityContext": core("SecurityContext"),
    "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
    "version": {"enum": ["v1", "v2"]},
    "volumeMounts": {"type": "array", "items": core("VolumeMount")},
}
RAY_CLUSTER = {
    "authOptions": fields({"mode": {"enum": ["disabled", "token"]}, "secretName": TEXT}),
    "autoscalerOptions": fields(AUTOSCALER),
    "enableInTreeAutoscaling": TRUTH,
    "headGroupSpec": fields(HEAD, "template"),
    "headServiceAnnotations": TEXTS,
    "managedBy": MANAGERS,
    "rayVersion": TEXT,
    "suspend": TRUTH,
    "workerGroupSpecs": {
        "type": "array",
        "items": fields(WORKERS, "groupName", "minReplicas", "maxReplicas", "template"),
    },
}
RAY_JOB = {
    "activeDeadlineSeconds": INT32,
    "backoffLimit": INT32,
    "clusterSelector": TEXTS,
    "entrypoint": TEXT,
    "entrypointNumCpus": NUMBER,
    "entrypointNumGpus": NUMBER,
    "entrypointResources": TEXT,
    "jobId": TEXT,
    "managedBy": MANAGERS,
    "metadata": TEXTS,
    "rayClusterSpec": fields(RAY_CLUSTER, "headGroupSpec"),
    "runtimeEnvYAML": TEXT,
    "shutdownAfterJobFinishes": TRUTH,
    "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    "submitterConfig": fields({"backoffLimit": INT32}),
    "submitterPodTemplate": POD,
    "suspend": TRUTH,
    "ttlSecondsAfterFinished": INT32,
}


@cache
def _validator() -> jsonschema.Draft202012Validator:
    """Kubernetes' definitions, in which no field that it does not know is allowed, and ours."""
    version = f"v{kubernetes_validate.latest_version()}-local-strict"
    where = resources.files(kubernetes_validate) / "kubernetes-json-schema" / version
    pods = json.loads((where / "_definitions.json").read_text())["$defs"]
    shape = {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": fields(METADATA, "name"),
        "spec": fields(RAY_JOB),
    }
    return jsonschema.Draft202012Validator({**fields(shape, *shape), "$defs": pods})


def faults(job: dict[str, Any]) -> list[str]:
    """Why KubeRay would refuse or ignore part of a RayJob; nothing where it takes all of it."""
    wrong = [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(job)]
    return wrong or list(_rules(job["metadata"]["name"], job["spec"]))


def _rules(name: str, spec: dict[str, Any]) -> list[str]:
    """The operator's checks, as far as they concern a job with a cluster of its own."""
    cluster = spec.get("rayClusterSpec", {})
    groups = [cluster.get("headGroupSpec", {}), *cluster.get("workerGroupSpecs", [])]
    ray = tuple(int(part) for part in cluster.get("rayVersion", "0.0").split(".")[:2])
    token = cluster.get("authOptions", {}).get("mode") == "token"
    broken = {
        f"name has {len(name)} characters, at most {MOST_NAME}": len(name) > MOST_NAME,
        "name must be a DNS-1035 label": not DNS_LABEL.fullmatch(name),
        "neither rayClusterSpec nor clusterSelector": not cluster and "clusterSelector" not in spec,
        "a group without a container": not all(g["template"]["spec"]["containers"] for g in groups),
        "activeDeadlineSeconds must be positive": spec.get("activeDeadlineSeconds", 1) <= 0,
        "backoffLimit must not be negative": spec.get("backoffLimit", 0) < 0,
        "ttlSecondsAfterFinished must not be negative": spec.get("ttlSecondsAfterFinished", 0) < 0,
        "ttlSecondsAfterFinished needs shutdownAfterJobFinishes": bool(
            spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes")
        ),
        "tokens need Ray 2.52 or later": token and ray < OLDEST_RAY_WITH_TOKENS,
    }
    return [rule for rule, is_broken in broken.items() if is_broken]
