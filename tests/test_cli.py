import subprocess
import sys

import pytest

STAGES = [
    *("dataset emoji", "dataset coco", "dataset grandf", "dataset openpsg", "dataset coco-original"),
    *("dataset folder", "dataset csv", "dataset nltk", "generate", "maps", "metrics"),
    *("tables", "render", "figures", "page", "status", "explain"),
]


def tam(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "tam", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself(stage):
    done = tam(*stage.split(), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "--manifest", "none.jsonl", "--out", "x.h5"], "none.jsonl"),
        (["generate", "--manifest", "none.jsonl", "--out", "x.h5", "--shard", "4-of-4"], "an index from 0 to 3"),
        (["maps", "--generation", "none.h5", "--out", "x.h5"], "none.h5"),
        (["maps", "--generation", "none.h5", "--out", "x.h5", "--protocol", "both"], "fixed or reference"),
        (["dataset", "coco", "--root", "nowhere", "--out", "x"], "no such folder"),
        (["dataset", "grandf", "--root", "nowhere", "--out", "x"], "no such folder"),
        (["dataset", "openpsg", "--out", "x"], "either --root or --hub"),
        (["dataset", "coco", "--root", "x", "--hub", "a/b", "--out", "x"], "either --root or --hub"),
        (["dataset", "csv", "--root", "none.csv", "--out", "x"], "none.csv"),
        (["dataset", "nltk", "--from", "nowhere", "--out", "x"], "nowhere"),
        (["explain", "none.jpg"], "none.jpg"),
    ],
)
def test_bad_input_is_one_line_that_names_it(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = tam(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
