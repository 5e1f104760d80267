"""What becomes of ``--out``: whether it may be written, and how its samples fared."""

from pathlib import Path

from tam.errors import InputError
from tam.system.mark import check_file, check_writable


def check_out(*read: Path | None, out: Path, sign: str) -> None:
    """Whether ``out`` may be written.

    Args:
        sign: what stands in such a file of ours, a damaged one, too.

    Raises:
        InputError: it would replace what is read. DiskError: another file lies there, or nothing can be written there.
    """
    for path in read:
        if path is not None and path.exists() and out.exists() and path.samefile(out):
            raise InputError("it would replace what it reads", where=out, cure="name another file")
    check_file(out, sign)


def writable(folder: Path | None) -> Path | None:
    """A folder for files, as an option names it; DiskError: nothing can be written there."""
    if folder is not None:
        check_writable(folder)
    return folder


def report(counts: dict[str, int], out: Path, strict: bool) -> None:
    """Say how the samples fared; with ``strict`` a failed one is an error."""
    print(f"{out}: " + (", ".join(f"{number} {status}" for status, number in counts.items()) or "no samples"))
    failed = sum(number for status, number in counts.items() if status.startswith("failed"))
    if strict and failed:
        raise InputError("samples failed", where=out, got=f"{failed} of {sum(counts.values())}")
