"""The notebook of the docs: it runs from top to bottom with the embedded model, and shows what it says."""

import json
import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


def run(path: Path, folder: Path):
    """The notebook with its outputs; files that it writes are in ``folder``."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    pytest.importorskip("ipykernel")
    book = nbformat.read(path, 4)
    client(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return book


def test_the_first_notebook_shows_a_page_figures_and_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
    path = CHECKOUT / "docs/notebooks/first_map.ipynb"
    book = run(path, tmp_path)
    made = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in made if output.output_type == "execute_result"]
    assert "<iframe srcdoc=" in shown[0]["text/html"] and "image/png" in shown[0]
    assert len(shown[0]["text/plain"]) < 250 and sum("image/png" in one for one in shown) == 5
    printed = "".join(output.text for output in made if output.output_type == "stream" and output.name == "stdout")
    assert "bear" in printed and "%" in printed and "('motorcycles', 'bear')" in printed
    assert (tmp_path / "first_map.pdf").read_bytes().startswith(b"%PDF")
    assert not any(cell.get("outputs") for cell in json.loads(path.read_text())["cells"])
