"""Names of files and folders for any word and any sample id."""

import hashlib
import os
import re
import unicodedata

import regex


def safe_word(text: str) -> str:
    """Letters and digits of a word, at most 40 bytes; for a sign its name, and for letters that names of files cannot
    have here; else "token"."""
    letters = "".join(regex.findall(r"[\p{L}\p{N}]\p{M}*", unicodedata.normalize("NFKC", text)))
    name = unicodedata.name(text.strip()[0], "token") if text.strip() else "NEWLINE" if "\n" in text else "SPACE"
    try:
        os.fsencode(letters)
    except UnicodeEncodeError:
        letters = ""
    return (letters or re.sub("[^a-z0-9]+", "_", name.lower())).encode("utf-8")[:40].decode("utf-8", "ignore")


def safe_id(id: str) -> str:
    """A folder name for any sample id; different ids get different names."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", id)[:80].lstrip(".-")
    if name == id and name and not re.search("-[0-9a-f]{8}$", name):  # else an id could take another's name
        return name
    return f"{name or 'sample'}-{hashlib.sha256(id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
