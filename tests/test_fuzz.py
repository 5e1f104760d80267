"""A few hundred changed files for every reader; ``make fuzz`` tries 10,000."""

from tests.fuzz import fuzz


def test_changed_files_end_in_our_errors_or_are_read():
    rows, failed = fuzz(300, 0)
    assert not failed
    assert sum(row["cases"] for row in rows) >= 290  # a reader may run out of different cases
    assert all(row["refused"] for row in rows)
