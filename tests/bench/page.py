"""What the page costs at a dataset's size: CPU to make it, bytes, and what a browser does to open its gallery.

``python -m tests.bench.page FOLDER``. Synthetic answers of Qwen2-VL-2B's shapes (``tests.bench.scale``) over one
photograph of 640x480, the default's methods. The page of SAMPLES is made; its gallery is opened with TIMES as many.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import yaml

from tam import manifest
from tam.cache import write_generations
from tam.methods.stage import write_maps
from tam.metrics.stage import write_metrics
from tam.page.stage import write_page
from tam.protocol import FIXED
from tam.run import runs_of
from tests.bench import scale
from tests.browser import Browser

SAMPLES, TIMES, ROUNDS = 100, 50, 3
CONFIG = Path(__file__).parents[2] / "config/config.yaml"


def give(folder: Path) -> dict[str, list[Path]]:
    """The files of a run of SAMPLES."""
    data, results = folder / "data/photos", folder / "results/photos/synthetic"
    data.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (scale.HEIGHT // 16, scale.WIDTH // 16, 3), np.uint8)
    cv2.imwrite(str(data / "photo.jpg"), cv2.resize(noise, (scale.WIDTH, scale.HEIGHT), interpolation=cv2.INTER_CUBIC))
    listed = [manifest.Sample(f"{row:012d}", ["photo.jpg"], "", categories=scale.CATEGORIES) for row in range(SAMPLES)]
    manifest.write(listed, data / "manifest.jsonl")
    answers, maps, metrics = (results / place for place in ("generate/a.h5", "maps/a.h5", "metrics/a.parquet"))
    answers.parent.mkdir(parents=True)
    write_generations(answers, {row: scale.sample(row) for row in range(SAMPLES)}, {}, "f")
    write_maps(answers, maps, yaml.safe_load(CONFIG.read_text())["methods"], FIXED)
    write_metrics(answers, maps, data / "manifest.jsonl", metrics, FIXED)
    return {
        "manifests": [data / "manifest.jsonl"], "generation": [answers], "maps": [maps], "metrics": [metrics]
    }  # fmt: skip


def opened(index: Path) -> float:
    """Seconds that a browser's main thread is busy until the gallery stands: the least of ROUNDS."""
    browser, spent = Browser(), []
    try:
        browser.protocol("Performance.enable")
        for _ in range(ROUNDS):
            browser.open(index)
            browser.until("document.querySelector('#cards li')")
            time.sleep(2)
            metrics = {one["name"]: one["value"] for one in browser.protocol("Performance.getMetrics")["metrics"]}
            spent.append(sum(metrics[f"{kind}Duration"] for kind in ("Script", "Layout", "RecalcStyle")))
    finally:
        browser.close()
    return min(spent)


def main(folder: Path) -> None:
    from tests.bench import result

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        runs = runs_of(**give(place))
        seconds = []
        for _ in range(ROUNDS):
            before = time.process_time()
            write_page(runs, place / "report")
            seconds.append(time.process_time() - before)
        size = sum(path.stat().st_size for path in (place / "report").rglob("*"))
        gallery = place / "report/page/gallery.js"
        function, _, text = gallery.read_text().partition("(")
        told = json.loads(text.removesuffix(");\n"))
        told["samples"] *= TIMES
        gallery.write_text(f"{function}({json.dumps(told)});\n")
        row = {
            "samples": SAMPLES, "make, ms a sample": 1000 * min(seconds) / SAMPLES,
            "kB a sample": size / SAMPLES / 1000,
            f"open {SAMPLES * TIMES}, s": opened(place / "report/index.html"),
        }  # fmt: skip
        result.write(folder, "page", [row], "CPU time of one core, the least of three rounds.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
