"""The pipeline on a real SLURM of one node with two fake GPUs, with the profile that ships: `make test-slurm`."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tam.system.lease import Owner
from tests.test_faults import content, parts, wait_for

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).resolve().parents[2]
LAB = Path(__file__).with_name("lab.sh")
CLUSTER = {"partition": "cpu", "gpu_partition": "gpu"}
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text()) | {"cluster": CLUSTER}
SCENES, BATCH = 300, 1
LONG = {
    "datasets": {"emoji": {"kind": "emoji", "scenes": SCENES, "seed": 5}},
    "models": {"tiny": {"model": "embedded"}},
    "generate": {"max_new_tokens": 40, "batch_size": BATCH},
    "cluster": CLUSTER,
}
SHARD = Path("results/emoji/tiny/generate/0-of-1.h5")
LOG = Path("logs/emoji/tiny/generate/0-of-1.log")
PATIENCE = 600  # seconds


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[None]:
    if os.getuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        pytest.skip("needs root, slurmctld, slurmd, slurm-client and munge: make test-slurm installs them")
    environment = os.environ | {"SLURM_LAB": str(tmp_path_factory.mktemp("lab"))}
    subprocess.run([LAB, "start"], env=environment, check=True)
    yield
    subprocess.run([LAB, "stop"], env=environment, check=True)


def start(
    folder: Path, config: dict, *targets: str, generate: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> subprocess.Popen:
    """Snakemake with the profile; smaller jobs and quicker looks than on a cluster, in a process group of its own."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", folder / "config.yaml", "--workflow-profile", ROOT / "workflow/profiles/slurm"]
    command += ["--slurm-init-seconds-before-status-checks", 2, "--seconds-between-status-checks", 2]
    command += ["--latency-wait", 5, "--set-resources", "generate:gpu=1", "generate:mem_mb=attempt*4000"]
    command += [f"generate:{resource}" for resource in generate or ("runtime=attempt*10",)]
    return subprocess.Popen(
        [str(word) for word in [*command, *options, "--", *targets]],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=folder,
    )  # fmt: skip


def ended(process: subprocess.Popen, folder: Path) -> str:
    said = process.communicate(timeout=PATIENCE)[0]
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("logs/**/*.log"))
    assert process.returncode == 0, f"{said[-4000:]}\n{logs[-4000:]}"
    return said


def queue(*states: str) -> dict[str, str]:
    """Job -> comment, which names its rule."""
    command = ["squeue", "-h", "-o", "%i %k", "--states", ",".join(states) or "all"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split(maxsplit=1) for line in lines)


def job_at_work(folder: Path, process: subprocess.Popen) -> str:
    """The job that generates, once it has written some parts."""
    assert wait_for(lambda: len(parts(folder)) >= 5, process)
    (job,) = [job for job, comment in queue("RUNNING").items() if "generate" in comment]
    return job


