"""What a config may say, and the one line that a wrong one gets."""

import copy
import datetime
import json
import re

import pytest
import yaml

from tam.config import check, method_files, record, schema
from tam.errors import InputError
from tam.methods.registry import METHODS
from tests.workflow.test_workflow import CONFIG, ROOT, snakemake
from workflow.table import README, table


def said(change: dict) -> str:
    """The error of a config with this change."""
    with pytest.raises(InputError) as raised:
        check(copy.deepcopy(CONFIG) | change)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 250
    return str(raised.value)


def dataset(**entry) -> dict:
    return {"datasets": {"d": entry}}


def test_the_examples_of_the_documentation_are_configs():
    text = (ROOT / "docs/howto/datasets.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]
    kinds = set()
    for block in blocks:
        config = CONFIG | (block if "datasets" in block else {"datasets": block})
        check(copy.deepcopy(config))
        kinds |= {entry["kind"] for entry in config["datasets"].values()}
    assert {"coco", "coco-original", "coco-panoptic", "hf", "refcoco"} <= kinds


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"metods": []}, "config: unknown key 'metods', did you mean methods?"),
        ({"shards": 0}, "config: shards: 0 is less than the minimum of 1"),
        ({"shards": "two"}, "config: shards: wrong type; got 'two'; expected a whole number"),
        (dataset(kind="emoji", seeds=1), "config: datasets.d: unknown key 'seeds', did you mean seed?"),
        (dataset(knd="emoji"), "config: datasets.d: unknown key 'knd', did you mean kind?"),
        (dataset(), "config: datasets.d: a key is missing; expected kind"),
        (dataset(kind="opensg"), "config: datasets.d.kind: unknown value 'opensg', did you mean openpsg?"),
        (dataset(kind="nope"), "config: datasets.d.kind: unknown value 'nope'; expected emoji or coco or grandf or"),
        (dataset(kind="grandf"), "config: datasets.d: wrong value {'kind': 'grandf'}; expected either root or hub"),
        (dataset(kind="coco", root="x", hub="a/b"), "expected either root or hub"),
        (dataset(kind="coco", hub="x"), "config: datasets.d.hub: wrong value 'x'; expected OWNER/NAME"),
        (dataset(kind="openpsg", root="x", revision="main"), "datasets.d: 'hub' is a dependency of 'revision'"),
        (dataset(kind="csv", root="x", ids="y"), "a key that this kind does not have: 'ids'; expected kind or prompt"),
        (dataset(kind="coco-original", images="x"), "config: datasets.d: a key is missing; expected instances"),
        (dataset(kind="hf", hub="a/b"), "config: datasets.d: 'files' is a dependency of 'hub'"),
        (dataset(kind="hf"), "expected either root or hub"),
        (dataset(kind="hf", root="x", part="1/4"), "datasets.d.part: wrong value '1/4'; expected INDEX-of-COUNT"),
        (dataset(kind="coco-panoptic", images="x"), "config: datasets.d: a key is missing; expected panoptic"),
        (dataset(kind="refcoco", images="x"), "config: datasets.d: a key is missing; expected refs"),
        (dataset(kind="refcoco", root="x"), "a key that this kind does not have: 'root'"),
        ({"models": {"tiny": {}}}, "config: models.tiny: a key is missing; expected model"),
        ({"models": {"tiny": None}}, "config: models.tiny: wrong type; got None; expected keys with values"),
        (
            {"models": {"tiny": {"model": "m", "answers": 7}}},
            "models.tiny.answers: wrong value 7; expected a file, or {DATASET: file}",
        ),
        (
            {"models": {"tiny": {"model": "m", "answers": {"emoji": 7}}}},
            "models.tiny.answers: wrong value {'emoji': 7}; expected a file",
        ),
        (
            {"models": {"tiny": {"model": "m", "answers": {"emojis": "a"}}}},
            "no such dataset: 'emojis', did you mean emoji?",
        ),
        ({"methods": ["tam", "tma"]}, "config: methods.1: wrong value 'tma', did you mean tam?"),
        ({"methods": ["tam", "x.py"]}, "config: methods.1: wrong value 'x.py'; expected a method of ours, FILE.py:"),
        ({"methods": ["eci"]}, "config: render.method: not in `methods`; got 'tam'; expected eci"),
        (
            {"sanity": {"orders": ["up"]}},
            "config: sanity.orders.0: unknown value 'up'; expected bottom_up or",
        ),
        ({"faithfulness": {"methods": ["tam"]}}, "config: faithfulness.methods: without `random` nothing shows"),
        ({"faithfulness": {}, "methods": ["tam", "random"]}, "faithfulness.methods: not in `methods`; got 'eci'"),
        ({"faithfulness": {"fractions": [0.75]}}, "faithfulness.fractions.0: 0.75 is greater than the maximum of 0.5"),
        ({"faithfulness": {"baselines": ["black"]}}, "faithfulness.baselines.0: unknown value 'black'; expected blur"),
        (
            {"faithfulness": {"blocks": 0, "methods": ["random"]}},
            "faithfulness.sets: random sets are of blocks; got 32",
        ),
        (
            {"models": {"tiny": {"model": "m", "layer": 2}}, "methods": ["tam", "rollout"]},
            "config: models.tiny.layer: these methods explain the last layer; got rollout",
        ),
        ({"tagging": "text"}, "config: tagging: unknown value 'text'; expected word or sentence"),
        (
            {"generate": {"batch_size": 0}},
            "config: generate.batch_size: wrong value 0; expected auto, or a whole number",
        ),
        (
            {"datasets": {"../escape": {"kind": "emoji"}}},
            "config: datasets: wrong name '../escape'; expected a name of",
        ),
    ],
)
def test_a_wrong_config_is_one_line_that_names_the_key(change, line):
    assert line in said(change)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"datasets": {2014: {"kind": "emoji"}}}, "config: datasets: a name that is no text; got 2014"),
        ({"datasets": {datetime.date(2026, 11, 25): {"kind": "emoji"}}}, "got 2026-11-25"),
        ({"models": {True: {"model": "embedded"}}}, "config: models: a name that is no text; got True"),
        ({"models": {1.5: {"model": "embedded"}}}, "config: models: a name that is no text; got 1.5"),
        ({"render": {"samples": [1]}}, "config: render.samples.0: wrong type; got 1"),
        ({"methods": [True]}, "config: methods.0: wrong type; got True"),
    ],
)
def test_what_yaml_reads_as_no_text_is_to_be_put_into_quotes(change, line):
    assert line in said(change) and "put it into quotes" in said(change)


