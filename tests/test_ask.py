"""Answers of a server: a real ``transformers serve`` with the embedded model, and what goes wrong with any of them."""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tam.ask import ask, messages
from tam.cache import read_generations
from tam.datasets import coco
from tam.datasets.emoji import scenes
from tam.embedded import CHECKPOINT
from tam.errors import InputError
from tam.generation.given_answers import read_given_answers
from tam.generation.stage import generate
from tam.manifest import Sample, Shard, write
from tam.methods.cached import Cached
from tam.records import GivenAnswer

WHOLE = Shard(0, 1)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# ---- a real server


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[str]:
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    command = [
        Path(sys.executable).with_name("transformers"),
        "serve",
        CHECKPOINT,
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    environment = os.environ | {"HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(300):
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_served_model_gives_the_answers_and_the_maps_of_one_that_is_loaded(served, tmp_path):
    scenes.write(tmp_path / "data", n=3, seed=0)
    manifest = tmp_path / "data/manifest.jsonl"
    coco.write(tmp_path / "data", manifest, prompt=coco.PROMPT)
    assert ask(manifest, WHOLE, served, str(CHECKPOINT), tmp_path / "a.jsonl", concurrency=2) == {"ok": 3}
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert all(line["ended"] and line["prompt_tokens"] > 100 and "ids" not in line for line in lines)
    generate(manifest, WHOLE, str(CHECKPOINT), tmp_path / "own.h5", device="cpu")
    generate(manifest, WHOLE, str(CHECKPOINT), tmp_path / "asked.h5", device="cpu", answers=tmp_path / "a.jsonl")
    for own, asked in zip(read_generations(tmp_path / "own.h5"), read_generations(tmp_path / "asked.h5"), strict=True):
        assert (own.answer, own.status) == (asked.answer, asked.status)
        assert len(own.tokens[: own.layout.answer]) == lines[own.row]["prompt_tokens"]
        np.testing.assert_allclose(Cached(own).tam.maps, Cached(asked).tam.maps, atol=1e-4)


# ---- a server that does what it is told


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each question by its words; ``asked`` and ``strict`` are the server's."""

    def do_GET(self):
        if self.path == "/version":
            self._say(200, {"version": "1.2.3"})
        else:
            self._say(200, {"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "x"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        word = asked["messages"][-1]["content"][-1]["text"]
        if self.server.strict and "return_token_ids" in asked:
            return self._say(422, {"detail": "unknown field"})
        if word == "no key":
            return self._say(401, {"error": {"message": "wrong key"}})
        if word == "bad":
            return self._say(400, {"error": {"message": "too long"}})
        if word == "html":
            return self._say_raw(b"<html>a proxy</html>", "text/html")
        if word == "none":
            return self._say(200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []})
        if word == "busy" and sum(one == asked for one in self.server.asked) == 1:
            return self._say(503, {"error": {"message": "busy"}})
        choice = {
            "index": 0, "finish_reason": "length" if word == "long" else "stop",
            "message": {"role": "assistant", "content": f"said {word}"},
        }  # fmt: skip
        if not self.server.strict:
            choice["token_ids"] = [1, 2, 3]
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        made = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        return self._say(200, made)

    def _say(self, status, content):
        self._say_raw(json.dumps(content).encode(), "application/json", status)

    def _say_raw(self, body, kind, status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[http.server.ThreadingHTTPServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.strict = [], False
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def manifest_of(folder: Path, *words: str) -> Path:
    Image.new("RGB", (4, 3), "red").save(folder / "a.png")
    write([Sample(f"s{row}", ["a.png"], word) for row, word in enumerate(words)], folder / "m.jsonl")
    return folder / "m.jsonl"


def asked_of(server, folder: Path, manifest: Path, **options) -> list[dict]:
    ask(manifest, WHOLE, f"http://127.0.0.1:{server.server_port}/v1", "m", folder / "out.jsonl", **options)
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_ids_ends_and_engine_are_kept_and_one_bad_question_costs_itself(server, tmp_path):
    lines = asked_of(server, tmp_path, manifest_of(tmp_path, "cat", "bad", "long", "busy"))
    about = {"engine": "x", "version": "1.2.3", "by": "token-activation-maps"}
    answer = {"answer": "said cat", "ended": True, "ids": [1, 2, 3], "prompt_tokens": 7}
    assert lines[0] == {"id": "s0"} | answer | about
    assert lines[1]["id"] == "s1" and lines[1]["failed"].startswith("the server answered 400:")
    assert lines[2] == {"id": "s2"} | answer | {"answer": "said long", "ended": False} | about
    assert lines[3]["answer"] == "said busy"  # asked again
    given = read_given_answers(tmp_path / "out.jsonl", ["s0", "s1", "s2", "s3"])
    assert given["s0"] == GivenAnswer("said cat", (1, 2, 3), True, 7)
    assert given["s1"].failed == lines[1]["failed"]


def test_a_field_that_a_server_does_not_know_is_left_out(server, tmp_path):
    server.strict = True
    lines = asked_of(server, tmp_path, manifest_of(tmp_path, "cat", "dog"), concurrency=1)
    assert [line["answer"] for line in lines] == ["said cat", "said dog"] and "ids" not in lines[0]
    assert ["return_token_ids" in asked for asked in server.asked] == [True, False, False]
    assert all((asked["temperature"], asked["max_tokens"]) == (0, 256) for asked in server.asked)


def test_what_was_answered_is_kept_when_the_server_refuses_or_goes(server, tmp_path):
    manifest = manifest_of(tmp_path, "cat", "no key", "dog")
    with pytest.raises(InputError, match=r"the server refuses.*OPENAI_API_KEY"):
        asked_of(server, tmp_path, manifest, concurrency=1)
    assert not (tmp_path / "out.jsonl").exists()
    (part,) = (tmp_path / ".parts").iterdir()
    with part.open("ab") as file:
        file.write(b'{"id": "s2", "ans')  # killed in a line
    server.asked.clear()
    with pytest.raises(InputError, match="refuses"):
        asked_of(server, tmp_path, manifest, concurrency=1)
    assert [asked["messages"][-1]["content"][-1]["text"] for asked in server.asked] == ["no key"]
    assert [json.loads(line)["id"] for line in part.read_text().splitlines()] == ["s0"]


def test_an_answer_that_is_none_costs_its_sample(server, tmp_path):
    lines = asked_of(server, tmp_path, manifest_of(tmp_path, "cat", "html", "none", "dog"))
    assert [line.get("answer") for line in lines] == ["said cat", None, None, "said dog"]
    assert all("none of the protocol" in line["failed"] for line in lines[1:3])
    with pytest.raises(InputError, match="no address of a server"):
        ask(tmp_path / "m.jsonl", WHOLE, "http://[::1/v1", "m", tmp_path / "other.jsonl")


def test_a_server_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tam.ask.RETRIES", 0)
    with pytest.raises(InputError, match="no answer from the server"):
        ask(manifest_of(tmp_path, "cat"), WHOLE, f"http://127.0.0.1:{free_port()}/v1", "m", tmp_path / "out.jsonl")


def test_pictures_come_first_and_turns_alternate(tmp_path):
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png")
    first, reply, last = messages(Sample("s", ["a.png"], "and now?", turns=[["what?", "a cat"]]), tmp_path)
    assert [part["type"] for part in first["content"]] == ["image_url", "text"]
    assert (first["role"], reply["role"], last["role"]) == ("user", "assistant", "user")
    assert reply["content"] == [{"type": "text", "text": "a cat"}]
    with pytest.raises(InputError, match="no videos"):
        messages(Sample("s", ["a.mp4"], "what?", kind="video"), tmp_path)
