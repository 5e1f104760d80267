"""Snakemake itself is killed, started twice, or meets damaged and touched files: nothing lost, nothing done twice."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tam.system.lease import Owner
from tests.test_faults import content, parts, wait_for
from tests.workflow.test_workflow import CONFIG, ROOT, RUN, snakemake

SCENES = 60
LONG = CONFIG | {"datasets": {"emoji": {"kind": "emoji", "scenes": SCENES, "seed": 5}}, "shards": 1, "methods": ["tam"]}
SHARD, LOG = RUN / "generate/0-of-1.h5", Path("logs/emoji/tiny/generate/0-of-1.log")


def start(folder: Path, *options: str) -> subprocess.Popen:
    """As ``snakemake``, but not waited for, and in a process group of its own."""
    (folder / "config.yaml").write_text(yaml.safe_dump(LONG))
    # A shell's background jobs ignore SIGINT, and hand that down.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--configfile", folder / "config.yaml", "--cores", "2", *options]
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def owner(folder: Path) -> Owner:
    (lease,) = folder.rglob("*.lease")
    return Owner.parse(lease.read_bytes())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """A folder with the dataset, its only shard and the maps."""
    folder = tmp_path_factory.mktemp("undisturbed")
    snakemake(folder, str(RUN / "maps/0-of-1.h5"), config=LONG)
    return folder


@pytest.fixture
def folder(undisturbed, tmp_path) -> Iterator[Path]:
    shutil.copytree(undisturbed / "data", tmp_path / "data")
    yield tmp_path
    for lease in tmp_path.rglob("*.lease"):  # of a test that failed
        os.kill(Owner.parse(lease.read_bytes()).pid, signal.SIGKILL)


@pytest.fixture
def copy(undisturbed, tmp_path) -> Path:
    """A finished run of one's own."""
    shutil.copytree(undisturbed, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_a_killed_snakemake_is_started_again_while_its_job_lives_on(folder, undisturbed):
    first = start(folder, "--", str(SHARD))
    assert wait_for(lambda: parts(folder), first)
    orphan = owner(folder).pid
    os.kill(orphan, signal.SIGSTOP)  # so that it lives until the second one is there
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert "--unlock" in snakemake(folder, "--", str(SHARD), config=LONG, check=False).stdout
    snakemake(folder, "--unlock", config=LONG)
    second = start(folder, "--rerun-incomplete", "--", str(SHARD))
    assert wait_for(lambda: (folder / LOG).exists() and "waiting for it" in (folder / LOG).read_text(), second)
    os.kill(orphan, signal.SIGCONT)
    said = second.communicate(timeout=300)[0]
    assert second.returncode == 0, said
    log = (folder / LOG).read_text()
    assert f"process {orphan} on" in log and f"{SCENES} samples are there already" in log
    assert "samples/s" not in log and "Loading weights" not in log
    assert content(folder / SHARD) == content(undisturbed / SHARD)


def test_an_orphan_that_finished_before_the_second_start_is_not_lost(folder, undisturbed):
    """Snakemake takes its output for incomplete and deletes it; it has a second name in the store."""
    first = start(folder, "--", str(SHARD))
    assert wait_for(lambda: parts(folder), first)
    orphan = owner(folder)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    deadline = time.monotonic() + 300
    while not orphan.gone() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (folder / SHARD).exists()
    snakemake(folder, "--unlock", config=LONG)
    snakemake(folder, "--rerun-incomplete", "--", str(SHARD), config=LONG)
    log = (folder / LOG).read_text()
    assert f"{SCENES} samples are there already" in log and "Loading weights" not in log
    assert content(folder / SHARD) == content(undisturbed / SHARD)


def test_of_two_runs_in_one_folder_the_second_refuses(folder, undisturbed):
    first = start(folder, "--", str(SHARD))
    assert wait_for(lambda: parts(folder), first)
    working = owner(folder).pid
    os.kill(working, signal.SIGSTOP)
    second = snakemake(folder, "--", str(SHARD), config=LONG, check=False)
    assert second.returncode == 1 and "cannot be locked" in second.stdout
    os.kill(working, signal.SIGCONT)
    assert first.wait(300) == 0
    assert content(folder / SHARD) == content(undisturbed / SHARD)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_snakemake_that_is_stopped_with_its_jobs_goes_on_at_the_next_start(folder, undisturbed, number):
    """Ctrl-C, or a machine that is shut down: all processes get the signal."""
    first = start(folder, "--", str(SHARD))
    assert wait_for(lambda: len(parts(folder)) >= 3, first)
    os.killpg(first.pid, number)
    first.communicate(timeout=300)
    assert first.returncode != 0
    kept = len(parts(folder))
    assert kept >= 3 and not list(folder.rglob("*.lease")) and not (folder / SHARD).exists()
    snakemake(folder, "--rerun-incomplete", "--", str(SHARD), config=LONG)
    assert f"resume: {2 * kept} of {SCENES} samples are there" in (folder / LOG).read_text()
    assert content(folder / SHARD) == content(undisturbed / SHARD)


def test_finished_gpu_work_is_not_redone_when_clocks_and_times_of_files_change(copy):
    """At most the stage looks at its store, without loading the model."""
    for changed in (copy / "data/emoji/manifest.jsonl", *(copy / "data/emoji/image").iterdir()):
        os.utime(changed)
    os.utime(copy / SHARD, (0, 0))
    made = content(copy / SHARD)
    snakemake(copy, "--", str(SHARD), config=LONG)
    snakemake(copy, "--forcerun", "generate", "--", str(SHARD), config=LONG)
    log = (copy / LOG).read_text()
    assert f"{SCENES} samples are there already" in log and "Loading weights" not in log
    assert content(copy / SHARD) == made


def test_a_lost_output_is_named_again_without_the_model(copy):
    made = content(copy / SHARD)
    (copy / SHARD).unlink()
    snakemake(copy, "--", str(SHARD), config=LONG)
    assert "Loading weights" not in (copy / LOG).read_text()
    assert content(copy / SHARD) == made


def test_a_damaged_shard_is_set_aside_by_the_stage_that_meets_it_and_made_again_by_the_next_start(copy):
    """Both names of the file are damaged: it is one file."""
    maps = RUN / "maps/0-of-1.h5"
    made = [content(copy / name) for name in (SHARD, maps)]
    with (copy / SHARD).open("r+b") as file:
        file.seek((copy / SHARD).stat().st_size // 2)
        file.write(bytes(5000))
    (copy / maps).unlink()
    failed = snakemake(copy, "--", str(maps), config=LONG, check=False)
    assert failed.returncode == 1
    assert "renamed to *.corrupt" in (copy / "logs/emoji/tiny/maps/0-of-1.log").read_text()
    snakemake(copy, "--", str(maps), config=LONG)
    assert [content(copy / name) for name in (SHARD, maps)] == made
    assert (copy / f"{SHARD}.corrupt").exists()


def test_the_end_of_a_run_says_what_it_took(copy):
    said = snakemake(copy, "--forcerun", "maps", "--", str(RUN / "maps/0-of-1.h5"), config=LONG).stdout
    assert f"1 of 1 shards, {SCENES} of {SCENES} samples" in said
    assert re.search(r"generate: 1 job, \d+ s, up to \d+ MB", said)
