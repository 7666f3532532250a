"""Kubernetes with the KubeRay operator (1.6 or later): one RayJob per study, with its own cluster.

The image contains this package (``Dockerfile``). The store's credentials are a Secret of the
namespace, which is named here and never read; the operator creates the token. Pods can connect to
each other and to the store, and only the operator can connect to them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from cluster._kinds import WORKERS, Command, Job, Remote, short

HOME = "/home/segprint"
DISK_GIB = 20
"""The size limit of each temporary volume."""
MAX_NAME = 47
"""The longest name of a RayJob: the operator derives DNS names from it."""
MAX_BYTES = 2**20
"""The size limit of a ConfigMap."""
SUBMIT = """
state='{{.metadata.name}} {{.status.jobDeploymentStatus}}'
found=$({get} --ignore-not-found --output=jsonpath="$state")
case "$found" in
  '') ;;
  *' Complete' | *' Failed') {delete} ;;
  *) echo "{name} runs there already${{found#{name}}}"; exit 0 ;;
esac
{create}
"""
"""Submits a study unless it is running; one that ended is submitted again, and the driver skips
committed trials."""


@dataclass(frozen=True)
class Kuberay(Remote):
    """``segprint submit kuberay SPACE``; ``kubectl port-forward`` gives access to its dashboard."""

    image: str = "segprint:latest"
    namespace: str = "segprint"
    memory: str = "32Gi"
    """Memory per node."""
    secret: str = "segprint-store"  # noqa: S105  (its name)
    """The Secret whose keys are the variables for the store's credentials; empty for none."""
    service_account: str = ""
    """A service account with access to the store (default: one without any rights)."""
    spot: dict[str, str] = field(default_factory=dict[str, str])
    """The node selector of the workers, e.g. ``{"karpenter.sh/capacity-type": "spot"}``."""
    ports: tuple[int, ...] = (443,)
    """The ports of the store."""
    retries: int = 10
    """The largest number of restarts of a driver that died."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("image", "namespace", "memory"):
            if not getattr(self, what):
                raise ValueError(f"Kuberay: {what} must not be empty")
        if not all(0 < port < 2**16 for port in self.ports):
            raise ValueError(f"Kuberay: ports={self.ports} must be between 1 and 65535")

    @property
    def sends_source(self) -> bool:
        return False  # the image contains it

    def files(self, job: Job | None = None) -> dict[str, str]:
        support = [self._account(), self._policy()]
        if job is None:
            return {"support.yaml": _text(support)}
        return {
            "support.yaml": _text([*support, self._study(job)]),
            "rayjob.yaml": _text([self._rayjob(job)]),
        }

    def up(self) -> list[Command]:
        return [self._kubectl("apply", "-f", "support.yaml")]

    def down(self) -> list[Command]:
        kinds = "rayjob,configmap,networkpolicy,serviceaccount"
        return [self._kubectl("delete", kinds, "-l", f"segprint/cluster={self.name}")]

    def status(self) -> list[Command]:
        ours = ("-l", f"segprint/cluster={self.name}")
        study = "study {.metadata.labels.segprint/study} {.status.jobDeploymentStatus}"
        listed = f'{{range .items[*]}}{study} {{.status.reason}}{{"\\n"}}{{end}}'
        return [
            self._kubectl("get", "pods", *ours, "--output=wide"),
            # Only events report exhausted quotas, missing GPUs and images that cannot be pulled.
            self._kubectl("get", "events", "--field-selector=type=Warning"),
            self._kubectl("get", "rayjob", *ours, f"--output=jsonpath={listed}"),
        ]

    def submit(self, job: Job) -> list[Command]:
        name = self._name(job)
        verbs = {
            "get": self._kubectl("get", "rayjob", name),
            "delete": self._kubectl("delete", "rayjob", name),
            "create": self._kubectl("create", "-f", "rayjob.yaml"),
        }
        script = SUBMIT.format(name=name, **{k: shlex.join(v) for k, v in verbs.items()})
        return [*self.up(), ("bash", "-euc", script.strip())]

    def logs(self, job: Job) -> list[Command]:
        labels = f"segprint/study={job.label},segprint/role=submitter"
        return [self._kubectl("logs", "--follow", "--tail=-1", "-l", labels)]

    def _name(self, job: Job) -> str:
        return short(f"{self.name}-{job.label}", MAX_NAME)

    def _kubectl(self, *arguments: str) -> Command:
        return ("kubectl", "--namespace", self.namespace, *arguments)

    def _labels(self, **more: str) -> dict[str, str]:
        return {"segprint/cluster": self.name} | {f"segprint/{k}": v for k, v in more.items()}

    def _metadata(self, name: str, **labels: str) -> dict[str, Any]:
        return {"name": name, "namespace": self.namespace, "labels": self._labels(**labels)}

    def _account(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": self._metadata(self.name),
            "automountServiceAccountToken": False,
        }

    def _policy(self) -> dict[str, Any]:
        """Return the network policy.

        Pods of this cluster connect to each other. Other ingress is from the operator, other egress
        is to DNS and the store.
        """
        ours = {"podSelector": {"matchLabels": self._labels()}}
        operator = {
            "namespaceSelector": {},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
        }
        dns = [{"protocol": p, "port": 53} for p in ("UDP", "TCP")]
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self._metadata(self.name),
            "spec": {
                **ours,
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {"from": [ours]},
                    {"from": [operator], "ports": [{"protocol": "TCP", "port": 8265}]},
                ],
                "egress": [
                    {"to": [ours]},
                    {"ports": [*dns, *({"protocol": "TCP", "port": p} for p in self.ports)]},
                ],
            },
        }

    def _study(self, job: Job) -> dict[str, Any]:
        size = sum(len(text.encode()) for text in job.files.values())
        if size > MAX_BYTES:
            raise ValueError(
                f"the Python files in the directory of the study have {size / MAX_BYTES:.1f} MiB,"
                " Kubernetes takes at most 1: move the study to a directory of its own"
            )
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self._metadata(self._name(job), study=job.label),
            "data": {_key(path): text for path, text in job.files.items()},
        }

    def _rayjob(self, job: Job) -> dict[str, Any]:
        head = {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"}  # noqa: S104
        worker = {
            "groupName": "workers",
            "replicas": self.nodes,
            "minReplicas": self.nodes,
            "maxReplicas": self.nodes,
            "rayStartParams": {"num-cpus": str(self.cpus), "num-gpus": str(self.gpus)},
            "template": self._pod(job, "worker", self.spot),
        }
        return {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": self._metadata(self._name(job), study=job.label),
            "spec": {
                "entrypoint": f"cd {HOME} && python {shlex.join(job.run)}",
                "submissionMode": "K8sJobMode",
                "submitterPodTemplate": self._pod(job, "submitter"),
                "backoffLimit": self.retries,
                "activeDeadlineSeconds": round(3600 * self.hours),
                "shutdownAfterJobFinishes": True,
                "ttlSecondsAfterFinished": 300,
                "rayClusterSpec": {
                    "rayVersion": "2.60.0",
                    "authOptions": {"mode": "token"},
                    "headGroupSpec": {
                        "serviceType": "ClusterIP",
                        "rayStartParams": head,
                        "template": self._pod(job, "head"),
                    },
                    "workerGroupSpecs": [worker],
                },
            },
        }

    def _pod(self, job: Job, role: str, where: dict[str, str] | None = None) -> dict[str, Any]:
        sizes = {"cache": f"{DISK_GIB}Gi", "tmp": f"{DISK_GIB}Gi"}
        volumes: list[dict[str, Any]] = [
            *({"name": k, "emptyDir": {"sizeLimit": v}} for k, v in sizes.items()),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
            {
                "name": "study",
                "configMap": {
                    "name": self._name(job),
                    "items": [{"key": _key(path), "path": path} for path in job.files],
                },
            },
        ]
        spec = {
            "serviceAccountName": self.service_account or self.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [self._container(job, role)],
            "volumes": volumes if job.files else volumes[:-1],
            **({"nodeSelector": where} if where else {}),
            **({"restartPolicy": "Never"} if role == "submitter" else {}),
        }
        labels = self._labels(study=job.label, role=role)
        return {"metadata": {"labels": labels}, "spec": spec}

    def _container(self, job: Job, role: str) -> dict[str, Any]:
        small = role != "worker"
        gpus = {} if small or not self.gpus else {"nvidia.com/gpu": self.gpus}
        limits = {
            "cpu": "2" if small else str(self.cpus),
            "memory": "8Gi" if small else self.memory,
            "ephemeral-storage": f"{2 * DISK_GIB}Gi",
            **gpus,
        }
        env = {"HOME": "/cache", "SEGPRINT_CACHE": "/cache", WORKERS: self.shape}
        secret = self.secret if role != "submitter" else ""  # it only submits the job
        mounts = [
            {"name": "cache", "mountPath": "/cache"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            *(
                {
                    "name": "study",
                    "mountPath": f"{HOME}/{path}",
                    "subPath": path,
                    "readOnly": True,
                }
                for path in job.files
            ),
        ]
        return {
            "name": f"ray-{role}",
            "image": self.image,
            "workingDir": HOME,
            "env": [{"name": k, "value": v} for k, v in (env | dict(self.env)).items()],
            **({"envFrom": [{"secretRef": {"name": secret}}]} if secret else {}),
            "resources": {"limits": limits, "requests": limits},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": mounts,
        }


def _key(path: str) -> str:
    return path.replace("/", "__")


def _text(documents: list[dict[str, Any]]) -> str:
    import yaml

    class Plain(yaml.SafeDumper):
        """Writes YAML for people: without references, and text of several lines as a block."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        untyped: Any = dumper  # represent_scalar has no types
        style = "|" if "\n" in value else None
        return untyped.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Plain.add_representer(str, text)
    return yaml.dump_all(documents, Dumper=Plain, sort_keys=False, width=1000)
