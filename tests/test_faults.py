"""Stages that are killed, stopped, out of disk or fed damaged files end as if nothing had happened.

Real processes and real signals, at moments drawn from a seed: three a stage here, twenty with ``make test-faults``.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest

from tam.system import stop

ROOT = Path(__file__).resolve().parents[1]
SCENES, BATCH = 24, 2
PATIENCE = 300  # seconds
KILLS = [3, pytest.param(20, marks=pytest.mark.faults)]
SHOWN = ["000000000002", "000000000005", "000000000007"]

# The command line, with a journal of the samples that go into the model.
PROGRAM = """
import os
from tam import cli
from tam.model import question
honest = question.answer_batch
def journalled(loaded, prepared, *options):
    with open(os.environ["TAM_TEST_JOURNAL"], "a") as file:
        file.write("x" * len(prepared))
    return honest(loaded, prepared, *options)
question.answer_batch = journalled
cli.main()
"""


@dataclass
class Stage:
    """A stage as a command, and how to see that it is at work."""

    name: str
    arguments: list
    out: Path
    signs: Callable[[Path], set[Path]]  # files that say how far it is, in an output's folder
    steps: int  # how many of them come
    journal: Path = field(default=Path(os.devnull))

    def start(self, out: Path, **options) -> subprocess.Popen:
        code = PROGRAM if self.name == "generate" else "from tam import cli; cli.main()"
        command = [sys.executable, "-c", code, self.name, *map(str, self.arguments), "--out", str(out)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TAM_TEST_JOURNAL": self.journal}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )

    def run(self, out: Path) -> str:
        process = self.start(out)
        said = process.communicate(timeout=PATIENCE)[0]
        assert process.returncode == 0, said
        return said


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    command = [sys.executable, "-m", "tam", "dataset", "emoji", "--scenes", SCENES, "--seed", 5, "--out", folder / "e"]
    subprocess.run([str(word) for word in command], check=True, cwd=ROOT, capture_output=True)
    return folder / "e" / "manifest.jsonl"


def parts(folder: Path) -> set[Path]:
    return set(folder.rglob("part-*.h5"))


def temporaries(folder: Path) -> set[Path]:
    return set(folder.rglob(".*.tmp"))


def pictures(folder: Path) -> set[Path]:
    return temporaries(folder) | set(folder.glob("render/0*"))


@pytest.fixture(scope="module")
def stages(data, tmp_path_factory) -> dict[str, Stage]:
    """Each with the output of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    generation, maps = folder / "generate" / "0-of-1.h5", folder / "maps" / "0-of-1.h5"
    limits = ["--max-new-tokens", 40, "--batch-size", BATCH]
    shown = [f"--sample={name}" for name in SHOWN]
    made = {
        "generate": Stage(
            "generate",
            ["--manifest", data, *limits],
            generation,
            parts,
            SCENES // BATCH,
        ),
        "maps": Stage("maps", ["--generation", generation], maps, temporaries, 1),
        "render": Stage(
            "render",
            ["--generation", generation, "--maps", maps, "--manifest", data, "--method", "tam", *shown],
            folder / "render",
            pictures,
            3,
        ),
    }
    for stage in made.values():
        stage.run(stage.out)
    return made


