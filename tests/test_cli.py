import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from PIL import Image

from tam import __version__, manifest
from tam.datasets.emoji import scenes as emoji
from tam.manifest import Sample

STAGES = [
    *("dataset emoji", "dataset coco", "dataset grandf", "dataset openpsg", "dataset coco-original"),
    *("dataset coco-panoptic", "dataset hf", "dataset refcoco", "dataset phrases", "export"),
    *("dataset folder", "dataset csv", "dataset nltk", "generate", "maps", "metrics"),
    *("tables", "render", "figures", "compare", "page", "status", "explain"),
]


FILES = ["--generation", "d/m/generate/0.h5", "--maps", "d/m/maps/0.h5", "--metrics", "d/m/metrics/0.parquet"]
MANIFEST = ["--manifest", "d/manifest.jsonl", "--out", "x"]


def tam(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tam", *arguments]
    known = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    return subprocess.run(command, capture_output=True, text=True, env=known, cwd=cwd)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself(stage):
    done = tam(*stage.split(), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "--manifest", "none.jsonl", "--out", "x.h5"], "none.jsonl"),
        (["generate", "--manifest", "none.jsonl", "--out", "x.h5", "--shard", "4-of-4"], "an index from 0 to 3"),
        (["maps", "--generation", "none.h5", "--out", "x.h5"], "none.h5"),
        (["maps", "--generation", "none.h5", "--out", "x.h5", "--protocol", "both"], "fixed or reference"),
        (["dataset", "coco", "--root", "nowhere", "--out", "x"], "no such folder"),
        (["dataset", "grandf", "--root", "nowhere", "--out", "x"], "no such folder"),
        (["dataset", "openpsg", "--out", "x"], "either --root or --hub"),
        (["dataset", "coco", "--root", "x", "--hub", "a/b", "--out", "x"], "either --root or --hub"),
        (["dataset", "csv", "--root", "none.csv", "--out", "x"], "none.csv"),
        (["dataset", "nltk", "--from", "nowhere", "--out", "x"], "nowhere"),
        (["dataset", "hf", "--out", "x"], "expected --root, or --hub and --files"),
        (["dataset", "hf", "--hub", "a/b", "--out", "x"], "expected --root, or --hub and --files"),
        (["dataset", "hf", "--root", "nowhere", "--out", "x"], "nowhere: no such folder"),
        (["dataset", "refcoco", "--images", "i", "--refs", "refs.p", "--out", "x"], "refs.p"),
        (["export", *FILES[:4], "--out", "x", "--form", "csv"], "unknown form; got 'csv'"),
        (["explain", "none.jpg"], "none.jpg"),
        (["figures", *FILES, *(part.replace("/m/", "/n/") for part in FILES), *MANIFEST], "got d, m and d, n"),
        (["compare", *FILES, "--manifest", "e/manifest.jsonl", "--out", "x"], "a dataset without a manifest; got 'd'"),
        (["page", *FILES, *MANIFEST], "d/m/metrics/0.parquet: no such metrics file"),
        (["render", *FILES[:4], *MANIFEST, "--method", "tam"], "d/manifest.jsonl: no such manifest"),
        (["explain", "a.mp4", "b.jpg"], "a video stands alone"),
        (["explain", "b.jpg", "--select", "/(/"], "not a regular expression"),
        (["explain", "b.jpg", "--template", "add_generation_prompt=false"], "the prompt sets this itself"),
        (
            ["generate", "--manifest", "m", "--out", "x.h5", "--template", "tokenize=true"],
            "--template: the prompt sets this itself; got 'tokenize'",
        ),
        (["run", "--cores", "1", "--configfile", "none.yaml"], "none.yaml: no config"),
        (["run", "--configfile=none.yaml"], "none.yaml: no config"),
        (["explain", "."], "a folder is no picture"),
        (["explain", "https://example.org/a.jpg"], "an address is no file; cure: fetch it first (curl -O)"),
        (["explain", "b.jpg", "--contrast", "cat"], "--contrast: not a word and a candidate; got 'cat'"),
        (["explain", "b.jpg", "--contrast", "a=b", "--method", "centre"], "no maps of candidates by this method"),
        (["explain", "b.jpg", "--pooling", "sum"], "unknown pooling; got 'sum'"),
        (["explain", "b.jpg", "--method", "tam", "--method", "eco"], "did you mean 'eci'?"),
        (["explain", "b.jpg", "--method", "mine.py:f"], "mine.py: no such file of methods"),
        (
            ["maps", "--generation", "x.h5", "--out", "y.h5", "--protocol", "reference", "--eci-cap", "1"],
            "caps no scale",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_it(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = tam(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A scene, and a clip as a file."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(emoji.scene(5, 3).image).save(folder / "scene.png")  # two motorcycles and a bear
    frames, _, _ = emoji.clip(emoji.generator(77, emoji.EVALUATION, 0))
    writer = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 2.0, (128, 128))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return folder


def test_a_folder_of_ones_own_beside_a_clip_is_refused_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip/frames.txt").write_text("mine")
    (tmp_path / "clip.mp4").touch()
    done = tam("explain", "clip.mp4", "--out", ".", "--model", "no/such-model")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tam: error: clip: only a result of ours is replaced; got 'frames.txt' without .tam")
    assert (tmp_path / "clip/frames.txt").read_text() == "mine"


def test_a_picture_is_explained_and_what_is_selected_drawn(folder, tmp_path):
    selected = [
        "--select",
        "bear",
        "--select",
        "/motor.*/",
        "--select",
        "#0",
        "--pooling",
        "max",
        "--contrast",
        "bear=bear",
    ]
    options = ["--prompt", "What is in the image?", "--layer", "4", "--eci-cap", "1", "--device", "cpu"]
    options += ["--method", "eci", "--method", "tam"]
    done = tam("explain", str(folder / "scene.png"), *options, *selected, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "There are two motorcycles and a bear."
    paths = [Path(line.partition(": ")[2]) for line in lines[2:6]]
    assert re.match(r"evidence, not truth .*: There \d+\.\d; are \d+\.\d; two ", " ".join(lines[6:]))  # of a layer
    selections = ["select1_bear.png", "select2_motor.png", "select3_0.png"]
    assert [path.name for path in paths] == [*selections, "contrast1_bear_bear.png"]
    assert all(Image.open(path).size == (emoji.SIZE, emoji.SIZE) for path in paths)
    assert lines[1].startswith("look at ") and '"+ ECI","TAM"' in (tmp_path / "scene" / "index.html").read_text()


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_environments_of_other_people_do_not_matter(folder, tmp_path):
    """A locale of ASCII alone, Jupyter's matplotlib, a proxy that is not needed, no home, no folder for what passes."""
    jupyter = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "ALL_PROXY": "socks5://127.0.0.1:9"}
    nowhere = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    done = tam("explain", str(folder / "scene.png"), "--answer", "A bear.", "--select", "bear", "--device", "cpu",
               "--out", str(tmp_path / "bär"), **ASCII, **jupyter, **nowhere)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\\xe4" in done.stdout or "\\udcc3" in done.stdout
    assert (tmp_path / "bär/scene/select1_bear.png").is_file()


def test_letters_that_the_locale_lacks_are_one_line_before_the_model_is_loaded(folder):
    done = tam("explain", str(folder / "scene.png"), "--prompt", "Ein Bär?", "--model", "no/such", **ASCII)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.endswith("cure: export PYTHONUTF8=1\n")


@pytest.mark.parametrize(
    ("proxy", "said", "arguments"),
    [
        ("socks5://127.0.0.1:9", "socksio", ["dataset", "coco", "--hub", "a/b", "--out", "x"]),
        ("http://127.0.0.1:none", "Invalid port: 'none'", ["generate", "--model", "no/such", "--out", "x.h5"]),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line(tmp_path, monkeypatch, proxy, said, arguments):
    monkeypatch.chdir(tmp_path)
    manifest.write([Sample("a", ["a.png"], "What?")], tmp_path / "m.jsonl")
    given = ["--manifest", "m.jsonl"] if arguments[0] == "generate" else []
    done = tam(*arguments, *given, HTTPS_PROXY=proxy, ALL_PROXY=proxy, HF_HUB_OFFLINE="0")
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_a_video_is_explained_with_a_given_answer(folder, tmp_path):
    done = tam("explain", str(folder / "clip.avi"), "--prompt", "Describe this video.", "--answer", "A kite.",
               "--select", "boat", "--out", str(tmp_path), "--device", "cpu")  # fmt: skip
    assert done.returncode == 1 and "expected words of the answer: A kite . (or of the prompt: Describe" in done.stderr
    done = tam("explain", str(folder / "clip.avi"), "--prompt", "Describe this video.", "--answer", "A kite.",
               "--out", str(tmp_path), "--device", "cpu")  # fmt: skip
    assert done.stdout.startswith("A kite.\n") and (tmp_path / "clip" / "sheet.png").is_file()


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("tam.render.stage", {"torch", "transformers", "matplotlib", "pandas", "nltk"}),
        ("tam.figures.stage", {"torch", "transformers", "nltk"}),
        ("tam.page.stage", {"torch", "transformers", "matplotlib", "pandas", "nltk"}),
        ("tam.page.single", {"torch", "transformers", "matplotlib", "pandas", "nltk", "pyarrow", "h5py"}),
        ("tam.page.scripts; tam.page.scripts.color_maps(); tam.render.colors.signed()", {"torch", "matplotlib"}),
        (
            "tam.generation.answer, tam.explanation, tam.page.single",
            {"matplotlib", "pandas", "pyarrow", "h5py", "gradio"},
        ),
        ("tam.render.names, tam.selection", {"torch", "cv2", "fontTools"}),
    ],
)
def test_a_stage_loads_only_what_it_needs(module, without):
    program = f"import sys, {module}; print(*sorted({without!r} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_the_version_is_said():
    done = tam("--version")
    assert (done.returncode, done.stdout) == (0, f"tam {__version__}\n")


def test_nothing_is_written_over_what_is_read(folder, tmp_path):
    shutil.copy(folder / "scene.png", tmp_path / "scene.png")
    before = (tmp_path / "scene.png").read_bytes()
    manifest.write([Sample("a", ["scene.png"], "What?")], tmp_path / "m.jsonl")
    listed = (tmp_path / "m.jsonl").read_bytes()
    for command in (
        ["explain", "scene.png", "--figure", "scene.png"],
        ["generate", "--manifest", "m.jsonl", "--out", "m.jsonl"],
        ["dataset", "swap-nouns", "--manifest", "m.jsonl", "--out", "m.jsonl"],
        ["ask", "--manifest", "m.jsonl", "--out", "m.jsonl", "--url", "http://127.0.0.1:9/v1", "--model", "m"],
        ["maps", "--generation", "m.jsonl", "--out", "m.jsonl"],
        ["metrics", "--generation", "g", "--maps", "p", "--manifest", "m.jsonl", "--out", "m.jsonl"],
    ):
        done = tam(*command, cwd=tmp_path)
        assert done.returncode == 1 and "it would replace what it reads" in done.stderr, command
    (tmp_path / "g.h5").touch()
    done = tam("maps", "--generation", "g.h5", "--out", "scene.png", cwd=tmp_path)
    assert (
        done.returncode == 1 and f"scene.png: only a file of ours is replaced; got {len(before)} bytes" in done.stderr
    )
    assert ((tmp_path / "scene.png").read_bytes(), (tmp_path / "m.jsonl").read_bytes()) == (before, listed)


def test_a_config_of_other_letters_is_one_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("models: {bär: {model: embedded}}".encode("latin-1"))
    for command in (["run", "--cores", "1", "--configfile", "latin.yaml"], ["check", "--configfile", "latin.yaml"]):
        done = tam(*command, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "latin.yaml: no config" in done.stderr
