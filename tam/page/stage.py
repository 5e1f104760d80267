"""The page: runs -> ``index.html`` with files beside it, to explore answers and maps in a browser, from disk.

Python writes data and pictures; the scripts in ``assets`` only show them::

    index.html
    page/gallery.js           a line on every sample, names, colour maps
    page/RUN/ROW.js           one sample: its text, scores and the maps of every method; loaded when it is opened
    page/RUN/ROW-PANEL.webp   its pictures
    page/*.css, page/*.js     copies of ``assets``

A page of one sample (``single_page``) holds all of this in one file.

A browser does not let a page from disk read JSON, but it loads scripts: each data file is one call with one literal.
Text of models and datasets appears in these literals only, and the scripts show it as text, never as HTML.
"""

import base64
import hashlib
import io
import itertools
import json
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence, Set
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from tam import manifest
from tam.errors import InputError, TamError
from tam.maps import SampleMaps, read_pairs
from tam.media import Media, open_shown
from tam.methods.registry import rank, title
from tam.records import Generation
from tam.render import answer
from tam.render.colors import COLORMAPS, table
from tam.render.overlay import Panel, panels
from tam.render.tokens import Shaped, Token, Unit, shape, units
from tam.system.atomic import atomic, atomic_folder
from tam.tables.summary import METRICS, find_runs, summarise

FOLDER = "page"
ONE, SEVERAL, QUALITY = 480, 320, 75  # largest mean width of one picture, and of several, in pixels; of WebP
DIGITS = 4
STEPS = 63  # a map's values on the page: 64 of them, which nobody tells from 256, and which take a quarter less
MAIN = "tam"  # the method that is shown first


class RunFiles(NamedTuple):
    """One dataset and model: a folder DATASET/MODEL with generate/, maps/ and metrics/, and the dataset's manifest."""

    folder: Path
    manifest: Path


class Scores(NamedTuple):
    """The metrics of a run, for all its methods.

    Attributes:
        means: sample id -> [method][metric of METRICS], None without a value.
        rows: sample id -> rows of one word (index of its first token in the answer) or of the answer (-1).
    """

    means: dict[str, list[list[float | None]]]
    rows: dict[str, list[dict]]


def write_page(runs: Sequence[RunFiles], out: Path, most: int | None = None) -> dict[str, int]:
    """Write ``out/index.html`` and the folder ``out/page``, which is replaced as a whole.

    Args:
        most: of each run, only so many samples, the first of the manifest; None: all.

    Returns:
        the number of samples by kind of status: "ok", "truncated", "failed".

    Raises:
        InputError: no runs, a run without metrics, or a manifest that lacks a sample.
        SchemaError: files that are damaged or do not belong together.
    """
    if not runs:
        raise InputError("no runs to show")
    with atomic_folder(out / FOLDER) as part:
        described, samples = [], []
        for number, run in enumerate(runs):
            about, lines = _write_run(run, part, number, most)
            described.append(about)
            samples += lines
        names = {"metrics": list(METRICS.items()), "colors": _color_maps(), "steps": STEPS}
        _write_script(part / "gallery.js", "showGallery", names | {"runs": described, "samples": samples})
        index = _copy_assets(part)
    with atomic(out / "index.html") as temporary:
        temporary.write_text(index, encoding="utf-8")
    return dict(Counter(_kind(line["status"]) for line in samples))


def single_page(generation: Generation, maps: SampleMaps, media: Media, model: str, method: str = "tam") -> str:
    """The page of one sample, without scores and gallery, as one HTML file that needs nothing beside it."""
    key = "0/0"
    described, drawn = _pictures(generation, media.video, lambda: media)
    data = describe(generation, {method: maps}, []) | described
    addresses = [f"data:image/webp;base64,{base64.b64encode(picture).decode('ascii')}" for picture in drawn]
    line = {
        "run": 0, "name": "0", "id": generation.id, "status": generation.status, "kind": _kind(generation.status),
        "answer": generation.answer, "prompt": generation.prompt, "picture": False, "scores": [[]],
    }  # fmt: skip
    run = {"dataset": "", "model": model, "methods": [title(method)], "main": 0, "of": 1}
    gallery = {"metrics": [], "colors": _color_maps(), "steps": STEPS, "runs": [run], "samples": [line]}
    data_script = (
        f"showGallery({literal(gallery)});\nembedSample({literal(key)}, {literal(addresses)}, {literal(data)});"
    )
    assets = _assets()
    order = re.findall(r'<script src="page/(.*?)"', assets["index.html"])
    scripts = [data_script if name == "gallery.js" else assets[name] for name in order]
    return _in_one_file(assets["index.html"], assets["style.css"], scripts)


# ---- one run ---------------------------------------------------------------------------------------------------------


