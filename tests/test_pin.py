"""`tam pin`: commits and their dates in a config, in which nothing else changes."""

import pytest
import yaml

from tam.errors import InputError
from tam.pin import pin
from tests.hub import COMMIT, REPO, Repository, serve

OF = "  # of 2025-01-02"
CONFIG = f"""# my grid
datasets:
  a: {{kind: coco, hub: {REPO}, revision: null}}   # the first
  b:
    # a comment inside
    hub: {REPO}
    kind: grandf  # after it
  local: {{kind: folder, root: pictures}}

models:
  # order stays
  z: {{model: {REPO}, dtype: bfloat16}}
  y: {{model: embedded}}
  x: {{model: {REPO}, revision: main}}  # of 2020-12-31
  w: {{revision: {"ab" * 20}, model: someone/gone}}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_commits_and_dates_are_written_and_comments_and_order_stay(config):
    with serve(Repository({})) as address:
        said = pin(config, address)
        changed = {
            "hub: someone/data, revision: null}   # the first": f"hub: {REPO}, revision: {COMMIT}}}   # the first{OF}",
            "    hub: someone/data\n": f"    hub: {REPO}\n    revision: {COMMIT}{OF}\n",
            "data, dtype: bfloat16}": f"data, revision: {COMMIT}, dtype: bfloat16}}{OF}",
            "revision: main}  # of 2020-12-31": f"revision: {COMMIT}}}{OF}",
        }
        wanted = CONFIG
        for old, new in changed.items():
            assert wanted.count(old) == 1
            wanted = wanted.replace(old, new)
        assert config.read_text() == wanted
        assert said[0] == f"datasets.a: {COMMIT}, of 2025-01-02" and said[-1] == f"models.w: stays at {'ab' * 20}"
        once = config.read_text()
        pin(config, address)
        assert config.read_text() == once and yaml.safe_load(once)["models"]["y"] == {"model": "embedded"}


def test_without_an_answer_of_the_hub_nothing_is_written(config):
    config.write_text(CONFIG.replace("z: {model: someone/data", "z: {model: someone/else"))
    before = config.read_text()
    with (
        serve(Repository({})) as address,
        pytest.raises(InputError, match=r"someone/else at its newest revision: the hub"),
    ):
        pin(config, address)
    assert config.read_text() == before


def test_what_cannot_be_edited_is_said_and_stays(config):
    config.write_text(f"datasets: {{}}\nmodels:\n  a: &a {{model: {REPO}}}\n  b: *a\n  c: {{<<: *a}}\n")
    before = config.read_text()
    with serve(Repository({})) as address, pytest.raises(InputError, match="cannot be edited"):
        pin(config, address)
    assert config.read_text() == before
    config.write_text("- a list")
    with pytest.raises(InputError, match="no config"):
        pin(config)


@pytest.mark.parametrize("name", ["1", "2.5", "2020-01-01", "true"])
def test_a_name_that_yaml_reads_as_a_number_is_one_line(tmp_path, name):
    path = tmp_path / "config.yaml"
    path.write_text(f"models:\n  {name}: {{model: a/b}}\n")
    with pytest.raises(InputError, match=r"models: a name that is no text; .* cure: put it in quotes"):
        pin(path)


def test_an_anchor_is_pinned_where_it_is_written_and_a_merged_one_is_one_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"common: &c {{model: {REPO}}}\nmodels: {{x: *c, y: *c}}\n")
    with serve(Repository({})) as address:
        assert len(pin(path, address)) == 2 and path.read_text().count(COMMIT) == 1
        path.write_text(f"common: &c {{model: {REPO}}}\nmodels:\n  x:\n    <<: *c\n")
        with pytest.raises(InputError, match="a config that cannot be edited"):
            pin(path, address)
