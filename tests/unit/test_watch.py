"""The machines of a cloud end by themselves, and what makes them is what the clouds take."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import jsonschema
import pytest
from botocore.validate import ParamValidator
from googleapiclient.discovery_cache import get_static_doc

from cluster.aws import Aws
from cluster.gcp import Gcp

CLOUDS = [Aws(), Gcp()]
PYTHON = """#!/bin/bash
line=$(head -1 "$PLACE/jobs"); sed -i 1d "$PLACE/jobs"
test "$line" = busy
"""
"""Is there a job? The next line of a file says so; none is left: no."""
CURL = """#!/bin/bash
if [[ "$*" == *DELETE* ]]; then echo "curl $* with $(cat)" >> "$PLACE/ended"; fi
case "${*: -1}" in
  */zone) echo projects/7/zones/z ;;
  */name) echo me ;;
  */token) echo '{"access_token": "planted"}' ;;
esac
"""


def watch(where: Aws | Gcp, place: Path, role: str, minutes: int, jobs: str) -> str:
    """Run the script with stand-ins, its minutes without length; how the machine ended."""
    tools, source = place / "tools", place / "source"
    for folder in (tools, source, place / "venv" / "bin"):
        folder.mkdir(parents=True, exist_ok=True)
    stands_in = {
        tools / "sleep": '#!/bin/sh\necho "$@" >> "$PLACE/slept"\n',
        tools / "sudo": '#!/bin/sh\necho "sudo $@" >> "$PLACE/ended"\n',
        tools / "pgrep": PYTHON,
        tools / "curl": CURL,
        place / "venv" / "bin" / "python": PYTHON,
    }
    for path, text in stands_in.items():
        path.write_text(text)
        path.chmod(0o755)
    (place / "jobs").write_text(jobs)
    (place / "slept").write_text("")
    (place / "watch.sh").write_text(where.files()["watch.sh"])
    subprocess.run(
        ["bash", str(place / "watch.sh"), role, str(minutes)],
        cwd=source,
        env={"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PLACE": str(place)},
        check=True,
        timeout=60,
        capture_output=True,
    )
    return (place / "ended").read_text()


@pytest.mark.parametrize("role", ["head", "worker"])
def test_a_machine_ends_after_so_many_minutes_without_work_in_a_row(
    role: str, tmp_path: Path
) -> None:
    ended = watch(Aws(), tmp_path, role, 3, "no\nno\nbusy\nno\nbusy\n")
    assert ended == "sudo shutdown -h now\n"
    assert (tmp_path / "slept").read_text().split() == ["60"] * 8  # the last three in a row


def test_google_deletes_a_machine_that_ends_and_the_token_is_in_no_argument(
    tmp_path: Path,
) -> None:
    curl, sudo = watch(Gcp(), tmp_path, "head", 1, "").splitlines()
    arguments, _, stdin = curl.partition(" with ")
    assert arguments.endswith("compute/v1/projects/7/zones/z/instances/me")
    assert "planted" not in arguments
    assert stdin == "Authorization: Bearer planted"
    assert sudo == "sudo shutdown -h now"


@pytest.mark.parametrize("where", CLOUDS)
def test_shellcheck_finds_nothing_in_what_a_machine_runs(where: Aws | Gcp, tmp_path: Path) -> None:
    config = where.config()
    kinds = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    scripts = [f"#!/bin/bash\n{line}\n" for kind in kinds for line in config[kind]]
    shellcheck = str(Path(sys.executable).with_name("shellcheck"))
    for text in [*scripts, where.files()["watch.sh"]]:
        (tmp_path / "script.sh").write_text(text)
        # SC2097, SC2098: a variable of a command means there what it means before it.
        for check in (["bash", "-n"], [shellcheck, "--exclude=SC2097,SC2098"]):
            command = [*check, str(tmp_path / "script.sh")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("where", CLOUDS)
def test_every_machine_watches_itself_and_workers_go_before_the_head(where: Aws | Gcp) -> None:
    config = where.config()
    assert config["file_mounts"]["~/segprint-watch"] == "watch.sh"
    assert "segprint-watch head 60" in config["head_start_ray_commands"][-1]
    assert "segprint-watch worker 10" in config["worker_start_ray_commands"][-1]
    with pytest.raises(ValueError, match="workers must end before the head"):
        type(where)(stop_minutes=10, idle_minutes=10)


def test_the_command_that_starts_the_watch_returns_and_does_so_once(tmp_path: Path) -> None:
    (tmp_path / "segprint-watch").write_text('echo "$@" >> ~/said; cat ~/fifo')
    (tmp_path / "segprint" / "source").mkdir(parents=True)
    os.mkfifo(tmp_path / "fifo")
    command = Aws().config()["head_start_ray_commands"][-1]
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    def run(text: str) -> None:
        # What kept the output open, as SSH waits for it, would run into the limit.
        subprocess.run(["bash", "-c", text], env=env, capture_output=True, timeout=60, check=False)

    run(command)
    with (tmp_path / "fifo").open("w"):  # opens when the script that runs reads
        run(f"{command}\nwait")  # the second finds the first, and ends
    with (tmp_path / ".segprint-watch").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the first has ended
    assert (tmp_path / "said").read_text() == "head 60\n"


@pytest.mark.parametrize("where", [Aws(), Aws(gpus=0, image="ami-1", spot=False)])
def test_amazon_takes_what_is_said_of_each_machine(where: Aws) -> None:
    client = boto3.client("ec2", region_name="us-east-1")
    asked = client.meta.service_model.operation_model("RunInstances").input_shape
    for kind in where.config()["available_node_types"].values():
        node = {**kind["node_config"], "MinCount": 1, "MaxCount": 1}  # Ray says how many
        report = ParamValidator().validate(node, asked)
        assert not report.has_errors(), report.generate_report()
    wrong = ParamValidator().validate({**node, "InstanceTyp": "x"}, asked)
    assert "InstanceTyp" in wrong.generate_report()


@pytest.mark.parametrize("where", [Gcp(), Gcp(gpus=0, spot=False)])
def test_google_takes_what_is_said_of_each_machine(where: Gcp) -> None:
    known = json.loads(get_static_doc("compute", "v1") or "")["schemas"]
    for schema in known.values():
        schema["additionalProperties"] = False
    text = json.dumps({"$ref": "Instance", "$defs": known})
    schema = json.loads(re.sub(r'"\$ref": "(\w+)"', r'"$ref": "#/$defs/\1"', text))
    validator = jsonschema.Draft202012Validator(schema)
    for kind in where.config()["available_node_types"].values():
        node = kind["node_config"]
        assert [error.message for error in validator.iter_errors(node)] == []
    wrong = {**node, "scheduling": {**node["scheduling"], "maxRunDuration": {"second": "1"}}}
    assert not validator.is_valid(wrong)
    assert not validator.is_valid({**node, "machinTyp": "x"})
