"""``make rehearse`` itself takes minutes: here, that it counts the jobs that the workflow plans."""

import sys
from pathlib import Path

import pytest

from tests.rehearsal import counted, jobs_of, run, same_files

CONFIG = {
    "datasets": {name: {"kind": name, "root": "nowhere"} for name in ("coco", "grandf")},
    "models": {name: {"model": name} for name in ("embedded", "other")},
    "shards": 3,
    "methods": ["tam"],
}


def test_the_rehearsal_counts_the_jobs_that_are_planned(tmp_path):
    assert counted(run(Path(sys.executable), tmp_path, CONFIG, "-n")) == jobs_of(CONFIG, "dataset")
    assert jobs_of(CONFIG, "maps", models=["other"], datasets=["coco"]) == {
        "all": 1, "overview": 1, "page": 1, "comparison": 1, "maps": 3, "metrics": 3, "tables": 1, "figures": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "content"), [("b.csv", "1"), ("a.csv", "2")])
def test_a_file_too_many_and_another_value_are_noticed(tmp_path, name, content):
    for folder in ("one", "other"):
        Path(tmp_path, folder).mkdir()
        Path(tmp_path, folder, "a.csv").write_text("1")
    assert same_files(tmp_path / "one", tmp_path / "other") == 1
    Path(tmp_path, "one", name).write_text(content)
    with pytest.raises(AssertionError, match=name):
        same_files(tmp_path / "one", tmp_path / "other")
