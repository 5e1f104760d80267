import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Speed lives in the benchmarks: a busy machine must not fail a test.
settings.register_profile("tam", deadline=None)
settings.load_profile("tam")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A folder with room for 1 MB. Only root may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tam-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
