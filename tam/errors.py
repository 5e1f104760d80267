"""The tree of errors. Every message says what, where, got, expected and the cure, as far as they are known.

TamError
├── InputError      what a person handed in cannot be used: a path, a manifest row, a picture, an option
├── SchemaError     a file is not ours, of another version, or damaged
├── DiskError       a file cannot be written: the disk is full, or something else lies there; files are gone
├── LayoutError     vision tokens and grid cells do not agree
├── NotFiniteError  NaN or infinity where a number must be
├── ModelError      a checkpoint of an unsupported kind, or one that does not behave as its family should
├── PublishedError  the published code raises here, and the protocol follows it
└── RenderError     a picture or a page could not be made
"""


class TamError(Exception):
    """Base of all errors that a person may meet.

    Args:
        what: what happened, a lower-case clause.
        where: sample id, file, key or option.
        got, expected: the offending value and what would have been right.
        cure: what to do about it.
    """

    def __init__(
        self, what: str, *, where: object = None, got: object = None, expected: object = None, cure: str | None = None
    ):
        parts = [what if where is None else f"{where}: {what}"]
        parts += [f"{name} {value}" for name, value in (("got", got), ("expected", expected)) if value is not None]
        if cure is not None:
            parts.append(f"cure: {cure}")
        super().__init__("; ".join(parts))


class InputError(TamError):
    pass


class SchemaError(TamError):
    pass


class DiskError(TamError):
    pass


class LayoutError(TamError):
    pass


class NotFiniteError(TamError):
    pass


class ModelError(TamError):
    pass


class PublishedError(TamError):
    """``raises``: the name of the exception that the published code dies of."""

    def __init__(self, what: str, *, raises: str, where: object = None):
        super().__init__(f"{what}; the published code raises {raises}", where=where, cure="use protocol fixed")
        self.raises = raises


class RenderError(TamError):
    pass
