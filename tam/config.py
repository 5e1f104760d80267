"""The config against its schema, before anything runs: what is wrong with it is said in one line.

jsonschema comes with Snakemake: no stage reads a config.
"""

import copy
import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from tam.errors import InputError
from tam.methods.rivals import RIVALS
from tam.snakefile import FOLDER
from tam.system.atomic import atomic

SCHEMA = FOLDER / "workflow/schemas/config.schema.yaml"
TYPES = {
    "object": "keys with values",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def schema() -> dict[str, Any]:
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def check(config: dict[str, Any]) -> None:
    """Fill in the defaults of what is left out.

    Raises:
        InputError: names the key that is wrong, and what may be meant.
    """
    rules = schema()
    if errors := list(Draft202012Validator(rules).iter_errors(config)):
        raise _in_words(min(errors, key=lambda error: list(map(str, error.path))))
    _fill(config, rules)
    drawn = config["render"]["method"]
    if config["render"]["samples"] and drawn not in config["methods"]:
        expected = " or ".join(config["methods"])
        raise InputError("not in `methods`", where="config: render.method", got=repr(drawn), expected=expected)
    _check_faithfulness(config.get("faithfulness"), config["methods"])
    for name, model in config["models"].items():
        if model.get("layer") is not None and (scored := scored_methods(config)):
            where = f"config: models.{name}.layer"
            raise InputError("these methods explain the last layer", where=where, got=" and ".join(scored))
        if model.get("engine") and model.get("answers"):
            raise InputError(
                "two who answer", where=f"config: models.{name}", got="engine and answers", cure="leave one"
            )
        answers = model.get("answers")
        named = answers if isinstance(answers, dict) else ()
        if unknown := [dataset for dataset in named if dataset not in config["datasets"]]:
            raise _unknown("no such dataset:", unknown[0], config["datasets"], f"config: models.{name}.answers")


def _check_faithfulness(asked: dict[str, Any] | None, methods: list[str]) -> None:
    if asked is None:
        return
    where = "config: faithfulness.methods"
    if unknown := [name for name in asked["methods"] if name not in methods]:
        raise InputError("not in `methods`", where=where, got=repr(unknown[0]), expected=" or ".join(methods))
    if "random" not in asked["methods"]:
        raise InputError("without `random` nothing shows that chance is 0", where=where, cure="add random")
    if asked["sets"] and not asked["blocks"]:
        raise InputError("random sets are of blocks", where="config: faithfulness.sets", got=asked["sets"], expected=0)


def _fill(config: dict[str, Any], rules: dict[str, Any]) -> None:
    for key, rule in rules.get("properties", {}).items():
        if "default" in rule:
            config.setdefault(key, copy.deepcopy(rule["default"]))
        if isinstance(config.get(key), dict):
            _fill(config[key], rule)


def scored_methods(config: dict[str, Any]) -> list[str]:
    """Those of the methods that `tam attribute` computes."""
    return [name for name in config["methods"] if name in RIVALS]


def method_files(config: dict[str, Any]) -> list[str]:
    """The files in which methods of one's own are."""
    places = {method.rpartition(":")[0] for method in config["methods"]}
    return sorted(place for place in places if place.endswith(".py"))


def record(config: dict[str, Any], path: str) -> None:
    """Keep the config, with its defaults, beside the results."""
    with atomic(Path(path)) as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _in_words(error: ValidationError) -> InputError:
    got, rules = error.instance, error.schema
    where = ": ".join(["config", *([".".join(map(str, error.path))] if error.path else [])])
    of_name = "propertyNames" in error.schema_path
    match error.validator:
        case "additionalProperties":
            unknown = next(key for key in got if key not in rules["properties"])
            return _unknown("unknown key", unknown, rules["properties"], where)
        case "required":
            missing = next(key for key in rules["required"] if key not in got)
            return InputError("a key is missing", where=where, expected=missing)
        case "enum":
            what = "a key that this kind does not have:" if of_name else "unknown value"
            return _unknown(what, got, rules["enum"], where)
        case "type":
            types = [rules["type"]] if isinstance(rules["type"], str) else rules["type"]
            no_text = "string" in types and not isinstance(got, dict | list | None)
            cure = "YAML reads it as a number, a date or a truth value: put it into quotes" if no_text else None
            expected = " or ".join(TYPES[name] for name in types)
            what = "a name that is no text" if of_name else "wrong type"
            return InputError(what, where=where, got=_short(got), expected=expected, cure=cure)
        case "anyOf" | "oneOf" | "not" | "pattern":
            values = [value for rule in rules.get("anyOf", ()) for value in rule.get("enum", ())]
            return _unknown("wrong name" if of_name else "wrong value", got, values, where, rules["x-expected"])
    return InputError(error.message[:200], where=where)


def _unknown(what: str, got: object, known: Iterable[str], where: str, expected: str | None = None) -> InputError:
    if near := difflib.get_close_matches(str(got), known, 1):
        return InputError(f"{what} {_short(got)}, did you mean {near[0]}?", where=where)
    return InputError(f"{what} {_short(got)}", where=where, expected=expected or " or ".join(known))


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
