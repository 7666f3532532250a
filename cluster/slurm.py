"""A Slurm partition: one sbatch job per study, which starts Ray on all of its nodes.

Every node must reach the files and the store. The store's credentials are taken from the
environment of ``sbatch``, or from a file that ``setup`` sources.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from cluster._kinds import WORKERS, Command, Job, Remote

SCRIPT = r"""
set -euo pipefail
umask 077
{setup}
{env}
cd "$SLURM_SUBMIT_DIR/source"
python=$(command -v python3)
ray=("$python" -m ray.scripts.scripts)

# The token is of this job only; its nodes can read it, other users cannot.
run=$(mktemp -d "$SLURM_SUBMIT_DIR/run-XXXXXX")
"$python" -c 'import secrets; print(secrets.token_hex(32))' > "$run/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$run/token" RAY_USAGE_STATS_ENABLED=0

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=$(getent ahostsv4 "${{nodes[0]}}" | awk 'NR == 1 {{print $1}}')
export RAY_ADDRESS="$head:$((20000 + SLURM_JOB_ID % 10000))" {workers}={shape}
driver='' again='' started=()

leave() {{
  trap - EXIT
  kill "${{started[@]}}" 2>/dev/null || true
  wait || true
  rm -rf "$run"
}}
trap leave EXIT
# On TERM the driver saves checkpoints and ends. Shortly before the time limit (USR1), the job is
# also queued again.
trap 'kill -TERM $driver 2>/dev/null || true' TERM INT
trap 'again=1; kill -TERM $driver 2>/dev/null || true' USR1

# Jobs that share a node need ports of their own; the log says when the head is ready for nodes.
PYTHONUNBUFFERED=1 "${{ray[@]}}" start --head --block --node-ip-address="$head" \
  --port="${{RAY_ADDRESS##*:}}" --ray-client-server-port=$((30000 + SLURM_JOB_ID % 10000)) \
  --num-cpus={cpus} --num-gpus={gpus} --dashboard-host=127.0.0.1 --dashboard-port=0 \
  --temp-dir="/tmp/ray-$SLURM_JOB_ID" > "$SLURM_SUBMIT_DIR/ray-$head.log" 2>&1 &
started+=($!)
for _ in {{1..120}}; do
  grep -q 'Ray runtime started' "$SLURM_SUBMIT_DIR/ray-$head.log" && break
  kill -0 "${{started[0]}}" || {{ cat "$SLURM_SUBMIT_DIR/ray-$head.log"; exit 1; }}
  sleep 1
done
for node in "${{nodes[@]:1}}"; do
  srun --nodes=1 --ntasks=1 --nodelist="$node" --export=ALL \
    "${{ray[@]}}" start --block --address="$RAY_ADDRESS" --num-cpus={cpus} --num-gpus={gpus} \
    > "$SLURM_SUBMIT_DIR/ray-$node.log" 2>&1 &
  started+=($!)
done

{command} &
driver=$!
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2>/dev/null; do  # a signal interrupts wait, not the driver
  code=0
  wait "$driver" || code=$?
done
leave
if [ -n "$again" ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


@dataclass(frozen=True)
class Slurm(Remote):
    """``segprint submit slurm SPACE``; a second job of the same study waits for the first."""

    partition: str = ""
    account: str = ""
    memory: str = "0"
    """Memory per node; 0 is all of it."""
    setup: str = ""
    """Shell commands after which ``python3`` has this package, e.g. ``module load cuda``."""
    restarts: int = 10
    """The largest number of times that a job is queued again after it reached its time limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("partition", "account", "memory"):
            value = getattr(self, what)
            if value and not value.replace("-", "").replace("_", "").replace(",", "").isalnum():
                raise ValueError(
                    f"Slurm: {what}={value!r} must consist of letters, digits, '-', '_' and ','"
                )
        if self.restarts < 0:
            raise ValueError(f"Slurm: restarts={self.restarts} must be at least 0")

    def directory(self, job: Job | None = None) -> str:
        # A queued job keeps the source with which it was submitted.
        return self.name if job is None else f"{self.name}/{job.name}"

    def files(self, job: Job | None = None) -> dict[str, str]:
        return {} if job is None else {"job.sbatch": self._script(job)}

    def up(self) -> list[Command]:
        return []  # the job of a study starts its own Ray

    def down(self) -> list[Command]:
        return [("bash", "-c", f"{self._own_jobs('{print $1}')} | xargs -r scancel")]

    def status(self) -> list[Command]:
        where = (f"--partition={self.partition}",) if self.partition else ()
        action = f'{{print "study", substr($4, {len(self.name) + 2}), $3, "job", $1, $5}}'
        nodes = ("sinfo", "--format=node %P %t %D with %c CPUs, %G", *where)
        return [nodes, ("bash", "-c", self._own_jobs(action))]

    def _own_jobs(self, action: str) -> str:
        """Return a command that applies an awk action to the jobs of this cluster.

        The fields are id, comment, state, name and reason.
        """
        jobs = "squeue --me --noheader --format='%i %k %T %j %R'"
        return f"set -o pipefail; {jobs} | awk '$2 == \"{self._mark}\" {action}'"

    @property
    def _mark(self) -> str:
        return f"segprint/{self.name}"

    def submit(self, job: Job) -> list[Command]:
        return [("sbatch", "job.sbatch")]

    def logs(self, job: Job) -> list[Command]:
        return [("tail", "-n", "+1", "-F", "job.log")]

    def _script(self, job: Job) -> str:
        minutes = max(1, round(60 * self.hours))
        options = {
            "job-name": f"{self.name}-{job.label}",
            "comment": self._mark,
            "dependency": "singleton",
            "nodes": self.nodes,
            "ntasks-per-node": 1,
            "cpus-per-task": self.cpus,
            "gpus-per-node": self.gpus or None,
            "mem": self.memory,
            "time": minutes,
            "partition": self.partition or None,
            "account": self.account or None,
            "signal": "B:USR1@180",
            "output": "job.log",
            "open-mode": "append",
        }
        head = [f"#SBATCH --{k}={v}" for k, v in options.items() if v is not None]
        body = SCRIPT.format(
            setup=self.setup,
            env="\n".join(f"export {k}={shlex.quote(v)}" for k, v in self.env.items()),
            workers=WORKERS,
            shape=self.shape,
            cpus=self.cpus,
            gpus=self.gpus,
            restarts=self.restarts,
            command=f'"$python" {shlex.join(job.run)}',
        )
        return "\n".join(["#!/bin/bash", *head, "#SBATCH --requeue", body])
