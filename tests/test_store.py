"""Every stage that loads the model keeps what is finished in a folder that is named, and takes it up again there."""

import shutil
from pathlib import Path

from typer.testing import CliRunner

from tam import cli
from tam.model import checkpoint

MANIFEST, GENERATION, MAPS = "data/manifest.jsonl", "made/generate/0.h5", "made/maps/0.h5"
FILES = ["--generation", GENERATION, "--manifest", MANIFEST]
STAGES = {
    "generate": ["--manifest", MANIFEST, "--max-new-tokens", "8"],
    "attribute": [*FILES, "--method", "gradcam"],
    "perturb": [*FILES, "--maps", MAPS, "--shared", "--blocks", "4", "--sets", "0"],
    "sanity": [*FILES, "--samples", "1", "--order", "independent", "--seed", "0"],
}


def tam(*arguments: str) -> None:
    done = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_each_stage_takes_its_output_from_the_folder_without_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tam("dataset", "emoji", "--out", "data", "--scenes", "1")
    for stage, options in STAGES.items():
        out = Path(f"made/{stage}/0.h5")
        command = [stage, *options, "--device", "cpu", "--store", f"kept/{stage}", "--out", str(out)]
        if stage == "perturb":
            tam("maps", "--generation", GENERATION, "--out", MAPS)
        tam(*command)
        assert not list(Path("made").rglob(".parts"))
        assert [path.name for path in Path(f"kept/{stage}").rglob("*.*")] == ["whole.h5"]
        done = out.read_bytes()
        if stage != "generate":  # which the others read
            shutil.rmtree(out.parent)
        out.unlink(missing_ok=True)
        with monkeypatch.context() as patched:
            patched.setattr(checkpoint.AutoModelForImageTextToText, "from_pretrained", None)
            tam(*command)
        assert out.read_bytes() == done
