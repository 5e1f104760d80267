"""The errors. Every message says what, where, got, expected and the cure, as far as they are known."""


class TamError(Exception):
    """Base of all errors that a person may meet.

    Args:
        what: what happened, a lower-case clause.
        where: sample id, file, key or option.
        got: the offending value.
        expected: what would have been right.
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
    """What a person handed in cannot be used: a path, a manifest row, a picture, an option."""


class SchemaError(TamError):
    """A file is not ours, of another version, or damaged."""


class DiskError(TamError):
    """A file cannot be written: the disk is full, or something else lies there; files are gone."""


class LayoutError(TamError):
    """Vision tokens and grid cells do not agree."""


class NotFiniteError(TamError):
    """NaN or infinity where a number must be."""


class ModelError(TamError):
    """A checkpoint of an unsupported kind, or one that does not behave as its family should."""


class PublishedError(TamError):
    """The published code raises here, and the protocol follows it.

    Args:
        raises: the name of the exception that the published code dies of.
    """

    def __init__(self, what: str, *, raises: str, where: object = None):
        super().__init__(f"{what}; the published code raises {raises}", where=where, cure="use protocol fixed")
        self.raises = raises


class RenderError(TamError):
    """A picture or a page could not be made."""
