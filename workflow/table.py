"""The table of config/README.md, from the schema: `python -m workflow.table` writes it there."""

import json
from collections.abc import Iterator
from pathlib import Path

from tam.config import schema

README = Path(__file__).parents[1] / "config/README.md"
HEAD = "| key | default | meaning | a change redoes |\n|---|---|---|---|\n"


def rows(rules: dict, above: str = "", redoes: str = "") -> Iterator[str]:
    """A line a key, those below it after it."""
    for key, rule in rules.get("properties", {}).items():
        name, redone = f"{above}{key}", rule.get("x-redoes", redoes)
        if "properties" in rule:
            yield from rows(rule, f"{name}.", redone)
            continue
        of_entries = isinstance(entry := rule.get("additionalProperties"), dict)
        default = "required" if key in rules.get("required", ()) else rule.get("x-default", _code(rule.get("default")))
        yield f"| `{name}{'.NAME' if of_entries else ''}` | {default} | {rule['description']} | {redone} |\n"
        if of_entries:
            yield from rows(entry, f"{name}.NAME.", entry.get("x-redoes", redone))


def _code(default: object) -> str:
    text = default if isinstance(default, str) else json.dumps(default).replace('"', "")
    return f"`{text}`"


def table() -> str:
    return HEAD + "".join(rows(schema()))


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, _, after = text.partition("| key |")
    README.write_text(before + table() + after[after.index("\n\n") + 1 :], encoding="utf-8")


if __name__ == "__main__":
    main()
