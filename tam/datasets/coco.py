"""COCO captions with label maps, in the formatted layout of the paper's COCO14 set.

annotations/instances_*.json   images and categories (the first file by name is read)
annotations/captions_*.json    captions
image/<file_name>              pictures
seg_label/<stem>.png           category id a pixel, 0 = background
"""

import json
from collections import defaultdict
from pathlib import Path

from tam import manifest
from tam.errors import InputError

PROMPT = "Write a one-sentence caption for this image:"

# The published evaluation calls two categories by their last word.
PAPER_NAMES = {"sports ball": "ball", "wine glass": "glass"}


def write(root: Path, out: Path, *, prompt: str = PROMPT, limit: int | None = None) -> int:
    """Write the manifest of the folder ``root`` to ``out``, images in the order of their ids.

    Returns:
        the number of samples. A picture or mask that is missing is left to the stage that opens it, which records
        it with the sample.

    Raises:
        InputError: no such layout, broken JSON, an image entry without id or file name.
    """
    instances = _annotations(root, "instances")
    captions = defaultdict(list)
    for entry in _entries(_annotations(root, "captions"), "annotations", ("image_id", "caption")):
        captions[entry["image_id"]].append(entry["caption"])
    categories = {
        PAPER_NAMES.get(entry["name"], entry["name"]): entry["id"]
        for entry in _entries(instances, "categories", ("id", "name"))
    }
    images = sorted(_entries(instances, "images", ("id", "file_name")), key=lambda entry: entry["id"])[:limit]
    manifest.write(
        (
            manifest.Sample(
                id=Path(entry["file_name"]).stem,
                media=[manifest.relative(_inside(root, "image", entry["file_name"]), out)],
                prompt=prompt,
                references=captions[entry["id"]],
                mask=manifest.relative(_inside(root, "seg_label", Path(entry["file_name"]).stem + ".png"), out),
                categories=categories,
            )
            for entry in images
        ),
        out,
    )
    return len(images)


def _annotations(root: Path, kind: str) -> dict:
    files = sorted(root.glob(f"annotations/{kind}_*.json"))
    if not files:
        raise InputError(
            "not a formatted COCO folder",
            where=root,
            expected=f"annotations/{kind}_*.json, image/, seg_label/",
            got=", ".join(sorted(path.name for path in root.iterdir())[:8]) if root.is_dir() else "no such folder",
        )
    try:
        return {"path": files[0], **json.loads(files[0].read_text(encoding="utf-8"))}
    except (ValueError, TypeError) as error:
        raise InputError("broken JSON", where=files[0], got=error, cure="download or make the file again") from error


def _entries(annotations: dict, key: str, needed: tuple[str, ...]) -> list[dict]:
    entries = annotations.get(key)
    if not isinstance(entries, list):
        raise InputError("key is missing", where=annotations["path"], expected=f"a list under {key!r}")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not all(name in entry for name in needed):
            raise InputError(
                "entry is incomplete",
                where=f"{annotations['path']}, {key}[{index}]",
                got=str(entry)[:80],
                expected=" and ".join(needed),
            )
    return entries


def _inside(root: Path, folder: str, name: str) -> Path:
    """A file directly in ``root/folder``; annotation files must not point elsewhere."""
    if Path(name).name != name:
        raise InputError("file name leaves its folder", where=root, got=repr(name), expected=f"a name in {folder}/")
    return root / folder / name
