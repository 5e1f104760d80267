"""The stage that maps a shard by all methods, and the file that it writes."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tam.cache import write_generations
from tam.cli import main
from tam.errors import InputError, SchemaError
from tam.layout import Grid, Layout
from tam.maps import read_maps, read_maps_header
from tam.methods.cached import Cached
from tam.methods.registry import METHODS
from tam.methods.rivals import RIVALS
from tam.methods.stage import write_maps
from tam.protocol import FIXED, REFERENCE, Protocol
from tam.records import Candidates, Generation, Maps, Piece, Scores
from tam.scores import SampleScores, ScoresHeader, write_scores

LENGTH, PROMPT, ANSWER = 10, 2, 3
TOKENS = np.array([1, 2, 3, 3, 3, 10, 11, 4, 5, 6, 20, 21, 7], np.int32)


def made(id="a", row=0, classes=(6, 10, 11, 20, 21, 7, 30), **changes) -> Generation:
    """Three vision tokens in two grids, two words, an answer of three tokens."""
    random = np.random.default_rng(row)
    rows, classes = 3 + PROMPT + ANSWER, np.sort(np.array(classes, np.int32))
    grids = (Grid(0, (0,), 1, 2, (0, 0, 8, 4)), Grid(1, (0,), 1, 1, (0, 0, 4, 4)))
    generation = Generation(
        id=id, status="ok", prompt="w w", answer="a a", row=row, tokens=TOKENS,
        layout=Layout(np.arange(2, 5), np.arange(5, 7), LENGTH, grids, ((8, 4), (4, 4))),
        classes=classes, logits=random.normal(1, 4, (rows, len(classes))).astype(np.float32),
        candidates=Candidates(
            np.full((5, 5), 30, np.int32), np.zeros((5, 5), np.float32), np.zeros(5, np.float32)
        ),
        retokenised_prompt=TOKENS[5:7], retokenised_answer=TOKENS[10:],
        vocabulary={int(id): Piece("a", "a", b"a") for id in {*TOKENS, 30}},
        end_tokens=frozenset({7}),
    )  # fmt: skip
    return replace(generation, **changes)


def written(path: Path, *generations: Generation) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_generations(path, {one.row: one for one in generations}, {"model": "none"}, "f" * 8)
    return path


def mapped(
    name: str, generation: Generation, protocol: Protocol = FIXED, exact: bool = False, eci_cap: float | None = None
) -> Maps:
    scores = dict.fromkeys(RIVALS, scores_of(generation))
    return METHODS[name].maps(Cached(generation, protocol, exact, eci_cap, scores))


def scores_of(generation: Generation, silent: int = 0) -> Scores:
    """Random ones; the first ``silent`` tokens are not explained."""
    random, tokens = np.random.default_rng(generation.row), generation.explained
    image = random.normal(size=(tokens, len(generation.layout.vision))).astype(np.float32)
    text = np.tril(random.normal(size=(tokens, tokens)), -1).astype(np.float32)
    return Scores(image, text, np.arange(tokens) >= silent)


def scored(path: Path, *generations: Generation, methods: Mapping[str, Scores | str] | None = None) -> Path:
    """A scores file of the generation that ``written`` writes: of all rivals, or of ``methods`` for every answer."""
    samples = {
        one.row: SampleScores(
            one.id, one.status, {} if one.failed else methods or dict.fromkeys(RIVALS, scores_of(one))
        )
        for one in generations
    }  # fmt: skip
    names: dict[str, dict] = {name: {} for name in methods or RIVALS}
    write_scores(path, samples, ScoresHeader("f" * 8, len(samples), names, {}))
    return path


def test_what_is_written_is_read_and_failures_do_not_stop_the_others(tmp_path):
    nan = made("nan", 4)
    nan.logits[0, 1] = np.nan
    samples = [
        made("b", 2), Generation.failure("gone", "w", "no picture", 3), nan, made("c", 12, status="truncated")
    ]  # fmt: skip
    generation, out = written(tmp_path / "g.h5", *samples), tmp_path / "maps" / "0-of-1.h5"
    assert write_maps(generation, out, ["tam", "centre"], FIXED) == ({"ok": 2, "failed": 1, "truncated": 1}, {"tam": 1})
    found = list(read_maps(out))
    assert [(one["tam"].id, one["tam"].failed, one["centre"].failed) for one in found] == [
        ("b", False, False), ("gone", True, True), ("nan", True, False), ("c", False, False)
    ]  # fmt: skip
    assert [found[1][name].status for name in ("tam", "centre")] == ["failed: no picture"] * 2
    assert found[2]["tam"].status.startswith("failed: nan: a logit is NaN or infinite")
    assert found[2]["tam"].maps.shape == (0, 0) and found[2]["tam"].scale.shape == (0,)
    assert [found[3][name].status for name in ("tam", "centre")] == ["truncated"] * 2
    for name in ("tam", "centre"):
        expected = mapped(name, samples[0])
        assert np.array_equal(found[0][name].maps, expected.maps.astype(np.float16))
        assert np.array_equal(found[0][name].uint8, expected.uint8)
        assert np.array_equal(found[0][name].relevance, expected.relevance)
        assert np.array_equal(found[0][name].scale, expected.scale, equal_nan=True)
    header = read_maps_header(out)
    assert (header.fingerprint, header.samples, header.protocol) == ("f" * 8, 4, "fixed")
    assert (header.methods, header.exact, header.eci_cap) == ({"tam": "TAM", "centre": "Centre Gaussian"}, False, None)


def test_methods_are_read_in_the_order_that_is_asked_for_and_no_others(tmp_path):
    write_maps(written(tmp_path / "g.h5", made()), tmp_path / "m.h5", ["tam", "random", "eci"], FIXED)
    assert list(next(read_maps(tmp_path / "m.h5"))) == ["tam", "random", "eci"]
    assert list(next(read_maps(tmp_path / "m.h5", ["eci", "tam"]))) == ["eci", "tam"]
    with pytest.raises(
        InputError, match=r"m\.h5: no maps of this method; got rgf; expected tam or random or eci; cure"
    ):
        next(read_maps(tmp_path / "m.h5", ["tam", "rgf"]))


def test_maps_are_those_of_one_method_alone(tmp_path):
    """What methods share is computed once, and none sees another."""
    generation = written(tmp_path / "g.h5", made())
    scores = scored(tmp_path / "s.h5", made())
    write_maps(generation, tmp_path / "all.h5", list(METHODS), FIXED, scores_path=scores)
    (all_,) = read_maps(tmp_path / "all.h5")
    for name in METHODS:
        write_maps(generation, tmp_path / "one.h5", [name], FIXED, scores_path=scores)
        (one,) = read_maps(tmp_path / "one.h5")
        assert np.array_equal(all_[name].maps, one[name].maps) and np.array_equal(all_[name].uint8, one[name].uint8)


def test_a_cap_is_recorded_and_applies_where_interference_is_subtracted(tmp_path):
    generation, sample = written(tmp_path / "g.h5", made()), made()
    write_maps(generation, tmp_path / "m.h5", ["tam", "activation"], FIXED, eci_cap=0.0)
    (found,) = read_maps(tmp_path / "m.h5")
    assert np.array_equal(found["tam"].uint8, mapped("rgf", sample).uint8)
    assert np.nanmax(found["tam"].scale) == 0 < np.nanmax(mapped("tam", sample).scale)
    assert np.array_equal(found["activation"].uint8, mapped("activation", sample).uint8)
    assert read_maps_header(tmp_path / "m.h5").eci_cap == 0.0
    with pytest.raises(InputError, match="the published code caps no scale"):
        write_maps(generation, tmp_path / "none.h5", ["tam"], REFERENCE, eci_cap=0.5)
    assert not (tmp_path / "none.h5").exists()


def test_the_published_error_of_a_sample_becomes_its_status(tmp_path):
    same = made("same", retokenised_prompt=np.array([8, 8], np.int32))
    write_maps(written(tmp_path / "g.h5", same), tmp_path / "m.h5", ["tam"], REFERENCE, exact=True)
    (found,) = read_maps(tmp_path / "m.h5")
    assert found["tam"].status.startswith("failed: same: no earlier token differs from token 1; the published code")


def test_a_stage_that_is_stopped_leaves_nothing(tmp_path):
    generation = written(tmp_path / "g.h5", made())
    for methods in (["none"], ["tam", "tam"]):
        with pytest.raises(InputError):
            write_maps(generation, tmp_path / "m.h5", methods, FIXED)
    assert [path.name for path in tmp_path.iterdir()] == ["g.h5"]


def test_a_file_that_is_not_ours_is_refused(tmp_path):
    generation = written(tmp_path / "g.h5", made())
    (tmp_path / "empty.h5").touch()
    for path in (generation, tmp_path / "empty.h5", tmp_path / "absent.h5"):
        with pytest.raises(SchemaError, match=path.name):
            list(read_maps(path))


def test_the_command_says_how_samples_fared_and_strictly_fails_with_them(tmp_path, capsys, monkeypatch):
    one = made("one", 1, tokens=np.array([*TOKENS[:10], 20, 20, 20], np.int32))  # one class: none to permute with
    generation = written(tmp_path / "g.h5", made("b", 2), one, Generation.failure("gone", "w", "no picture", 3))
    command = ["tam", "maps", "--generation", generation, "--method", "tam", "--method", "permuted"]
    command += ["--out", tmp_path / "m.h5"]
    monkeypatch.setattr("tam.cli.stop.listen", lambda: None)
    monkeypatch.setattr("sys.argv", list(map(str, command)))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{tmp_path / 'm.h5'}: 2 ok, 1 failed; permuted failed on 1\n"
    monkeypatch.setattr("sys.argv", [*map(str, command), "--strict"])
    with pytest.raises(SystemExit, match="samples failed; got 2 ok, 1 failed; permuted failed on 1"):
        main()
    assert len(list(read_maps(tmp_path / "m.h5"))) == 3  # it is there all the same


def test_what_the_document_says_is_so(tmp_path, monkeypatch):
    generation, out = written(tmp_path / "g.h5", made()), tmp_path / "results/emoji/tiny-qwen2-vl/maps/0-of-2.h5"
    write_maps(generation, out, ["permuted", "tam"], FIXED)
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).resolve().parents[1] / "docs/reference/maps.md").read_text(encoding="utf-8")
    reads, names = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    known: dict = {"h5py": h5py, "json": json}
    exec(reads, known)
    assert np.array_equal(known["tam"], mapped("tam", made()).maps.astype(np.float16))
    exec(names, known)
    assert (known["inverse"].name, known["inverse"].title) == ("inverse", "1 - TAM")
    header = text.split("One group a sample")[0]
    with h5py.File(out) as file:
        assert {*re.findall(r"^\| `(\w+)` \|", header, re.MULTILINE)} == {*file.attrs, "eci_cap", "scores"}


def test_the_same_maps_are_the_same_file(tmp_path):
    generation = written(tmp_path / "g.h5", made(), made("b", 1))
    scores = scored(tmp_path / "s.h5", made(), made("b", 1))
    files = []
    for _ in range(2):
        write_maps(generation, tmp_path / "m.h5", list(METHODS), FIXED, scores_path=scores)
        files.append((tmp_path / "m.h5").read_bytes())
        time.sleep(1.1)  # HDF5 would write down the second
    assert files[0] == files[1]
