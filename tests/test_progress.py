"""What `tam status` says of a run that is finished, running, crashed, or changing while it is looked at."""

import json
import os
import time
from dataclasses import asdict, replace

import h5py
import pytest

from tam.cache import write_generations
from tam.progress import survey as progress
from tam.progress.survey import Left, survey
from tam.progress.words import describe
from tam.records import Generation
from tam.system import hdf5
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
    (run / "maps").mkdir()
    for index in range(2):
        (run / f"maps/{index}-of-4.h5").write_bytes(bytes(1500))
    (run / "tables").mkdir()
    benchmark(tmp_path, "emoji/tiny/generate/0-of-4", 600.5, "2048.0")
    benchmark(tmp_path, "emoji/tiny/generate/1-of-4", 30.0, "-")
    benchmark(tmp_path, "emoji/dataset", 1.0, "80.0")
    benchmark(tmp_path, "page", 3.0, "90.0")
    return tmp_path / "results"


def lease(path, owner: Owner) -> None:
    path.write_text(f"{json.dumps(asdict(owner))}\n{1:012d}\n")


def benchmark(folder, name: str, seconds: float, memory: str) -> None:
    path = folder / f"benchmarks/{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\tmax_rss\n{seconds}\t{memory}\n")


def ask(results, **changes) -> None:
    """The config of the last start."""
    config = {"datasets": {"emoji": {}}, "models": {"tiny": {}}, "shards": 4, "render": {"samples": ["a"]}}
    (results / "config.json").write_text(json.dumps(config | changes))


def test_scores_are_counted_where_there_are_some(results):
    assert "attribute" not in describe(survey(results))
    (results / "emoji/tiny/attribute").mkdir()
    (results / "emoji/tiny/attribute/0-of-4.h5").write_bytes(bytes(2500))
    assert "\n  attribute 1 of 4 shards\n" in describe(survey(results))
    assert "attribute 2.5 kB" in describe(survey(results))


def test_a_run_in_the_middle(results):
    (run,) = survey(results).runs
    assert (run.name, run.shards, run.samples) == ("emoji/tiny", 4, 12)
    assert run.statuses == {"ok": 2, "failed": 1}
    assert run.done == {"generate": 1, "maps": 2, "metrics": 0}
    running, crashed = run.unfinished
    assert (running.shard, running.samples, running.total, running.stale) == ("1-of-4", 2, 3, False)
    assert running.rate == pytest.approx(0.5)  # one sample in the two seconds after the first part
    assert (crashed.shard, crashed.samples, crashed.total, crashed.stale) == ("2-of-4", 1, 3, True)
    assert run.ends == {"tables": True, "render": False, "figures": False}
    assert run.sizes["maps"] == 3000 and not run.left
    (cost,) = run.costs
    assert (cost.rule, cost.jobs, cost.seconds, cost.median, cost.megabytes) == ("generate", 2, 630.5, 315.25, 2048.0)
    assert [(cost.rule, cost.jobs, cost.seconds) for cost in survey(results).costs] == [
        ("page", 1, 3.0),
        ("dataset", 1, 1.0),
    ]


def test_of_a_shard_its_note_alone_is_read(results, monkeypatch):
    monkeypatch.setattr(hdf5, "opened", None)
    (run,) = survey(results).runs
    assert run.statuses == {"ok": 2, "failed": 1} and run.unfinished[0].samples == 2


def test_a_shard_without_a_note_is_read_for_its_statuses(results):
    path = results / "emoji/tiny/generate/0-of-4.h5"
    path.write_bytes(path.read_bytes().partition(b"tam-sha256:")[0])
    assert survey(results).runs[0].statuses == {"ok": 2, "failed": 1}


def test_it_says_so_in_words(results):
    said = describe(survey(results))
    assert "1 of 4 shards, 6 of 12 samples, 0.5 samples/s, ETA 12 s" in said
    assert f"1-of-4: 2 of 3 samples, 0.5 samples/s, process {os.getpid()} on " in said
    assert "2-of-4: 1 of 3 samples" in said and "is gone" in said and "the next start takes over" in said
    assert "maps      2 of 4 shards" in said and "tables done, render not yet" in said
    assert "2 ok, 1 failed" in said
    assert "generate: 2 jobs of 5 min (median), 11 min in all, the longest 10 min, up to 2,048 MB" in said
    assert "tables not yet, report not yet" in said and "page: 1 job, 3 s, up to 90 MB" in said
    assert "left over" not in said


def test_parts_without_an_owner_wait_for_the_next_start(results):
    (results / "emoji/tiny/generate/.parts/2-of-4.h5.lease").unlink()
    assert "2-of-4: 1 of 3 samples, nobody is at work: the next start goes on" in describe(survey(results))


def test_what_is_unfinished_is_looked_for_in_the_folder_that_the_config_names(results):
    (results / "emoji/tiny/generate/.parts").rename(results.parent / "parts")
    (results.parent / "kept/emoji/tiny").mkdir(parents=True)
    (results.parent / "parts").rename(results.parent / "kept/emoji/tiny/generate")
    ask(results)
    assert not survey(results).runs[0].unfinished
    ask(results, store="kept")
    assert [one.shard for one in survey(results).runs[0].unfinished] == ["1-of-4", "2-of-4"]


def test_a_silent_owner_elsewhere_is_stale(results):
    path = results / "emoji/tiny/generate/.parts/1-of-4.h5.lease"
    lease(path, replace(Owner.me(), machine="another"))
    assert not survey(results).runs[0].unfinished[0].stale
    os.utime(path, (time.time() - 1000,) * 2)
    assert survey(results).runs[0].unfinished[0].stale


