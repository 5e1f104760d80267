"""A file knows whether a single bit of it is another."""

import hashlib

import pytest

from tam.system import seal


def test_a_digest_is_that_of_the_file_with_an_empty_slot(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    seal.append(path)
    digest = hashlib.sha256(b"before" + b"tam-sha256:" + 64 * b"0").hexdigest()
    assert path.read_bytes() == b"before" + b"tam-sha256:" + digest.encode()
    assert seal.intact(path)


def test_a_slot_may_stand_in_a_footer_and_texts_may_look_like_one(tmp_path, monkeypatch):
    path = tmp_path / "a"
    monkeypatch.setattr(seal, "_BLOCK", 50)
    path.write_bytes(b"tam-sha256:" + 64 * b"a" + b" tam-sha256: " + seal.SLOT + b"after it")
    seal.seal(path)
    assert path.read_bytes().startswith(b"tam-sha256:" + 64 * b"a" + b" tam-sha256: tam-sha256:")
    assert path.read_bytes().endswith(b"after it") and b"0000" not in path.read_bytes()
    assert seal.intact(path)


@pytest.mark.parametrize("block", [1, 64, 1 << 20])
def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path, monkeypatch, block):
    monkeypatch.setattr(seal, "_BLOCK", block)
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    seal.append(path)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert not seal.intact(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert not seal.intact(path)


def test_a_note_stands_under_the_seal_and_is_read_alone(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(1 << 20))
    seal.append(path, "two words")
    assert seal.intact(path) and seal.noted(path) == "two words"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-20], whole[:-60], whole.replace(b"two", b"ten")):
        path.write_bytes(damaged)
        assert not seal.intact(path)
    path.write_bytes(bytes(9))
    seal.append(path)
    assert seal.noted(path) is None


def test_a_file_without_a_seal_is_neither_intact_nor_damaged(tmp_path):
    (tmp_path / "a").write_bytes(b"any")
    assert seal.intact(tmp_path / "a") is None
    with pytest.raises(FileNotFoundError):
        seal.intact(tmp_path / "absent")
