"""The table of docs/project/licences.md, from what packages declare: ``python -m tests.licences`` writes it."""

import re
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs/project/licences.md"
HEAD = """\
# Licences of what is installed

`tam` is MIT. What it installs from PyPI, by `requirements.lock`, with the licence that each package declares; the tests
hold the list against the lock and against the licences that we allow (`tests/licences.py`). LGPL and MPL packages are
imported, not changed. NVIDIA's libraries come with PyTorch. Emoji glyphs:
[tam/datasets/emoji](../../tam/datasets/emoji/README.md).

| package | licence |
|---|---|
"""

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "LGPL-2.1",
    "LLVM-exception", "LicenseRef-NVIDIA-Proprietary", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip

# What packages write who do not use SPDX's names.
SPDX = {
    "Apache 2.0": "Apache-2.0", "Apache 2.0 License": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0", "BSD": "BSD-3-Clause", "BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause", "FreeBSD": "BSD-2-Clause", "ISC License": "ISC",
    "ISC License (ISCL)": "ISC", "LGPL": "LGPL-2.1",
    "MIT License": "MIT", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0", "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "BSD-3-Clause, Apache-2.0, dependency licenses": "BSD-3-Clause AND Apache-2.0",
}  # fmt: skip

# Where little is declared: what their licence files say.
READ = {
    "conda-inject": "MIT", "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary", "docutils": "BSD-2-Clause",
    "packaging": "Apache-2.0 OR BSD-2-Clause", "rouge": "Apache-2.0",
    **{f"snakemake-interface-{name}": "MIT" for name in (
        "common", "logger-plugins", "report-plugins", "scheduler-plugins", "storage-plugins",
    )},
}  # fmt: skip


def locked() -> list[str]:
    return re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)


def licence(name: str) -> str:
    """Of a package, in SPDX's words; "?": nothing that it declares is one of ``ALLOWED``."""
    if name in READ:
        return READ[name]
    about = distribution(name).metadata
    kinds = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License")]
    declared = [about.get("License-Expression"), (about.get("License") or "").partition("\n")[0], *kinds]
    known = [SPDX.get(text, text) for text in declared if text]
    return next((text for text in known if allowed(text)), "?")


def allowed(text: str) -> bool:
    return set(re.split(" (?:AND|OR|WITH) ", text)) <= ALLOWED


def table() -> str:
    return HEAD + "".join(f"| {name} | {licence(name)} |\n" for name in locked())


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