def test_a_shard_that_an_output_names_takes_no_room_and_one_that_none_names_is_unused(results):
    generate = results / "emoji/tiny/generate"
    (generate / ".parts/f00d/0-of-4").mkdir()
    os.link(generate / "0-of-4.h5", generate / ".parts/f00d/0-of-4/whole.h5")
    assert survey(results).runs[0].unused == 0
    (generate / "0-of-4.h5").unlink()
    size = (generate / ".parts/f00d/0-of-4/whole.h5").stat().st_size
    assert survey(results).runs[0].unused == size


def test_what_an_earlier_config_left_is_named_with_its_size_and_counted_nowhere_else(results):
    for left in ("emoji/tiny/maps/eci/0-of-4.h5", "emoji/tiny/metrics/0-of-2.parquet", "emoji/old/generate/0-of-4.h5"):
        (results / left).parent.mkdir(parents=True, exist_ok=True)
        (results / left).write_bytes(bytes(2000))
    benchmark(results.parent, "emoji/tiny/generate/0-of-2", 9999.0, "1.0")
    ask(results)
    found = survey(results)
    (run,) = found.runs
    assert run.left == [Left("folders in maps", 1, 2000), Left("other shards in metrics", 1, 2000)]
    assert found.left == [Left("emoji/old", 1, 2000)]
    assert (run.done, run.sizes["maps"], run.sizes["metrics"]) == ({"generate": 1, "maps": 2, "metrics": 0}, 3000, 0)
    assert [cost.seconds for cost in run.costs] == [630.5]
    said = describe(found)
    assert (
        "left over folders in maps (1 files, 2.0 kB), other shards in metrics (1 files, 2.0 kB): of an earlier" in said
    )
    assert "left over emoji/old (1 files, 2.0 kB): of an earlier config, neither read nor deleted" in said


def test_the_config_of_the_last_start_says_which_runs_there_will_be_and_what_is_not_asked_for(results):
    ask(results, models={"new": {}, "tiny": {}}, shards=8, render={"samples": []})
    found = survey(results)
    new, tiny = found.runs
    assert (new.name, new.shards, new.done["generate"], new.samples) == ("emoji/new", 8, 0, 12)
    assert (tiny.name, tiny.done["generate"]) == ("emoji/tiny", 0)
    assert tiny.ends == {"tables": True, "render": None, "figures": False}
    assert found.ends == {"tables": False, "report": False, "comparison": False}
    assert "render not asked for" in describe(found)


@pytest.mark.parametrize("config", ["", "{}", "[1]", '{"datasets": 5}', "[" * 100_000, '{"shards": 1e999}'])
def test_a_config_that_is_none_is_as_if_there_were_none(results, config):
    (results / "config.json").write_text(config)
    assert [run.shards for run in survey(results).runs] == [4]


def test_a_run_behind_a_link_is_one(results, tmp_path):
    (results / "emoji/tiny").rename(tmp_path / "elsewhere")
    (results / "emoji/tiny").symlink_to(tmp_path / "elsewhere")
    assert [(run.name, run.done["generate"]) for run in survey(results).runs] == [("emoji/tiny", 1)]


def test_no_runs(tmp_path):
    assert describe(survey(tmp_path / "results")) == "no runs here"


def test_files_that_are_half_or_vanish_while_they_are_looked_at(results, monkeypatch):
    """Each file in turn is listed, and gone or empty when it is read."""
    ask(results)
    files = [path for path in results.parent.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        for damaged in (b"", content[: len(content) // 2], b"\xff" * 99):
            path.write_bytes(damaged)
            assert "emoji/tiny" in describe(survey(results))
        path.unlink()
        assert "emoji/tiny" in describe(survey(results))
        path.write_bytes(content)
    monkeypatch.setattr(progress, "_size", lambda path: path.unlink(missing_ok=True) or 0)
    assert "emoji/tiny" in describe(survey(results))


def test_a_pipe_in_the_place_of_any_file_is_not_waited_for(results):
    ask(results)
    for path in [path for path in results.parent.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        assert "emoji/tiny" in describe(survey(results))
        path.unlink()
        path.write_bytes(content)


def test_a_cache_that_leads_to_other_files_or_declares_endless_values_is_not_followed(results):
    path = results / "emoji/tiny/generate/0-of-4.h5"
    os.mkfifo(results / "pipe")
    with h5py.File(path, "r+") as file:
        del file["00000000"], file["00000001/meta"]
        file["00000000"] = h5py.ExternalLink("../../../pipe", "/")
        file["00000001"].create_dataset("meta", (1 << 40,), h5py.string_dtype())
    assert survey(results).runs[0].statuses == {}


def test_where_faithfulness_is_asked_for_its_shards_and_its_cost_are_said_before_any_is_there(results):
    asked = {"methods": ["tam", "random"], "fractions": [0.25, 0.5], "ordered": True, "blocks": 49, "sets": 32}
    ask(results, faithfulness=asked | {"baselines": ["mean"]})
    said = describe(survey(results))
    cost = "about 83 forward passes a sample (more on some grids), at most 16 more a word of it: 131 with three"
    assert f"\n  perturb   mean 0 of 4 shards, {cost}\n" in said and "blur" not in said
    for baseline in ("blur", "mean"):
        (results / f"emoji/tiny/perturb/{baseline}").mkdir(parents=True)
    (results / "emoji/tiny/perturb/mean/1-of-4.h5").write_bytes(bytes(2500))
    assert f"\n  perturb   mean 1 of 4 shards, {cost}\n" in describe(survey(results))
    assert f"\n  perturb   blur 0 of 4 shards, {cost}\n" in describe(survey(results))
    ask(results)
    assert "forward passes" not in describe(survey(results))
