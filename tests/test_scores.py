"""The scores file: raw, signed, of any magnitude, and guarded as the other files."""

from pathlib import Path

import numpy as np
import pytest

from tam.errors import DiskError, SchemaError
from tam.records import Scores
from tam.scores import SampleScores, ScoresHeader, merge, read_scores, read_scores_header, read_statuses, write_scores

HEADER = ScoresHeader("f00d", 2, {"rollout": {}, "cp-lrp": {"prompt": False}}, {"model": "tiny", "dtype": "float32"})


def scores(tokens: int = 3, vision: int = 4, seed: int = 0, silent: int = 0) -> Scores:
    """Random ones of very different magnitudes; the first ``silent`` tokens are not explained."""
    random = np.random.default_rng(seed)
    explained = np.arange(tokens) >= silent
    magnitude = np.geomspace(1e-9, 1e9, tokens)[:, None]
    image = random.normal(size=(tokens, vision)) * magnitude * explained[:, None]
    text = np.tril(random.normal(size=(tokens, tokens)) * magnitude, -1)
    return Scores(image.astype(np.float32), text.astype(np.float32), explained)


def test_what_is_written_is_read_to_the_precision_of_float16_in_every_row(tmp_path):
    without_text = Scores(scores(seed=1).image, None, np.ones(3, bool))
    samples = {
        3: SampleScores("b", "ok", {"rollout": without_text, "cp-lrp": scores(silent=1)}),
        7: SampleScores("c", "failed: no picture", {}),
        12: SampleScores("d", "truncated", {"rollout": scores(), "cp-lrp": "failed: out of memory"}),
    }
    write_scores(tmp_path / "0.h5", samples, HEADER)
    found = dict(read_scores(tmp_path / "0.h5"))
    assert read_scores_header(tmp_path / "0.h5") == HEADER and list(found) == [3, 7, 12]
    assert found[7] == samples[7] and found[12].methods["cp-lrp"] == "failed: out of memory"
    for row, name in ((3, "rollout"), (3, "cp-lrp"), (12, "rollout")):
        made, read = samples[row].methods[name], found[row].methods[name]
        assert (read.explained == made.explained).all() and (read.text is None) == (made.text is None)
        for one, other in ((made.image, read.image), (made.text, read.text)):
            if one is not None:
                assert (np.abs(one - other) <= np.abs(one).max(1, keepdims=True) / 2048).all()
    assert not found[3].methods["cp-lrp"].explained[0]
    assert [row for row, _ in read_scores(tmp_path / "0.h5", {12})] == [12]


def test_what_a_later_token_says_is_not_kept(tmp_path):
    made = Scores(np.ones((2, 1), np.float32), np.full((2, 2), 5, np.float32), np.ones(2, bool))
    write_scores(tmp_path / "0.h5", {0: SampleScores("a", "ok", {"rollout": made})}, HEADER)
    ((_, found),) = read_scores(tmp_path / "0.h5")
    assert found.methods["rollout"].text.tolist() == [[0, 0], [5, 0]]


def test_parts_become_one_file_in_the_manifest_s_order(tmp_path):
    samples = {row: SampleScores(str(row), "ok", {"rollout": scores(seed=row)}) for row in (4, 1)}
    parts = [tmp_path / f"part-{row}.h5" for row in samples]
    for part, (row, sample) in zip(parts, samples.items(), strict=True):
        write_scores(part, {row: sample}, HEADER)
    merge(parts, tmp_path / "whole.h5", HEADER, samples.keys())
    assert [row for row, _ in read_scores(tmp_path / "whole.h5")] == [1, 4]
    with pytest.raises(DiskError, match=r"samples are in no part; got rows \[2\]"):
        merge(parts, tmp_path / "whole.h5", HEADER, {1, 2, 4})


def test_a_method_that_is_added_leaves_those_that_are_there(tmp_path):
    whole, part = tmp_path / "whole.h5", tmp_path / "part-0.h5"
    old = {"rollout": scores(seed=1), "gae": scores(seed=2), "cp-lrp": "failed: out of memory"}
    write_scores(whole, {0: SampleScores("a", "ok", old)}, HEADER)
    write_scores(part, {0: SampleScores("a", "ok", {"rollout": scores(seed=3)})}, HEADER)
    merge([part], whole, HEADER, {0}, whole)
    ((_, found),) = read_scores(whole)
    assert list(found.methods) == ["cp-lrp", "rollout"], "of those that the header names"
    assert found.methods["cp-lrp"] == old["cp-lrp"]
    assert np.allclose(found.methods["rollout"].image, scores(seed=3).image, rtol=0.1)
    assert read_statuses(whole) == {0: ("ok", {"cp-lrp": "failed: out of memory", "rollout": "ok"})}


def test_a_file_that_lies_or_is_damaged_is_refused(tmp_path):
    import h5py

    from tam.system import seal

    def written(change) -> Path:
        path = tmp_path / "0.h5"
        write_scores(path, {0: SampleScores("a", "ok", {"rollout": scores()})}, HEADER)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    def reshaped(file) -> None:
        del file["00000000/rollout/image_magnitude"]
        file["00000000/rollout/image_magnitude"] = np.zeros(2, np.float32)

    def infinite(file) -> None:
        file["00000000/rollout/image"][0, 0] = np.inf

    with pytest.raises(SchemaError, match="no checksum"):
        list(read_scores(written(lambda file: None)))
    for change in (reshaped, infinite):
        path = written(change)
        seal.append(path)
        with pytest.raises(SchemaError, match="sample 00000000"):
            list(read_scores(path))
