"""Maps from scores: signs, what is normalised together, and what is not explained."""

import numpy as np
import pytest

from tam.cli import main
from tam.errors import InputError, SchemaError
from tam.maps import FromScores, read_maps, read_maps_header
from tam.methods.core import activation
from tam.methods.method import Method
from tam.methods.rivals import RIVALS
from tam.methods.scored import maps_of
from tam.methods.stage import write_maps
from tam.protocol import FIXED
from tam.records import Generation, Scores, unexplained
from tests.test_maps import PROMPT, made, mapped, scored, scores_of, written

SCORES = Scores(
    image=np.float32([[0, 2], [-2, 4], [-1, -3]]),
    text=np.float32([[9, 9, 9], [8, 9, 9], [-4, 5, 9]]),
    explained=np.ones(3, bool),
)


def test_positive_scores_are_normalised_with_the_earlier_text_and_no_other():
    made = maps_of(SCORES)
    assert made.maps.tolist() == [[0, 1], [0, 0.5], [0, 0]]
    assert made.relevance.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert made.uint8.tolist() == [[0, 255], [0, 127], [0, 0]] and np.isnan(made.scale).all()
    assert unexplained(made) == []


def test_signed_scores_keep_their_order_below_zero():
    made = maps_of(SCORES, "signed")
    assert made.maps == pytest.approx(np.array([[0, 1], [0, 0.6], [3 / 9, 1 / 9]]))
    assert made.relevance[2].tolist() == pytest.approx([0, 1, 0])


@pytest.mark.parametrize("text", [SCORES.text, None])
def test_the_image_alone_has_its_own_scale_and_no_text(text):
    scores = Scores(SCORES.image, text, SCORES.explained)
    for scope in ["image"] if text is not None else ["image", "joint"]:
        made = maps_of(scores, "signed", scope)
        assert made.maps.tolist() == [[0, 1], [0, 1], [1, 0]] and not made.relevance.any()


def test_a_token_that_is_not_explained_has_no_map_and_says_so():
    made = maps_of(Scores(SCORES.image, SCORES.text, np.array([True, False, True])))
    assert unexplained(made) == [1]
    assert not made.maps[1].any() and not made.relevance[1].any() and made.relevance[2, 1] == 1


def test_cam_by_its_scores_is_cam_by_the_cache():
    """The same normalisation as TAM's own maps: whoever compares both compares methods."""
    sample = made()
    columns = [sample.column(cls) for cls in (10, 11, 20, 21, 7)]
    logits = activation(sample.logits)[:, columns].T
    by_scores = maps_of(Scores(logits[:, :3], logits[:, 3:], np.ones(5, bool)))
    by_cache = mapped("activation", sample)
    for name in ("maps", "uint8", "relevance"):
        assert np.array_equal(getattr(by_scores, name), getattr(by_cache, name))


def test_the_stage_takes_scores_and_says_how_it_made_maps_of_them(tmp_path):
    answers = [made(), Generation.failure("gone", "w", "no picture", 1), made("c", 2, status="truncated")]
    methods = {
        "rollout": scores_of(answers[0]),
        "cp-lrp": "failed: out of memory",
        "gae": scores_of(answers[0], PROMPT),
    }
    generation = written(tmp_path / "g.h5", *answers)
    scores = scored(tmp_path / "s.h5", *answers, methods=methods)
    assert write_maps(
        generation, tmp_path / "m.h5", ["cp-lrp", "tam", "gae", "rollout"], FIXED, scores_path=scores, scope="image"
    ) == ({"ok": 1, "failed": 1, "truncated": 1}, {"cp-lrp": 2})  # fmt: skip
    first, gone, _ = read_maps(tmp_path / "m.h5")
    assert first["cp-lrp"].status == "failed: out of memory" and gone["rollout"].status == "failed: no picture"
    assert [unexplained(first[name]) for name in ("gae", "tam", "rollout")] == [[0, 1], [], []]
    expected = maps_of(methods["rollout"], scope="image")
    assert np.abs(first["rollout"].maps - expected.maps).max() < 2e-3
    assert read_maps_header(tmp_path / "m.h5").scores == FromScores(("cp-lrp", "gae", "rollout"), "positive", "image")
    write_maps(generation, tmp_path / "n.h5", ["tam"], FIXED)
    assert read_maps_header(tmp_path / "n.h5").scores is None


def test_a_method_of_one_s_own_may_read_scores(tmp_path):
    sample = made()
    own = Method("own", "own", lambda cached: (cached.scores["rollout"].image > 0) * 1.0, needs="scores")
    scores = scored(tmp_path / "s.h5", sample)
    write_maps(written(tmp_path / "g.h5", sample), tmp_path / "m.h5", [own], FIXED, scores_path=scores)
    (found,) = read_maps(tmp_path / "m.h5")
    assert np.array_equal(found["own"].maps, scores_of(sample).image > 0)


def test_scores_that_are_not_there_or_of_others_are_one_line(tmp_path, monkeypatch, capsys):
    sample = made()
    generation, out = written(tmp_path / "g.h5", sample), tmp_path / "m.h5"
    monkeypatch.setattr("sys.argv", ["tam", "maps", f"--generation={generation}", "--method=gae", f"--out={out}"])
    with pytest.raises(SystemExit, match="tam: error: methods that need scores; got gae; cure: run `tam attribute`"):
        main()
    one = scored(tmp_path / "s.h5", sample, methods={"rollout": scores_of(sample)})
    with pytest.raises(InputError, match="no scores of this method; got gae; expected rollout"):
        write_maps(generation, out, ["gae"], FIXED, scores_path=one)
    with pytest.raises(SchemaError, match="samples are missing; got 2; expected 1"):
        write_maps(generation, out, ["gae"], FIXED, scores_path=scored(tmp_path / "s.h5", sample, made("b", 1)))
    with pytest.raises(SchemaError, match="scores of another generation; got 'b'; expected 'a'"):
        write_maps(generation, out, ["gae"], FIXED, scores_path=scored(tmp_path / "s.h5", made("b")))
    assert not out.exists()


def test_the_paper_s_rivals_are_there_by_its_names():
    titles = [rival.title for rival in RIVALS.values()]
    assert titles[:7] == [
        "Grad-CAM", "Grad-CAM++", "Layer-CAM", "Attention", "Attention-Rollout", "Grad-RollOut", "GAE (Chefer)",
    ]  # fmt: skip
    assert titles[7:10] == ["CP-LRP", "Attn-LRP", "Archi-Surgery"]
