"""``tam pin``: the commits that are current are written into a config, whose comments and order stay as they are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from httpx2 import InvalidURL
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError

from tam.errors import InputError
from tam.system.atomic import atomic

HUB_ERRORS = (HTTPError, OSError, ValueError, ImportError, InvalidURL)  # the latter two: of a proxy
TIMEOUT = 30.0  # seconds
COMMIT = re.compile(r"[0-9a-f]{40}")
_DATE = re.compile(r"  # of \d{4}-\d\d-\d\d$")


class Entry(NamedTuple):
    """What a config takes from the hub. Attributes: name: ``models.NAME``. key: that holds the repository's name."""

    name: str
    key: str
    repo: str
    revision: str | None


class _Edit(NamedTuple):
    start: int
    end: int
    text: str
    comment: str


def on_hub(config: dict[str, Any]) -> list[Entry]:
    """All entries of a config that are on the hub; InputError: a name that YAML reads as a number or a date."""
    found = []
    for section, key in (("datasets", "hub"), ("models", "model")):
        for name, entry in config.get(section, {}).items():
            if not isinstance(name, str):
                raise InputError("a name that is no text", where=section, got=repr(name), cure="put it in quotes")
            repo = entry.get(key)
            if repo and repo != "embedded" and not Path(repo).is_dir():
                found.append(Entry(f"{section}.{name}", key, repo, entry.get("revision")))
    return found


def about(api: HfApi, entry: Entry) -> Any:
    """What the hub says about a repository, its commit for one; InputError: it has none, or cannot be reached."""
    ask = api.dataset_info if entry.key == "hub" else api.model_info
    try:
        found = ask(entry.repo, revision=entry.revision, timeout=TIMEOUT, files_metadata=True)
        if not COMMIT.fullmatch(found.sha or ""):
            raise ValueError(f"not a commit: {found.sha!r}")
    except HUB_ERRORS as error:
        where = f"{entry.repo} at {entry.revision or 'its newest revision'}"
        got = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        cure = "check name, revision and network (HF_ENDPOINT, HF_TOKEN)"
        raise InputError("the hub does not answer", where=where, got=got, cure=cure) from error
    return found


def pin(path: Path, endpoint: str | None = None) -> list[str]:
    """Write the commit of each model and dataset of the hub into a config; a branch or tag becomes its commit, and a
    commit stays.

    Returns:
        a line an entry, for people.

    Raises:
        InputError: no config, or the hub does not answer; nothing is written.
    """
    try:
        text = path.read_bytes().decode("utf-8")  # its line ends are its own
        config, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
        entries = on_hub(config)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError, RecursionError) as error:
        raise InputError("no config", where=path, got=error, expected="YAML with `datasets` and `models`") from error
    api, edits, said = HfApi(endpoint=endpoint), [], []
    for entry in entries:
        if COMMIT.fullmatch(str(entry.revision or "")):
            said.append(f"{entry.name}: stays at {entry.revision}")
            continue
        found = about(api, entry)
        date = f"  # of {found.last_modified:%Y-%m-%d}" if found.last_modified else ""
        section, _, name = entry.name.partition(".")
        edits.append(_edit(_node(root, section, name), entry.key, found.sha, date))
        config[section][name]["revision"] = found.sha
        said.append(f"{entry.name}: {found.sha}{date.replace('  #', ',')}")
    if not edits:
        return said
    new = text
    for edit in sorted(set(edits), reverse=True):
        new = _edited(new, edit)
    if _read(new) != config:
        raise InputError(
            "a config that cannot be edited", where=path, cure="write the commits yourself: " + "; ".join(said)
        )
    with atomic(path.resolve()) as temporary:
        temporary.write_bytes(new.encode("utf-8"))
    return said


def _read(text: str) -> object:
    """What YAML makes of it; None: nothing."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return None


def _node(root: yaml.Node | None, *names: str) -> yaml.MappingNode:
    for name in names:
        root = next(value for key, value in _pairs(root) if key.value == name)
    assert isinstance(root, yaml.MappingNode)
    return root


def _pairs(node: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    return iter(node.value if node else ())


def _edit(node: yaml.MappingNode, after: str, commit: str, comment: str) -> _Edit:
    """The commit in place of the revision, or after the repository's name where there is none."""
    pairs = {key.value: (key, value) for key, value in _pairs(node)}
    if "revision" in pairs:
        start, end = (mark.index for mark in (pairs["revision"][1].start_mark, pairs["revision"][1].end_mark))
        return _Edit(start, end, commit if end > start else f" {commit}", comment)
    if after not in pairs:  # it is merged into it
        raise InputError(
            "a config that cannot be edited", got=f"{after} from elsewhere", cure=f"write {commit} yourself"
        )
    key, value = pairs[after]
    between = ", " if node.flow_style else "\n" + " " * key.start_mark.column
    return _Edit(value.end_mark.index, value.end_mark.index, f"{between}revision: {commit}", comment)


def _edited(text: str, edit: _Edit) -> str:
    """The date of the commit stands at the end of its line, in place of an earlier one."""
    head, tail = text[: edit.start] + edit.text, text[edit.end :]
    rest, newline, others = tail.partition("\n")
    return head + _DATE.sub("", rest) + edit.comment + newline + others
