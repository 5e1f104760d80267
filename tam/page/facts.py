"""What the page says of a run beside its answers: how they came about, and which kinds of methods there are."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import PurePath

from tam.layout import Layout
from tam.methods.registry import METHODS
from tam.records import MAIN

GROUPS = {
    "ours": "Ours", "own": "Your own", "component": "Ablation", "filter": "Ablation: filters", "rival": "Rivals",
    "control": "Controls",
}  # fmt: skip
EMBEDDED = ("tam", "embedded", "checkpoint")
SCENE = (224, 224)  # pixels of the scenes that the embedded model learned from
PHOTO = (
    "The embedded model knows 32 emoji: of a photo it says something grammatical and wrong, and its maps show no more. "
    "Choose a model of the hub for photos."
)


def is_embedded(checkpoint: str) -> bool:
    return PurePath(checkpoint).parts[-len(EMBEDDED) :] == EMBEDDED


def checkpoint_name(run: Mapping[str, object]) -> str:
    """Its name on the hub, with the revision that was asked for, or that of its folder."""
    model = str(run.get("model") or "")
    path = PurePath(model)
    name = "embedded" if is_embedded(model) else path.name if path.is_absolute() else model
    return f"{name} @ {run['revision']}" if run.get("revision") else name


def meets_photo(checkpoint: str, layout: Layout) -> bool:
    """Whether the embedded model was shown something else than one of its scenes."""
    return is_embedded(checkpoint) and any(size != SCENE for size in layout.sizes)


def grouped(methods: Iterable[str]) -> list[tuple[str, list[int]]]:
    """Titles of the groups of methods that there are, with their methods' places."""
    places: dict[str, list[int]] = {title: [] for title in GROUPS.values()}
    for place, name in enumerate(methods):
        known = METHODS[name].group if name in METHODS else "own"
        places[GROUPS["ours" if name == MAIN else known]].append(place)
    return [(title, members) for title, members in places.items() if members]


def facts(run: Mapping[str, object], protocol: str) -> list[tuple[str, str]]:
    """Checkpoint, layer, protocol, versions and today's date, as (name, value).

    Args:
        run: of the header of a generation: "model", "revision", "layer", "dtype", "tam", "torch", "transformers". What
            it lacks is not said.
    """
    versions = [f"{package} {run[package]}" for package in ("tam", "torch", "transformers") if package in run]
    said = [
        ("Checkpoint", checkpoint_name(run)), ("Layer", str(run.get("layer") or "last")),
        ("Numbers", str(run.get("dtype") or "")),
        ("Protocol", protocol), ("Versions", ", ".join(versions)), ("Page made", f"{datetime.now(UTC):%Y-%m-%d}"),
    ]  # fmt: skip
    return [(what, value) for what, value in said if value]
