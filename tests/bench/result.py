"""How every benchmark writes its result: a Markdown table for people, JSON with the facts of the machine."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

NONE = "–"


def machine() -> dict:
    cpus = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": f"{len(cpus)} x {cpus[0]}" if cpus else platform.processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).date().isoformat(),
        **(_card() if torch.cuda.is_available() else {}),
    }


def _card() -> dict:
    """The driver is what ``nvidia-smi`` says."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return {
        "card": torch.cuda.get_device_name(),
        "driver": subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0],
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
    }


def write(folder: Path, name: str, rows: list[dict[str, object]], notes: str) -> None:
    """Write ``folder/name.md`` and ``.json`` and print the table; the keys of the rows are its columns."""
    facts = machine()
    lines = [[*rows[0]], ["---"] * len(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    about = f"{notes} " + ", ".join(f"{key} {value}" for key, value in facts.items())
    text = "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", about, ""])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    print(text)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
