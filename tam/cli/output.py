"""What becomes of ``--out``: whether it may be written, and how its samples fared."""

from collections.abc import Sequence
from pathlib import Path

from tam.errors import InputError


def keep(*read: Path | None, out: Path, kinds: Sequence[str] = (".h5", ".parquet", ".jsonl")) -> None:
    """Raises: InputError: what is to be written would replace what is read, or a file that is named as none of ours."""
    for path in read:
        if path is not None and path.exists() and out.exists() and path.samefile(out):
            raise InputError("it would replace what it reads", where=out, cure="name another file")
    if out.is_file() and out.suffix.lower() not in kinds:
        raise InputError("only a file of ours is replaced", where=out, expected=" or ".join(kinds))


def report(counts: dict[str, int], out: Path, strict: bool) -> None:
    """Say how the samples fared; with ``strict`` a failed one is an error."""
    print(f"{out}: " + (", ".join(f"{number} {status}" for status, number in counts.items()) or "no samples"))
    failed = sum(number for status, number in counts.items() if status.startswith("failed"))
    if strict and failed:
        raise InputError("samples failed", where=out, got=f"{failed} of {sum(counts.values())}")
