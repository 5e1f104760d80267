"""What a row of a dataset holds, whatever file it stands in."""

from collections.abc import Mapping
from dataclasses import dataclass

from tam.errors import InputError

COLUMNS = ("image", "caption", "question", "mask", "id")
"""What is taken of a row; a column is called so unless another name is given."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        id: of the file and of the row's place in it: the same whichever other rows are read.
        where: the same for people.
        cells: of ``COLUMNS``, those that the row has: text, bytes, a number, {"bytes", "path"}, None, or a list of
            them; or what is wrong with the row.
    """

    id: str
    where: str
    cells: Mapping[str, object] | InputError
