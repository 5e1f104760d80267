"""Whole runs that are killed at random moments end as one that nobody disturbed: `make test-kills`."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.test_faults import content
from tests.workflow.test_workflow import CONFIG, ROOT, snakemake

KILLS, AT_MOST = 30, 5  # in all, and of one run
PATIENCE = 1200  # seconds
PROFILE = ("--workflow-profile", str(ROOT / "workflow/profiles/default"))
SMALL = CONFIG | {
    "datasets": {"emoji": {"kind": "emoji", "scenes": 4, "seed": 5}}, "shards": 1, "methods": ["activation", "tam"],
}  # fmt: skip


def start(folder: Path) -> subprocess.Popen:
    """As ``snakemake``, but not waited for, and in a process group of its own."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", folder / "config.yaml", "--cores", "2", *PROFILE]
    with (folder / "said").open("a") as said:
        return subprocess.Popen(
            [str(word) for word in command], cwd=folder, stdout=said, stderr=said, start_new_session=True
        )


def kill(run: subprocess.Popen, how: str) -> None:
    """All processes of a run, or Snakemake alone, whose jobs then live on; or all are asked to stop."""
    if how == "Snakemake":
        run.kill()
    else:
        os.killpg(run.pid, signal.SIGKILL if how == "all" else signal.SIGTERM)
    run.wait(PATIENCE)


def wait_for_jobs(run: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.killpg(run.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes of group {run.pid} do not end")


def made(folder: Path) -> dict[str, bytes]:
    return {f"{part}/{name}": data for part in ("data", "results") for name, data in content(folder / part).items()}


@pytest.mark.faults
def test_whole_runs_that_are_killed_at_any_moment_end_with_the_same_files(tmp_path):
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    begun = time.monotonic()
    snakemake(undisturbed, *PROFILE, config=SMALL)
    length, expected = time.monotonic() - begun, made(undisturbed)
    rng, count, number = random.Random(0), dict.fromkeys(("all", "Snakemake", "stop"), 0), 0
    while sum(count.values()) < KILLS:
        number += 1
        folder, runs = tmp_path / str(number), []
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump(SMALL))
        for _ in range(min(AT_MOST, KILLS - sum(count.values()))):
            runs.append(start(folder))
            try:
                runs[-1].wait(rng.uniform(0, length / 2))  # the second half is done by those that go on
                break
            except subprocess.TimeoutExpired:
                how = rng.choice(list(count))
                kill(runs[-1], how)
                count[how] += 1
                if any((folder / ".snakemake/locks").glob("*")):
                    snakemake(folder, "--unlock", config=SMALL)
        snakemake(folder, *PROFILE, config=SMALL)
        for run in runs:
            wait_for_jobs(run)
        found = made(folder)
        assert found.keys() == expected.keys(), (folder / "said").read_text()
        assert [name for name in expected if found[name] != expected[name]] == []
        print(f"run {number}: {len(found)} files equal after {count}", flush=True)
