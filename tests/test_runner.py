"""The machinery of a shard, with a client of its own: it knows nothing of what a stage does and keeps."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tam.errors import DiskError, InputError, SchemaError
from tam.manifest import Sample
from tam.shard import runner
from tam.shard.runner import Pace, run_shard
from tam.shard.store import Store
from tam.shard.task import Failed, Format
from tam.system.atomic import atomic

SAMPLES = {row: Sample(f"s{row}", [], word) for row, word in enumerate(["a", "cat", "on", "the", "mat", "", "x", "y"])}
ROOT = Path(__file__).parents[1]


# ---- the client: a "model" that adds up the characters of a prompt; "" cannot be asked, and "x" breaks the model


@dataclass(frozen=True)
class Codes:
    status: str
    codes: list[int]


@dataclass(frozen=True)
class Text:
    text: str

    @property
    def length(self) -> int:
        return len(self.text)

    @property
    def size(self) -> str:
        return f"{self.length} characters"


def text_of(prompts: Mapping[int, str], row: int) -> Text:
    return Text(prompts[row])


@dataclass
class CodesTask:
    log: Path
    die_at: str = "-"  # at this prompt the process is killed
    prepare = partial(text_of, {row: sample.prompt for row, sample in SAMPLES.items()})

    def ready(self, row: int, prepared: Text) -> Text:
        if not prepared.text:
            raise InputError("nothing is asked")
        return prepared

    def run(self, batch: Mapping[int, Text]) -> dict[int, np.ndarray | Failed]:
        with self.log.open("a") as file:
            file.write(json.dumps([one.text for one in batch.values()]) + "\n")
        if any(one.text == self.die_at for one in batch.values()):
            os.kill(os.getpid(), signal.SIGKILL)
        if any(one.text == "x" for one in batch.values()):
            raise ValueError("x is unknown")
        return {row: np.array([ord(letter) for letter in one.text], np.int32) for row, one in batch.items()}

    def pack(self, record: np.ndarray) -> tuple[dict, dict[str, np.ndarray]]:
        return {"letters": len(record)}, {"codes": record}

    def unpack(self, row: int, meta: dict, arrays: dict[str, np.ndarray]) -> np.ndarray:
        if len(arrays["codes"]) != meta["letters"]:
            raise ValueError("letters are missing")
        return arrays["codes"]

    def finish(self, batch: Mapping[int, np.ndarray | Failed]) -> dict[int, Codes]:
        return {
            row: Codes(f"failed: {made.why}", []) if isinstance(made, Failed) else Codes("ok", made.tolist())
            for row, made in batch.items()
        }


def write(path: Path, rows: Mapping[int, Codes]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({row: [made.status, made.codes] for row, made in rows.items()}))


def content(path: Path) -> dict[int, Codes]:
    try:
        return {int(row): Codes(*made) for row, made in json.loads(path.read_text()).items()}
    except ValueError as error:
        raise SchemaError("damaged", where=path) from error


def merge(parts: list[Path], path: Path, rows) -> None:
    made = {row: one for part in parts for row, one in content(part).items()}
    if made.keys() != rows:
        raise DiskError("samples are in no part", where=path)
    write(path, dict(sorted(made.items())))


FORMAT: Format[Codes] = Format(write, lambda path: {row: made.status for row, made in content(path).items()}, merge)


def run(folder: Path, die_at: str = "-", size: int = 2, out: str = "0.h5", kept: Path | None = None) -> dict[int, str]:
    store = Store(folder / out, "f00d", FORMAT, kept)
    task = CodesTask(folder / "log", die_at)
    return run_shard("codes", SAMPLES, folder, store, lambda: task, torch.device("cpu"), size)


def asked(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


# ---- what it relies on


def test_every_sample_has_a_record_or_says_why_it_has_none(tmp_path, caplog):
    assert run(tmp_path) == dict.fromkeys((0, 1, 2, 3, 4, 7), "ok") | {
        5: "failed: nothing is asked",
        6: "failed: the model cannot take this; got ValueError: x is unknown",
    }
    made = content(tmp_path / "0.h5")
    assert made[1] == Codes("ok", [99, 97, 116]) and list(made) == list(SAMPLES)
    assert asked(tmp_path) == [["a", "cat"], ["on", "the"], ["mat"], ["x", "y"], ["x"], ["y"]]
    assert "s5 failed: nothing is asked" in caplog.text and "s6 failed: the model cannot take this" in caplog.text
    assert [path.name for path in (tmp_path / ".parts/f00d/0").iterdir()] == ["whole.h5"]


def test_a_killed_client_goes_on_with_the_batch_that_was_in_the_model(tmp_path):
    code = "import sys; from pathlib import Path; from tests.test_runner import run; run(Path(sys.argv[1]), 'mat')"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert asked(tmp_path) == [["a", "cat"], ["on", "the"], ["mat"]] and not (tmp_path / "0.h5").exists()
    left = sorted(path.name for path in (tmp_path / ".parts/f00d/0").iterdir() if not path.name.startswith("."))
    assert left and all(name.startswith(("part-", "batch-")) for name in left)  # the thread behind was not done
    run(tmp_path)
    assert asked(tmp_path)[3:] == [["mat"], ["x", "y"], ["x"], ["y"]]
    (tmp_path / "undisturbed").mkdir()
    run(tmp_path / "undisturbed")
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "undisturbed/0.h5").read_bytes()


def test_a_folder_that_is_named_outlives_the_outputs(tmp_path):
    """Those of a killed job lay on a disk of its machine; a finished shard comes back from there, too."""
    code = (
        "import sys; from pathlib import Path; from tests.test_runner import run;"
        "run(folder := Path(sys.argv[1]), 'mat', out='local/0.h5', kept=folder / 'kept')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "local").exists(), process.stderr
    run(tmp_path, out="local/0.h5", kept=tmp_path / "kept")
    assert asked(tmp_path)[3:] == [["mat"], ["x", "y"], ["x"], ["y"]]
    assert [path.name for path in (tmp_path / "kept/f00d/0").iterdir()] == ["whole.h5"]
    done, before = (tmp_path / "local/0.h5").read_bytes(), len(asked(tmp_path))
    shutil.rmtree(tmp_path / "local")
    run(tmp_path, out="local/0.h5", kept=tmp_path / "kept")
    assert len(asked(tmp_path)) == before and (tmp_path / "local/0.h5").read_bytes() == done
    assert [path.name for path in (tmp_path / "local").iterdir()] == ["0.h5"]


def test_a_finished_shard_loads_nothing(tmp_path):
    done = run(tmp_path)
    store = Store(tmp_path / "0.h5", "f00d", FORMAT)
    again = run_shard("codes", SAMPLES, tmp_path, store, lambda: pytest.fail("loaded"), torch.device("cpu"))
    assert again == done


def test_the_model_chooses_the_gpu_before_anything_is_pinned(tmp_path, monkeypatch):
    """Memory is pinned on the GPU that is the current one then: the first of the machine would be opened, too."""
    order = []
    monkeypatch.setattr(runner, "batches", lambda *given: order.append(given[-1]) or iter(()))
    store = Store(tmp_path / "0.h5", "f00d", FORMAT)

    def load() -> CodesTask:
        order.append("load")
        return CodesTask(tmp_path / "log")

    with pytest.raises(DiskError):
        run_shard("codes", SAMPLES, tmp_path, store, load, torch.device("cuda:1"), 2)
    assert order == ["load", True]


def test_the_line_of_the_log_says_how_far_and_how_fast():
    pace = Pace("codes", 100, 20, started=0.0)
    assert pace.line(60, now=20.0) == "codes: 60/100 samples, 2.0 samples/s, ETA 20 s"
