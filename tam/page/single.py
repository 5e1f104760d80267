"""The page of one sample in memory, as one HTML file that needs nothing beside it."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence

from tam.media import Media
from tam.methods.rivals import notes_on
from tam.page.sample import STEPS, describe, kind, pictures
from tam.page.scripts import assets, color_maps, literal
from tam.records import Generation, Maps, SampleMaps


def single_page(
    generation: Generation, maps: Mapping[str, Maps], titles: Mapping[str, str], media: Media, model: str, main: str,
    layer: int | None = None,
) -> str:  # fmt: skip
    """Words to hover over and methods to switch between, without scores and gallery.

    Args:
        maps: method -> its maps. titles: method -> title. main: the method that is shown first.
        layer: that the logits are of; None: the last.
    """
    key = "0/0"
    described, drawn = pictures(generation, media.video, lambda: media)
    stored = [SampleMaps(generation.id, generation.status, **vars(one)) for one in maps.values()]
    data = describe(generation, stored, [], layer) | described
    addresses = [f"data:image/webp;base64,{base64.b64encode(picture).decode('ascii')}" for picture in drawn]
    line = {
        "run": 0, "name": "0", "id": generation.id, "status": generation.status, "kind": kind(generation.status),
        "answer": generation.answer, "prompt": generation.prompt, "picture": False, "scores": [[] for _ in maps],
    }  # fmt: skip
    run = {
        "dataset": "", "model": model, "methods": [titles[name] for name in maps], "main": [*maps].index(main),
        "notes": notes_on(maps),
    }  # fmt: skip
    gallery = {"metrics": [], "colors": color_maps(), "steps": STEPS, "runs": [run | {"of": 1}], "samples": [line]}
    data_script = (
        f"showGallery({literal(gallery)});\nembedSample({literal(key)}, {literal(addresses)}, {literal(data)});"
    )
    texts = assets()
    order = re.findall(r'<script src="page/(.*?)"', texts["index.html"])
    scripts = [data_script if name == "gallery.js" else texts[name] for name in order]
    return _in_one_file(texts["index.html"], texts["style.css"], scripts)


def _in_one_file(index: str, style: str, scripts: Sequence[str]) -> str:
    """``index.html`` with styles and scripts in place of the links to them; only these, by their hashes, may run."""
    policy = f"default-src 'none'; img-src data:; script-src {_hashes(scripts)}; style-src {_hashes([style])}"
    page = re.sub(r" *<script src=.*\n", "", index)
    page = re.sub(r'(?<=content=")default-src[^"]*', lambda _: policy, page)
    page = re.sub(r'<link rel="stylesheet".*', lambda _: f"<style>{style}</style>", page)
    return page.replace("</body>", "".join(f"<script>{text}</script>\n" for text in scripts) + "</body>")


def _hashes(texts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