def _write_run(run: RunFiles, out: Path, number: int, most: int | None) -> tuple[dict, list[dict]]:
    """Write the samples of a run into ``out/NUMBER``; what the gallery says of the run, and of each sample."""
    found = {each.method: each for each in find_runs(run.folder / "metrics")}
    methods = sorted(found, key=rank)
    shards = sorted((run.folder / "generate").glob("*.h5"))
    for stage, there in {"generate": shards, "metrics": methods}.items():
        if not there:
            raise InputError(f"nothing in {stage}/", where=run.folder, cure=f"run `tam {stage}` first")
    listed = manifest.read(run.manifest)
    samples = {sample.id: sample for sample in listed[:most]}
    scores = _read_scores([found[method] for method in methods], samples.keys())
    folder = out / str(number)
    folder.mkdir(parents=True)
    lines = {}
    with tqdm(total=len(samples), desc="page", unit="sample") as progress:
        for shard in shards:
            for generation, *maps in read_pairs(shard, *(run.folder / "maps" / name / shard.name for name in methods)):
                if most is not None and generation.row >= most:
                    break
                if generation.id not in samples:
                    raise InputError("sample is not in the manifest", where=run.manifest, got=repr(generation.id))
                sample = samples[generation.id]
                name = f"{generation.row:08d}"
                data = describe(generation, dict(zip(methods, maps, strict=True)), scores.rows[sample.id])
                opened = partial(open_shown, sample, run.manifest.parent, generation.layout)
                described, drawn = _pictures(generation, sample.kind == "video", opened)
                data |= described
                for panel, picture in enumerate(drawn):
                    (folder / f"{name}-{panel}.webp").write_bytes(picture)
                _write_script(folder / f"{name}.js", "receiveSample", data)
                status = next((one.status for one in maps if one.failed), generation.status)
                lines[generation.row] = {
                    "run": number, "name": name, "id": sample.id, "status": status, "kind": _kind(status),
                    "answer": generation.answer, "prompt": generation.prompt,
                    "picture": bool(data["panels"]), "scores": scores.means[sample.id],
                }  # fmt: skip
                progress.update()
    one = found[methods[0]]
    about = {"dataset": one.dataset, "model": one.model, "of": len(listed)}
    main = methods.index(MAIN) if MAIN in methods else len(methods) - 1
    return about | {"methods": [title(name) for name in methods], "main": main}, [lines[row] for row in sorted(lines)]


def _read_scores(runs: Sequence, samples: Set[str]) -> Scores:
    means, rows = defaultdict(list), defaultdict(dict)
    for number, run in enumerate(runs):
        for line in summarise(run).samples.to_dict("records"):
            if line["sample"] in samples:
                means[line["sample"]].append([_number(line[metric]) for metric in METRICS])
        for path in run.paths:
            for row in pq.read_table(path, filters=[("sample", "in", samples)]).to_pylist():
                if row["metric"] != "answer":
                    key = (row["token"], row["metric"])
                    said = rows[row["sample"]].setdefault(key, [None] * len(runs))
                    said[number] = _number(row["value"]) if row["status"] == "ok" else row["status"]
    listed = {
        sample: [{"token": token, "metric": metric, "values": values} for (token, metric), values in found.items()]
        for sample, found in rows.items()
    }
    return Scores(means, defaultdict(list, listed))


# ---- one sample ------------------------------------------------------------------------------------------------------


def describe(generation: Generation, maps: dict[str, SampleMaps], scores: list[dict]) -> dict:
    """All that the page shows of a sample but its pictures.

    ``units`` are tokens that can only be shown together, ``words`` lists of units; ``pieces`` are the vocabulary
    entries that ``tokens`` and ``candidates`` point to. Maps are uint8 [token, vision] from 0 to STEPS, relevance uint8
    [token, token] from 0 to 255.
    """
    ids = [int(id) for id in (*generation.prompt_ids, *generation.answer_ids)]
    start = len(generation.prompt_ids)
    shown = units([answer.token(generation, id) for id in ids], [start] if 0 < start < len(ids) else [])
    rows = generation.candidates
    place = {id: number for number, id in enumerate(dict.fromkeys([*ids, *rows.ids.ravel().tolist()]))}
    return {
        "prompt": start,
        "units": [_unit(unit) for unit in shown],
        "words": by_word(shown, answer.word_tokens(generation)),
        "tokens": [place[id] for id in ids],
        "pieces": [_piece(answer.token(generation, id)) for id in place],
        "candidates": [
            [[place[id], round(chance, DIGITS)] for id, chance in zip(*row, strict=True)]
            for row in zip(rows.ids.tolist(), rows.probabilities.tolist(), strict=True)
        ],
        "methods": [
            {"status": one.status}
            | ({} if one.failed else {"maps": packed(_steps(one.uint8)), "relevance": packed(_bytes(one.relevance))})
            for one in maps.values()
        ],
        "scores": scores,
    }


