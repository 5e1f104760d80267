"""What `tam status` says of a run that is finished, running, crashed, or changing while it is looked at."""

import json
import os
import time
from dataclasses import asdict, replace

import pytest

from tam import progress as status
from tam.cache import write_generations
from tam.progress import describe, survey
from tam.records import Generation
from tam.system.lease import Owner
from tests.test_cache import made


def shard(path, samples: dict[int, Generation]) -> None:
    write_generations(path, samples, {}, "f00d")


@pytest.fixture
def results(tmp_path):
    """12 samples in 4 shards: one is finished (a sample of it failed), one running, one crashed, one not begun."""
    now = time.time()
    (tmp_path / "data/emoji").mkdir(parents=True)
    (tmp_path / "data/emoji/manifest.jsonl").write_text("{}\n" * 12)
    run = tmp_path / "results/emoji/tiny"
    store = run / "generate/.parts"
    failed = Generation.failure("b", "What?", "no picture")
    shard(run / "generate/0-of-4.h5", {0: made("a"), 1: failed, 2: made("c")})
    for row in (3, 4):
        shard(store / f"f00d/1-of-4/part-{row:08d}.h5", {row: made(str(row))})
        os.utime(store / f"f00d/1-of-4/part-{row:08d}.h5", (now + 2 * row,) * 2)
    lease(store / "1-of-4.h5.lease", Owner.me())
    shard(store / "f00d/2-of-4/part-00000006.h5", {6: made("6")})
    lease(store / "2-of-4.h5.lease", replace(Owner.me(), born="1"))
    for method in ("eci", "tam"):
        (run / f"maps/{method}").mkdir(parents=True)
        (run / f"maps/{method}/0-of-4.h5").write_bytes(bytes(1500))
    (run / "tables").mkdir()
    benchmarks = tmp_path / "benchmarks/emoji/tiny/generate"
    benchmarks.mkdir(parents=True)
    (benchmarks / "0-of-4.tsv").write_text("s\tmax_rss\n600.5\t2048.0\n")
    (benchmarks / "1-of-4.tsv").write_text("s\tmax_rss\n30.0\t-\n")
    return tmp_path / "results"


def lease(path, owner: Owner) -> None:
    path.write_text(f"{json.dumps(asdict(owner))}\n{1:012d}\n")


def test_a_run_in_the_middle(results):
    (run,) = survey(results)
    assert (run.name, run.shards, run.samples) == ("emoji/tiny", 4, 12)
    assert run.statuses == {"ok": 2, "failed": 1}
    assert run.done == {"generate": 1, "maps eci": 1, "maps tam": 1}
    running, crashed = run.work
    assert (running.shard, running.samples, running.total, running.stale) == ("1-of-4", 2, 3, False)
    assert running.rate == pytest.approx(0.5)  # one sample in the two seconds after the first part
    assert (crashed.shard, crashed.samples, crashed.total, crashed.stale) == ("2-of-4", 1, 3, True)
    assert run.ends == {"tables": True, "render": False, "figures": False}
    assert run.sizes["maps"] == 3000
    assert [(cost.rule, cost.jobs, cost.seconds, cost.megabytes) for cost in run.costs] == [
        ("generate", 2, 630.5, 2048.0)
    ]


def test_it_says_so_in_words(results):
    said = describe(survey(results))
    assert "1 of 4 shards, 6 of 12 samples, 0.5 samples/s, ETA 12 s" in said
    assert f"1-of-4: 2 of 3 samples, 0.5 samples/s, process {os.getpid()} on " in said
    assert "2-of-4: 1 of 3 samples" in said and "is gone" in said and "the next start takes over" in said
    assert "of 4 shards: eci 1, tam 1" in said and "tables done, render not yet" in said
    assert "2 ok, 1 failed" in said
    assert "generate: 2 jobs, 11 min, the longest 10 min, up to 2,048 MB" in said


def test_parts_without_an_owner_wait_for_the_next_start(results):
    (results / "emoji/tiny/generate/.parts/2-of-4.h5.lease").unlink()
    assert "2-of-4: 1 of 3 samples, nobody is at work: the next start goes on" in describe(survey(results))


def test_a_silent_owner_elsewhere_is_stale(results):
    path = results / "emoji/tiny/generate/.parts/1-of-4.h5.lease"
    lease(path, replace(Owner.me(), machine="another"))
    assert not survey(results)[0].work[0].stale
    os.utime(path, (time.time() - 1000,) * 2)
    assert survey(results)[0].work[0].stale


def test_a_shard_that_an_output_names_takes_no_room_and_one_that_none_names_is_unused(results):
    generate = results / "emoji/tiny/generate"
    (generate / ".parts/f00d/0-of-4").mkdir()
    os.link(generate / "0-of-4.h5", generate / ".parts/f00d/0-of-4/whole.h5")
    assert survey(results)[0].unused == 0
    (generate / "0-of-4.h5").unlink()
    size = (generate / ".parts/f00d/0-of-4/whole.h5").stat().st_size
    assert survey(results)[0].unused == size


def test_no_runs(tmp_path):
    assert describe(survey(tmp_path / "results")) == "no runs here"


def test_files_that_are_half_or_vanish_while_they_are_looked_at(results, monkeypatch):
    """Each file in turn is listed, and gone or empty when it is read."""
    files = [path for path in results.parent.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        for damaged in (b"", content[: len(content) // 2], b"\xff" * 99):
            path.write_bytes(damaged)
            assert "emoji/tiny" in describe(survey(results))
        path.unlink()
        assert "emoji/tiny" in describe(survey(results))
        path.write_bytes(content)
    monkeypatch.setattr(status, "_size", lambda path: path.unlink(missing_ok=True) or 0)
    assert "emoji/tiny" in describe(survey(results))