@pytest.mark.parametrize(("kind", "name"), [("datasets", "report"), ("datasets", "tables"), ("models", "comparison")])
def test_a_name_of_a_folder_of_ours_is_refused(kind, name):
    (entry,) = CONFIG[kind].values()
    assert f"config: {kind}: wrong name '{name}'; expected another name; " in said({kind: {name: entry}})


def test_snakemake_says_nothing_but_that_line(tmp_path):
    done = snakemake(tmp_path, "-n", config=CONFIG | {"metods": []}, check=False)
    assert done.returncode == 1
    assert done.stdout == "tam: error: config: unknown key 'metods', did you mean methods?\n"


def test_what_is_left_out_has_its_default_and_no_two_configs_share_one():
    config, other = ({"datasets": CONFIG["datasets"], "models": CONFIG["models"]} for _ in range(2))
    check(config)
    check(other)
    assert (config["shards"], config["generate"]) == (1, {"max_new_tokens": 256, "batch_size": "auto", "candidates": 3})
    assert config["methods"] == ["random", "centre", "permuted", "activation", "eci", "rgf", "tam"]
    assert (config["eci_cap"], config["render"]["method"], config["cluster"]) == (None, "tam", {})
    config["render"]["samples"].append("1")
    assert other["render"]["samples"] == []


def test_the_config_is_kept_beside_the_results(tmp_path):
    config = copy.deepcopy(CONFIG)
    check(config)
    record(config, str(tmp_path / "results/config.json"))
    assert json.loads((tmp_path / "results/config.json").read_text()) == config


def test_the_files_of_methods_of_one_s_own_are_known():
    methods = ["tam", "my methods.py:one", "sub/my.py:two", "my methods.py:three", "package.module:four"]
    check(copy.deepcopy(CONFIG) | {"methods": methods})
    assert method_files({"methods": methods}) == ["my methods.py", "sub/my.py"]


def test_the_schema_knows_the_methods_that_there_are():
    (named,) = (rule["enum"] for rule in schema()["$defs"]["method"]["anyOf"] if "enum" in rule)
    assert sorted(named) == sorted(METHODS)


def test_the_table_of_all_keys_is_the_schema_s():
    assert table() in README.read_text(encoding="utf-8"), "write it anew: python -m workflow.table"


@pytest.mark.parametrize("name", ["coco", "config", "filters", "fresh", "paper", "quick", "rivals"])
def test_the_configs_that_ship_are_right_and_name_their_schema_to_editors(name):
    path = ROOT / f"config/{name}.yaml"
    first = path.read_text().splitlines()[0]
    assert (path.parent / first.removeprefix("# yaml-language-server: $schema=")).samefile(
        ROOT / "workflow/schemas/config.schema.yaml"
    )
    check(yaml.safe_load(path.read_text()))


def test_a_server_answers_in_a_job_of_its_own_and_nobody_else_does(tmp_path):
    engine = {"url": "http://localhost:1/v1", "model": "m"}
    model = {"model": "embedded", "engine": engine}
    done = snakemake(tmp_path, "-n", "-p", config=CONFIG | {"models": {"tiny": model}})
    assert "tam ask --manifest data/emoji/manifest.jsonl --shard 0-of-2 --model=m --url=http" in done.stdout
    assert "--answers=results/emoji/tiny/ask/0-of-2.jsonl" in done.stdout and "--engine" not in done.stdout
    with pytest.raises(InputError, match="two who answer"):
        check(copy.deepcopy(CONFIG) | {"models": {"tiny": model | {"answers": "a.jsonl"}}})


def test_where_what_is_unfinished_lies_and_how_weights_are_held_reaches_the_stages(tmp_path):
    model = {"model": "embedded", "load": "8bit", "device": "auto-map"}
    asked = CONFIG | {"store": "a disk/kept", "models": {"tiny": model}}
    said = snakemake(tmp_path, "-n", "-p", config=asked).stdout
    assert "'--store=a disk/kept/emoji/tiny/generate' --out results/emoji/tiny/generate/0-of-2.h5" in said
    assert "--load=8bit" in said and "--device=auto-map" in said