def by_word(shown: Sequence[Unit], words: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of units, a list a word. A unit belongs to the word of its first token; one in no word stands alone."""
    owner = {token: number for number, tokens in enumerate(words) for token in tokens}
    keys = [owner.get(unit.tokens[0], -1 - index) for index, unit in enumerate(shown)]
    return [list(members) for _, members in itertools.groupby(range(len(shown)), keys.__getitem__)]


def _unit(unit: Unit) -> dict:
    flags = {name: True for name in ("space", "newline") if getattr(unit.shaped, name)}
    return {"tokens": unit.tokens, "runs": runs(unit.shaped)} | flags


def _piece(token: Token) -> dict:
    if token.label is not None:
        return {"runs": [[token.label]]}
    shaped = shape(token.bytes.decode("utf-8", "surrogateescape"))
    return {"runs": runs(shaped)} | ({"space": True} if shaped.space else {})


def runs(shaped: Shaped) -> list[str | list[str]]:
    """Visible text: a string is text, a list of one string a boxed label.

    Characters that no font of this machine has are given as they are: the browser has fonts of its own.
    """
    restored = {f"{ord(character):X}": character for character in shaped.lost}
    flat = [
        restored.get(run.text, [run.text]) if run.face is None else run.text
        for run in itertools.chain.from_iterable(shaped.clusters)
    ]
    joined: list[str | list[str]] = []
    for run in flat:
        if isinstance(run, str) and joined and isinstance(joined[-1], str):
            joined[-1] += run
        else:
            joined.append(run)
    return joined


def _pictures(generation: Generation, video: bool, opened: Callable[[], Media]) -> tuple[dict, list[bytes]]:
    """Sizes of the pictures, and where the grids lie on them in pixels; and each picture as the bytes of a WebP."""
    nothing = {"video": video, "panels": [], "grids": []}
    if generation.failed:
        return nothing, []
    layout = generation.layout
    several = len({(grid.medium, frame) for grid in layout.grids for frame in grid.frames}) > 1
    width = min(SEVERAL if several else ONE, round(np.mean([width for width, _ in layout.sizes])))
    try:
        shown = panels(layout, opened(), width)
    except (TamError, OSError, ValueError, cv2.error) as error:
        return nothing | {"problem": " ".join(str(error).split())}, []
    starts = [0, *np.cumsum([grid.cells for grid in layout.grids]).tolist()]
    grids = [
        {
            "panel": number, "box": box, "start": starts[index],
            "rows": layout.grids[index].rows, "columns": layout.grids[index].columns,
        }
        for number, panel in enumerate(shown)
        for index, box in panel.grids
    ]  # fmt: skip
    described = nothing | {"panels": [_panel(panel) for panel in shown], "grids": grids}
    return described, [_webp(panel.picture) for panel in shown]


def _webp(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "webp", quality=QUALITY, method=6)
    return file.getvalue()


def _panel(panel: Panel) -> dict:
    height, width = panel.picture.shape[:2]
    return {"width": width, "height": height, "frame": panel.frame}


# ---- files -----------------------------------------------------------------------------------------------------------


def packed(array: np.ndarray) -> str:
    """uint8 array -> base64 of its deflated bytes."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array), 9)).decode("ascii")


def literal(value: object) -> str:
    """JSON that is ASCII, so that no line separator ends a line, and without "<", so that no tag can stand in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _write_script(path: Path, function: str, value: object) -> None:
    path.write_text(f"{function}({literal(value)});\n", encoding="ascii")


def _copy_assets(out: Path) -> str:
    """Copy styles and scripts; returns ``index.html``."""
    assets = _assets()
    index = assets.pop("index.html")
    for name, text in assets.items():
        (out / name).write_text(text, encoding="utf-8")
    return index


def _assets() -> dict[str, str]:
    return {asset.name: asset.read_text(encoding="utf-8") for asset in files("tam.page").joinpath("assets").iterdir()}


def _in_one_file(index: str, style: str, scripts: Sequence[str]) -> str:
    """``index.html`` with styles and scripts in place of the links to them; only these, by their hashes, may run."""

    def hashes(texts: Sequence[str]) -> str:
        digests = (base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in texts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    policy = f"default-src 'none'; img-src data:; script-src {hashes(scripts)}; style-src {hashes([style])}"
    page = re.sub(r" *<script src=.*\n", "", index)
    page = re.sub(r'(?<=content=")default-src[^"]*', lambda _: policy, page)
    page = re.sub(r'<link rel="stylesheet".*', lambda _: f"<style>{style}</style>", page)
    return page.replace("</body>", "".join(f"<script>{text}</script>\n" for text in scripts) + "</body>")


def _color_maps() -> dict[str, str]:
    """Name -> 256 RGB triples: that of the paper, and those of even lightness steps."""
    return {name: packed(table(name)) for name in COLORMAPS}


def _steps(values: np.ndarray) -> np.ndarray:
    """uint8 values from 0 to 255 in even steps from 0 to STEPS."""
    return np.rint(values.astype(np.float32) * (STEPS / 255)).astype(np.uint8)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)


def _number(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None


def _kind(status: str) -> str:
    return status.partition(":")[0]
