"""Label maps: ids as they were stored, or a status that says what the file holds instead."""

import errno
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from tam.label_map import read_label_map
from tam.manifest import Sample

IDS = np.zeros((40, 60), np.uint8)
IDS[5:20, 10:30] = 1
SIZE = (60, 40)


def _read(folder, content, name="m.png", **more):
    (folder / name).write_bytes(content)
    return read_label_map(Sample("s", ["a.png"], "", mask=name), SIZE, folder / "manifest.jsonl", **more)


def _saved(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(bits=8, color=0, ids=IDS, size=None, before=b"", after=b""):
    """A PNG file of so many bits, with chunks before and after the pixels."""
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -min(bits, 8) :].ravel()).tobytes() for row in ids
    )
    width, height = size or ids.shape[::-1]
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + _chunk(b"IEND", b"")


def _exif(turn):
    exif = Image.Exif()
    exif[Base.Orientation] = turn
    return exif


GREY = Image.fromarray(IDS)
PALETTE = GREY.convert("P")


def test_ids_are_read_as_they_are_stored(tmp_path):
    for content in (_png(), _saved(GREY), _saved(GREY, exif=_exif(1)), _saved(GREY, icc_profile=b"any", gamma=0.4)):
        found, problem = _read(tmp_path, content)
        assert problem == "" and found.dtype == np.uint8 and np.array_equal(found, IDS)
    everything = np.arange(2400, dtype=np.uint8).reshape(40, 60)
    assert np.array_equal(_read(tmp_path, _png(ids=everything))[0], everything)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (_png(1), "1-bit grey, not 8-bit grey"),
        (_png(2), "2-bit grey, not 8-bit grey"),
        (_png(4), "4-bit grey, not 8-bit grey"),
        (_saved(Image.fromarray(IDS.astype(np.uint16))), "16-bit grey, not 8-bit grey"),
        (_saved(GREY.convert("RGB")), "8-bit colour, not 8-bit grey"),
        (_saved(GREY.convert("LA")), "8-bit grey with alpha, not 8-bit grey"),
        (_saved(GREY.convert("RGBA")), "8-bit colour with alpha, not 8-bit grey"),
        (_saved(PALETTE), "8-bit palette, not 8-bit grey"),
        (_saved(PALETTE, bits=4), "4-bit palette, not 8-bit grey"),
        (_saved(GREY, transparency=0), "8-bit grey with a transparent value, not 8-bit grey"),
        (_saved(GREY, "JPEG", quality=100), "JPEG, not PNG"),
        (_saved(GREY, "BMP"), "BMP, not PNG"),
        (_saved(GREY, "TIFF"), "TIFF, not PNG"),
        (_saved(GREY, "WEBP", lossless=True), "WEBP, not PNG"),
        (_saved(GREY, "GIF"), "GIF, not PNG"),
        *[(_saved(GREY, exif=_exif(turn)), f"turned, EXIF orientation {turn}") for turn in range(2, 9)],
        (_png(after=_chunk(b"eXIf", _exif(6).tobytes()[6:])), "turned, EXIF orientation 6"),
        (b"", "no picture, or a damaged one"),
        (b"no picture", "no picture, or a damaged one"),
        (_png()[:-30], "no picture, or a damaged one"),
        (_png(size=(200_000, 200_000)), "no picture, or a damaged one"),
    ],
)
@pytest.mark.parametrize("any_size", [False, True])
def test_what_is_not_one_grey_channel_of_8_bits_is_refused_by_name(tmp_path, content, problem, any_size):
    assert _read(tmp_path, content, any_size=any_size) == (None, f"unreadable mask: {problem}")


def test_a_name_says_nothing_of_what_a_file_holds(tmp_path):
    assert _read(tmp_path, _saved(GREY, "JPEG"), "m.png")[1] == "unreadable mask: JPEG, not PNG"
    assert np.array_equal(_read(tmp_path, _png(), "m.jpg")[0], IDS)


def test_another_size_is_refused_before_its_pixels_are_read_unless_any_is_taken(tmp_path):
    small = np.ones((4, 5), np.uint8)
    status = "mask of another size: 5x4, picture 60x40"
    for content in (_png(ids=small), _png(ids=small)[:-30], _saved(Image.fromarray(small), exif=_exif(3))):
        assert _read(tmp_path, content) == (None, status)
    assert np.array_equal(_read(tmp_path, _png(ids=small), any_size=True)[0], small)
    assert _read(tmp_path, _png(ids=IDS.T.copy())) == (None, "mask of another size: 40x60, picture 60x40")


def test_no_label_map_and_a_missing_one_have_their_own_status(tmp_path):
    manifest = tmp_path / "manifest.jsonl"
    assert read_label_map(Sample("s", [], ""), SIZE, manifest) == (None, "no mask")
    for mask in ("nowhere.png", "."):
        found = read_label_map(Sample("s", [], "", mask=mask), SIZE, manifest)
        assert found == (None, "no mask: the file is missing")


def test_an_error_of_the_disk_is_no_status(tmp_path, monkeypatch):
    def unreadable(*_, **__):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(Image, "open", unreadable)
    with pytest.raises(OSError, match="input/output"):
        _read(tmp_path, _png())


def test_every_changed_bit_is_noticed_or_changes_no_id(tmp_path):
    """The header and the pixels have checksums; so has what may turn them."""
    content = _png(after=_chunk(b"eXIf", _exif(1).tobytes()[6:]))
    for place in range(8 * len(content)):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        found, problem = _read(tmp_path, bytes(changed))
        assert problem or np.array_equal(found, IDS), place
