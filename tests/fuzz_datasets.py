"""What the fuzz does with datasets: valid files of every kind, and what reads them into a manifest.

Each is read alone: a folder of its own is made around the changed file, and the manifest that comes out must be read.
"""

import io
import json
import pickle
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tam import manifest
from tam.datasets import anno, archives, coco, coco_original, coco_panoptic, hf, own, refcoco
from tam.errors import InputError
from tam.generation.given_answers import read_given_answers

ANNO = [
    ["image/a.jpg", "A cat.", "seg_label/a.png", {"cat": 17}],
    ["image/b.jpg", "A dog.", "seg_label/b.png", {"dog": 18}],
]
INSTANCES = {
    "images": [
        {"id": 1, "file_name": "1.png", "height": 4, "width": 6},
        {"id": 2, "file_name": "b/2.png", "height": 4, "width": 6},
    ],
    "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "hot dog"}],
    "annotations": [
        {"id": 5, "image_id": 1, "category_id": 17, "area": 4, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]},
        {"image_id": 1, "category_id": 18, "area": 2, "segmentation": {"size": [4, 6], "counts": [16, 4, 4]}},
        {
            "image_id": 1,
            "category_id": 18,
            "area": 1,
            "segmentation": {"size": [4, 6], "counts": "`01W1"},
            "iscrowd": 1,
        },
    ],
}
REFS = [{"ref_id": 1, "ann_id": 5, "image_id": 1, "split": "val", "sentences": [{"sent": "the cat"}, {"sent": "it"}]}]
PHRASES = [
    {"image": "a.png", "phrase": "the cat", "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]},
    {"image": "b.png", "phrase": "it", "segmentation": {"size": [4, 6], "counts": [16, 4, 4]}, "id": 4, "split": "val"},
]
PANOPTIC = {
    "images": INSTANCES["images"],
    "categories": INSTANCES["categories"],
    "annotations": [
        {"image_id": 1, "file_name": "a.png", "segments_info": []},
        {"image_id": 2, "file_name": "b.png", "segments_info": [{"id": 5, "category_id": 17}]},
    ],
}
CAPTIONS = {"annotations": [{"image_id": 1, "caption": "A cat."}, {"image_id": 2, "caption": "A dog."}]}
CSV = (
    "media,id,prompt,captions,mask,categories\na.png | b.png,two,Which?,One. | Two.,m.png,cat=17 | dog=18\na.png,,,,,\n"
)
LINES = "a.png\tA cat.\na.png\tEin Kätzchen.\nb.png\tA dog.\n"
ANSWERS = '{"id": "a", "answer": "ein Hündchen", "ids": [3, 4], "ended": true}\n{"id": "b", "answer": "a dog"}\n'


@contextmanager
def _around(path: Path, name: str):
    """A folder with the changed file under this name, and pictures beside it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for picture in ("a.png", "b.png", "image/1.png", "image/b/2.png"):
            (folder / picture).parent.mkdir(exist_ok=True, parents=True)
            Image.new("RGB", (6, 4)).save(folder / picture)
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(path, folder / name)
        yield folder, folder / "out/manifest.jsonl"


def read_anno(path: Path) -> None:
    with _around(path, "anno.json") as (root, out):
        anno.write(root, out, prompt="p")
        manifest.read(out)


def read_coco(path: Path) -> None:
    with _around(path, "annotations/instances_x.json") as (root, out):
        captions = root / "annotations/captions_x.json"
        captions.write_text('{"annotations": []}')
        coco_original.write(root / "image", root / "annotations/instances_x.json", captions, out)
        manifest.read(out)
        coco.write(root, out)
        manifest.read(out)


def read_captions(path: Path) -> None:
    with _around(path, "annotations/captions_x.json") as (root, out):
        (root / "annotations/instances_x.json").write_text(
            '{"images": [{"id": 1, "file_name": "a"}], "categories": []}'
        )
        coco.write(root, out)
        manifest.read(out)


def read_csv(path: Path) -> None:
    with _around(path, "mine.csv") as (root, out):
        own.write_csv(root / "mine.csv", out, prompt="p")
        manifest.read(out)


def read_lines(path: Path) -> None:
    """The captions of a folder cost no picture, whatever they are."""
    with _around(path, "captions.txt") as (root, out):
        own.write_folder(root, out, prompt="p")
        samples = manifest.read(out)
        assert [sample.id for sample in samples if not sample.problem] == ["a", "b", "image"]
        for sample in samples:
            if sample.problem:
                raise InputError(sample.problem)


def read_answers(path: Path) -> None:
    read_given_answers(path, ["a", "b"])


def read_archive(path: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archives.unpack(Path(shutil.copy(path, Path(folder, name))), Path(folder, "out"))


def read_pickle(path: Path) -> None:
    with _around(path, "refs.p") as (folder, out):
        (folder / "instances.json").write_text(json.dumps(INSTANCES))
        refcoco.write(folder / "image", folder / "refs.p", out, instances=folder / "instances.json")
        manifest.read(out)


def read_phrases(path: Path) -> None:
    with _around(path, "rows.json") as (folder, out):
        refcoco.write(folder, folder / "rows.json", out)
        manifest.read(out)


def read_panoptic(path: Path) -> None:
    with _around(path, "panoptic.json") as (folder, out):
        coco_panoptic.write(folder / "image", folder / "panoptic.json", folder, out)
        manifest.read(out)


def read_rows(path: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder, files = hf.find(Path(shutil.copy(path, Path(made, name))), None)
        hf.write(folder, files, Path(made, "out/manifest.jsonl"), columns={}, prompt="p")
        manifest.read(Path(made, "out/manifest.jsonl"))
        assert {path.name for path in Path(made).iterdir()} == {name, "out"}


def parquet() -> bytes:
    picture, data = _png(), io.BytesIO()
    images = [{"bytes": picture, "path": "a.png"}, {"bytes": None, "path": "b.png"}, {"bytes": picture, "path": None}]
    columns = {"image": images, "caption": ["A cat.", "Ein Kätzchen.", None], "mask": [picture, None, None]}
    pq.write_table(pa.table(columns), data, row_group_size=2)
    return data.getvalue()


def webdataset() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        files = {"a.png": _png(), "a.txt": b"A cat.", "b.json": b'{"question": "Who?"}', "b.png": _png()}
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def _png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (6, 4)).save(data, "PNG")
    return data.getvalue()


def packed(ending: str) -> bytes:
    data = io.BytesIO()
    if ending == ".zip":
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("a/b.txt", "a/", "ü.png"):
                archive.writestr(name, b"1" * 100)
    else:
        with tarfile.open(fileobj=data, mode="w:gz" if ending == ".tgz" else "w") as archive:
            for name in ("a/b.txt", "ü.png", "x" * 200):
                member = tarfile.TarInfo(name)
                member.size = 100
                archive.addfile(member, io.BytesIO(b"1" * 100))
    return data.getvalue()


def videos(folder: Path) -> list[bytes]:
    """Five frames in three containers."""
    made = []
    for name, codec in (("a.avi", "MJPG"), ("a.mkv", "FFV1"), ("a.mp4", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*codec), 10.0, (64, 48))
        for number in range(5):
            writer.write(np.full((48, 64, 3), number * 40, np.uint8))
        writer.release()
        made.append((folder / name).read_bytes())
    return made


VALUES: list[tuple[Callable[[Path], None], object]] = [
    (read_anno, ANNO), (read_coco, INSTANCES), (read_captions, CAPTIONS), (read_phrases, PHRASES),
    (read_panoptic, PANOPTIC),
]  # fmt: skip
"""What reads JSON, and JSON that it reads."""

BYTES: list[tuple[Callable[[Path], None], bytes]] = [
    (read_csv, CSV.encode()),
    (read_lines, LINES.encode()),
    (read_answers, ANSWERS.encode()),
    (read_pickle, pickle.dumps(REFS, 2)),
    (partial(read_rows, name="a.parquet"), parquet()),
    (partial(read_rows, name="a.tar"), webdataset()),
    *((partial(read_archive, name=f"a{ending}"), packed(ending)) for ending in (".zip", ".tar", ".tgz")),
]
"""What reads other files, and one that it reads."""