@pytest.fixture(scope="session")
def undisturbed(lab, tmp_path_factory) -> Path:
    """A folder with the dataset, and its one shard made without SLURM."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended(start(folder, LONG, "data/emoji/manifest.jsonl"), folder)
    command = [sys.executable, "-m", "tam", "generate", "--manifest", folder / "data/emoji/manifest.jsonl"]
    command += ["--max-new-tokens", 40, "--batch-size", BATCH, "--out", folder / SHARD]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([str(word) for word in command], check=True, cwd=ROOT, capture_output=True, env=environment)
    return folder


@pytest.fixture
def folder(undisturbed, tmp_path) -> Path:
    shutil.copytree(undisturbed / "data", tmp_path / "data")
    return tmp_path


def pid_at_work(folder: Path) -> int:
    (lease,) = folder.rglob("*.lease")
    return Owner.parse(lease.read_bytes()).pid


def resumed(folder: Path, at_least: int) -> int:
    """With how many samples the last attempt began."""
    (line,) = [line for line in (folder / LOG).read_text().splitlines() if "resume:" in line]
    there = int(line.split("resume: ")[1].split()[0])
    assert there >= at_least
    return there


def test_the_embedded_default_runs_through_slurm(lab, tmp_path):
    before = queue()
    ended(start(tmp_path, DEFAULT), tmp_path)
    run = tmp_path / "results/emoji/tiny-qwen2-vl"
    assert len(list(run.glob("generate/*.h5"))) == 2
    assert len(list(run.glob("metrics/*.parquet"))) == 2
    for page in ("report/index.html", "tables/index.html"):
        assert (tmp_path / "results" / page).is_file()
    jobs = {job: comment for job, comment in queue().items() if job not in before}
    assert len([comment for comment in jobs.values() if "generate" in comment]) == 2
    # maps and metrics of both shards in one job; then tables, overview, figures, render, page, 4 in a job
    assert len(jobs) == 2 + 1 + 2, jobs
    for job, comment in jobs.items():
        told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
        assert ("TresPerJob=gres:gpu:1" in told) == ("generate" in comment), told
        assert f"Partition={'gpu' if 'generate' in comment else 'cpu'}" in told


def test_a_cancelled_job_is_retried_and_goes_on(folder, undisturbed):
    process = start(folder, LONG, str(SHARD))
    job = job_at_work(folder, process)
    subprocess.run(["scancel", job], check=True)
    ended(process, folder)
    print(f"scancel: went on with {resumed(folder, 5)} of {SCENES} samples")
    assert content(folder / SHARD) == content(undisturbed / SHARD)


def test_a_killed_job_is_retried_and_goes_on(folder, undisturbed):
    """As by the kernel when memory is out; `scancel --signal=KILL` would be a cancellation."""
    process = start(folder, LONG, str(SHARD))
    job = job_at_work(folder, process)
    os.kill(pid_at_work(folder), signal.SIGKILL)
    ended(process, folder)
    assert job in queue("FAILED")
    print(f"SIGKILL: went on with {resumed(folder, 5)} of {SCENES} samples")
    assert content(folder / SHARD) == content(undisturbed / SHARD)


def test_ahead_of_the_time_limit_a_job_ends_by_itself_and_the_next_goes_on(folder, undisturbed):
    process = start(folder, LONG, str(SHARD), generate=("runtime=attempt*1", "slurm_extra='--signal=TERM@35'"))
    said = {"stopped": False}

    def seen() -> bool:
        with_log = [folder / LOG] if (folder / LOG).exists() else []
        said["stopped"] |= any("tam: stopped (SIGTERM)" in log.read_text() for log in with_log)
        return said["stopped"]

    assert wait_for(seen, process)
    assert not list(folder.rglob("*.lease"))
    kept = len(parts(folder)) * BATCH
    ended(process, folder)
    print(f"time limit: went on with {resumed(folder, kept)} of {SCENES} samples, of {kept} kept")
    assert content(folder / SHARD) == content(undisturbed / SHARD)


def test_a_requeued_job_goes_on_under_its_own_number(folder, undisturbed):
    process = start(folder, LONG, str(SHARD))
    job = job_at_work(folder, process)
    subprocess.run(["scontrol", "requeue", job], check=True)
    assert wait_for(lambda: job in queue("PENDING"), process)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)  # not in two minutes
    ended(process, folder)
    assert [comment for comment in queue("COMPLETED") if comment == job] == [job]
    print(f"requeue: went on with {resumed(folder, 5)} of {SCENES} samples")
    assert content(folder / SHARD) == content(undisturbed / SHARD)


def test_a_killed_snakemake_is_started_again_while_its_job_lives_on(folder, undisturbed):
    """The second start submits a second job: it waits for the first, and finds the shard finished."""
    first = start(folder, LONG, str(SHARD))
    orphan = job_at_work(folder, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert orphan in queue("RUNNING")
    working = pid_at_work(folder)
    os.kill(working, signal.SIGSTOP)  # so that it lives until the second one is there
    second = start(folder, LONG, str(SHARD))
    said = second.communicate(timeout=PATIENCE)[0]
    assert second.returncode != 0 and "--unlock" in said
    ended(start(folder, LONG, options=("--unlock",)), folder)
    third = start(folder, LONG, str(SHARD))
    assert wait_for(lambda: (folder / LOG).exists() and "waiting for it" in (folder / LOG).read_text(), third)
    os.kill(working, signal.SIGCONT)
    ended(third, folder)
    log = (folder / LOG).read_text()
    assert f"SLURM job {orphan}" in log and "waiting for it" in log and "are there already" in log
    assert "samples/s" not in log
    assert orphan in queue("COMPLETED")
    assert content(folder / SHARD) == content(undisturbed / SHARD)