def content(path: Path) -> dict[str, bytes]:
    """All values: of an HDF5 file, or of the files of a folder."""
    if path.is_dir():
        return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    found = {}

    def note(name, item):
        found.update({f"{name}@{key}": str(value).encode() for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()]).tobytes()

    with h5py.File(path) as file:
        file.visititems(note)
        note("", file)
    return found


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> bool:
    """True when it holds, False when the process ended before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return True


def kill_somewhere(stage: Stage, out: Path, rng: random.Random, expected: dict) -> int | None:
    """Start the stage, kill or stop it at a random moment of its work; the signal, or None if it was quicker."""
    before, more = stage.signs(out.parent), rng.randint(0, max(1, stage.steps // 4))
    process = stage.start(out)
    wait_for(lambda: len(stage.signs(out.parent) - before) >= more, process)
    time.sleep(rng.uniform(0, 0.15 if more else 2))
    number = rng.choice([signal.SIGKILL, signal.SIGTERM])
    process.send_signal(number)
    said = process.communicate(timeout=PATIENCE)[0]
    if process.returncode == 0:
        return None
    assert process.returncode in (-number, stop.EXIT), said
    if process.returncode == stop.EXIT:
        assert "tam: stopped (SIGTERM)" in said and "Traceback" not in said
        assert not list(out.parent.rglob("*.lease"))
    if out.is_file():  # killed in its last moment: never half
        assert content(out) == expected
    return number


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize("name", ["generate", "maps", "render"])
def test_kills_and_stops_at_any_moment_change_no_value(stages, tmp_path, name, kills):
    stage, rng = stages[name], random.Random(f"{name} {kills}")
    stage.journal = tmp_path / "journal"
    expected, count, rounds = content(stage.out), {signal.SIGKILL: 0, signal.SIGTERM: 0}, 0
    while sum(count.values()) < kills:
        out = tmp_path / str(rounds) / stage.out.name
        rounds += 1
        while sum(count.values()) < kills:
            if (number := kill_somewhere(stage, out, rng, expected)) is None:
                break
            count[number] += 1
        stage.run(out)
        assert content(out) == expected
        assert not temporaries(out.parent) and not parts(out.parent) and not list(out.parent.rglob("*.lease"))
    figures = f"{name}: {count[signal.SIGKILL]} SIGKILL, {count[signal.SIGTERM]} SIGTERM in {rounds} runs"
    if name == "generate":
        recomputed = stage.journal.stat().st_size - rounds * SCENES
        figures += f", {recomputed} of {rounds * SCENES} samples computed twice"
        assert 0 <= recomputed <= count[signal.SIGKILL] * BATCH  # the one in the model
    print(figures)


def test_a_stop_waits_for_the_batch_and_a_second_one_does_not(stages, tmp_path):
    """A stop loses nothing; one that comes twice loses the batch."""
    stage, out = stages["generate"], tmp_path / "0-of-1.h5"
    stage.journal = tmp_path / "journal"
    process = stage.start(out)
    wait_for(lambda: len(parts(tmp_path)) >= 2, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == stop.EXIT, said
    kept = len(parts(tmp_path))
    assert f"resume: {kept * BATCH} of {SCENES} samples are there" in stage.run(out)
    assert stage.journal.stat().st_size == SCENES
    assert content(out) == content(stage.out)


@pytest.fixture
def stopped(stages, tmp_path) -> Iterator[tuple[Stage, Path, subprocess.Popen]]:
    """A generation that lives, holds its lease, has some parts, and does not go on until it is told to."""
    stage, out = stages["generate"], tmp_path / "0-of-1.h5"
    stage.journal = tmp_path / "journal"
    process = stage.start(out)
    wait_for(lambda: parts(tmp_path), process)
    process.send_signal(signal.SIGSTOP)
    try:
        yield stage, out, process
    finally:
        process.kill()
        process.communicate()


def test_a_second_copy_waits_and_then_finds_the_shard_finished(stopped):
    """An orphan of a killed Snakemake and the job of the second start, or two runs in one folder."""
    stage, out, first = stopped
    second = stage.start(out)
    line = ""
    while "waiting for it" not in line:
        line = second.stdout.readline()
        assert line
    assert f"process {first.pid} on " in line
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=PATIENCE)
    assert first.returncode == 0
    said = second.communicate(timeout=PATIENCE)[0]
    assert second.returncode == 0 and f"{SCENES} samples are there already" in said
    assert "Loading weights" not in said
    assert stage.journal.stat().st_size == SCENES  # each sample once
    assert content(out) == content(stage.out)


def test_a_second_copy_that_waits_can_be_stopped(stopped):
    stage, out, _ = stopped
    second = stage.start(out)
    while "waiting for it" not in second.stdout.readline():
        assert second.poll() is None
    second.send_signal(signal.SIGTERM)
    said = second.communicate(timeout=PATIENCE)[0]
    assert second.returncode == stop.EXIT and "tam: stopped (SIGTERM)" in said
    assert (out.parent / ".parts" / f"{out.name}.lease").exists()  # the first one's


def test_a_full_disk_ends_a_shard_and_room_lets_it_go_on(stages, small_disk, tmp_path):
    stage = stages["generate"]
    stage.journal = tmp_path / "journal"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(650_000))
    process = stage.start(small_disk / "0-of-1.h5")
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1 and "disk full; cure: make room and run it again" in said
    assert "Traceback" not in said
    kept = len(parts(small_disk))
    assert kept and not (small_disk / "0-of-1.h5").exists() and not temporaries(small_disk)
    out = tmp_path / "large" / "0-of-1.h5"  # the same shard, on a disk with room
    shutil.copytree(small_disk / ".parts", out.parent / ".parts")
    assert f"resume: {kept * BATCH} of {SCENES}" in stage.run(out)
    assert content(out) == content(stage.out)


def test_a_full_disk_ends_maps_with_nothing_half(stages, small_disk):
    (small_disk / "filler").write_bytes(bytes(900_000))
    process = stages["maps"].start(small_disk / "0-of-1.h5")
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1  # not a crash of HDF5
    assert "0-of-1.h5: disk full" in said.splitlines()[-1]
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def truncated(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def flipped(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes(byte ^ 0x55 for byte in whole[middle : middle + 4000]) + whole[middle + 4000 :]


def emptied(whole: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [truncated, flipped, emptied])
def test_a_damaged_generation_is_not_used_but_set_aside(stages, tmp_path, damage):
    """By a later stage; the workflow then makes it again (tests/workflow/test_recovery.py)."""
    stage = stages["maps"]
    generation = tmp_path / "0-of-1.h5"
    generation.write_bytes(damage(stages["generate"].out.read_bytes()))
    process = Stage("maps", ["--generation", generation], stage.out, temporaries, 1).start(tmp_path / "maps.h5")
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1 and "0-of-1.h5: damaged, renamed to *.corrupt" in said and "start again" in said
    assert [path.name for path in tmp_path.iterdir()] == ["0-of-1.h5.corrupt"]


@pytest.mark.parametrize("damage", [truncated, flipped, emptied])
def test_damaged_maps_are_not_drawn_but_set_aside(stages, tmp_path, damage, data):
    maps = tmp_path / "0-of-1.h5"
    maps.write_bytes(damage(stages["maps"].out.read_bytes()))
    arguments = ["--generation", stages["generate"].out, "--maps", maps, "--manifest", data, "--method", "tam"]
    process = Stage("render", arguments, maps, temporaries, 1).start(tmp_path / "render")
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1 and "0-of-1.h5: damaged, renamed to *.corrupt" in said
    assert not maps.exists() and stages["generate"].out.exists()


def test_a_file_that_is_not_ours_stays_where_it_is(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = 1
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    for name in ("other.h5", "photo.jpg", "missing.h5"):
        command = [sys.executable, "-m", "tam", "maps", "--generation", tmp_path / name, "--out", tmp_path / "m.h5"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "corrupt" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.h5", "photo.jpg"]
