"""Options of several commands, and what their values mean."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tam.cli.output import writable
from tam.errors import InputError

RESERVED = ("add_generation_prompt", "chat_template", "conversation", "tokenize")  # of what fills in a chat template

ManifestFile = Annotated[Path, typer.Option(help="The manifest that `tam dataset` wrote.")]
GenerationFile = Annotated[Path, typer.Option(help="A cache that `tam generate` wrote.")]
MetricsFiles = Annotated[list[Path], typer.Option("--metrics", help="Their metrics, in the same order.")]


def name_in_files(method: str) -> str:
    """The name that maps and rows have of a method; one's own may be named by its place, as in the config."""
    if ":" not in method:
        return method
    from tam.methods.registry import find

    return find(method).name


def names_in_files(methods: list[str] | None) -> list[str] | None:
    """The same of all that are named."""
    return methods and [*map(name_in_files, methods)]


ShownMethods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="Only these methods, in this order; all without it.",
        callback=names_in_files,
    ),
]
ProtocolName = Annotated[str, typer.Option(help="'fixed': what the paper means; 'reference': the published code.")]
Model = Annotated[str, typer.Option(help="'embedded', a folder, or a name on the hub.")]
Revision = Annotated[str | None, typer.Option(help="Revision on the hub.")]
Device = Annotated[
    str, typer.Option(help="'auto', 'cpu', 'cuda', 'cuda:1', 'mps', ...; 'auto-map': as many as the model takes.")
]
Load = Annotated[str | None, typer.Option(help="'8bit' or '4bit': quantise the weights when they are loaded.")]


Store = Annotated[
    Path | None,
    typer.Option(
        help="Folder for finished batches until the file is whole; beside it, in .parts, without this.",
        callback=writable,
    ),
]
Dtype = Annotated[str, typer.Option(help="'auto' (as stored), 'float32', 'bfloat16' or 'float16'.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the Python files that come with the checkpoint.")
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Layer = Annotated[
    int | None, typer.Option(min=1, help="Decoder layer, from 1, whose states are mapped; the last without it.")
]
MaxPixels = Annotated[
    int | None, typer.Option(min=1, help="Of a picture or frame; a larger one is shown smaller. No limit without it.")
]
TemplateOptions = Annotated[
    list[str] | None,
    typer.Option("--template", help="NAME=VALUE for the chat template, as enable_thinking=false; repeatable."),
]
EciCap = Annotated[
    float | None, typer.Option(min=0, help="The most that the scale of interference may be; no limit without it.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any sample failed.")]


def number_or(word: str, option: str, text: str) -> int | None:
    """None for the word."""
    if text == word:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError("wrong number", where=option, got=repr(text), expected=f"{word}, or 1 or more")
    return int(text)


def chat_template(options: list[str] | None) -> dict[str, Any] | None:
    """NAME=VALUE, VALUE as JSON or else as text."""
    found: dict[str, Any] = {}
    for option in options or ():
        name, equals, value = option.partition("=")
        if not (name and equals):
            raise InputError("no option of a chat template", got=repr(option), expected="NAME=VALUE")
        if name in RESERVED:
            raise InputError("the prompt sets this itself", where="--template", got=repr(name), cure="leave it out")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found or None


def checkpoint_of(model: str) -> str:
    """The folder, or the name on the hub."""
    from tam.embedded import CHECKPOINT

    return str(CHECKPOINT) if model == "embedded" else model
