"""Answers of a server that speaks OpenAI's protocol (vLLM, SGLang, LMDeploy, ``transformers serve``), to be explained.

A shard's questions are asked side by side, and every answer is kept when it comes: what was stopped goes on behind it.
The file is one of given answers (``generation/given_answers.py``), with how each came about.
"""

import base64
import hashlib
import io
import itertools
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
from tqdm import tqdm

from tam.errors import InputError
from tam.manifest import Sample, Shard, read
from tam.media import open_media
from tam.system import stop
from tam.system.atomic import atomic
from tam.system.mark import MAKER

logger = logging.getLogger(__name__)

KEY = "OPENAI_API_KEY"
TIMEOUT = 600.0  # seconds for one answer
RETRIES = 5  # of a question that a busy or starting server turned away; the client waits longer each time

# What the client raises where an answer is another than the protocol's: HTML of a proxy, half of a JSON, no choices.
NO_PROTOCOL = (AttributeError, LookupError, TypeError, ValueError)

Line = dict[str, Any]
"""id, answer, ids, ended, prompt_tokens, engine, version; or id and failed: why there is no answer. In a finished file
each says by whom it is, too."""


def ask(
    manifest: Path, shard: Shard, url: str, model: str, out: Path, *, max_new_tokens: int = 256, concurrency: int = 8
) -> Counter[str]:
    """Ask a server about all the samples of a shard, and write JSON Lines to ``out``, in the manifest's order.

    The pictures are sent as they are shown to a model, upright and without loss. Greedy decoding is asked for. The key,
    if the server wants one, is that of the environment variable OPENAI_API_KEY.

    Args:
        url: as http://localhost:8000/v1. model: the server's name for it.

    Returns:
        how many were answered, "ok", and how many not, "failed".

    Raises:
        InputError: a wrong manifest, no server there, or one that refuses the key or the model.
    """
    listed = read(manifest)
    samples = {listed[row].id: listed[row] for row in shard.rows(len(listed))}
    settings = {"url": url, "model": model, "max_new_tokens": max_new_tokens}
    questions = [[sample.id, sample.kind, sample.media, sample.prompt, sample.turns] for sample in samples.values()]
    digest = hashlib.sha256(json.dumps([settings, questions]).encode()).hexdigest()[:32]
    under_way = out.parent / ".parts" / f"{digest}-{out.name}"
    made = _resumed(under_way)
    if made:
        logger.info("ask %s: resume: %d of %d samples are there", shard, len(made), len(samples))
    if len(made) < len(samples):
        server = Server(url, model, max_new_tokens)
        left = {id: sample for id, sample in samples.items() if id not in made}
        under_way.parent.mkdir(parents=True, exist_ok=True)
        with under_way.open("ab") as file:
            answers = _asked(server, left, manifest.parent, concurrency)
            for line in tqdm(answers, total=len(samples), initial=len(made), desc=f"ask {shard}", unit="sample"):
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
                made[line["id"]] = line
                stop.check()
    with atomic(out) as temporary:
        temporary.write_text("".join(json.dumps(made[id] | {"by": MAKER}) + "\n" for id in samples), encoding="utf-8")
    under_way.unlink(missing_ok=True)
    return Counter("failed" if "failed" in made[id] else "ok" for id in samples)


def _resumed(path: Path) -> dict[str, Line]:
    """What an earlier start was answered; a line that it was killed in is cut off."""
    if not path.is_file():
        return {}
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    return {line["id"]: line for line in map(json.loads, whole.splitlines())}


def _asked(server: "Server", samples: Mapping[str, Sample], folder: Path, concurrency: int) -> Iterator[Line]:
    """Answers in the order in which they come, at most ``concurrency`` questions under way."""
    waiting = iter(samples.values())
    with ThreadPoolExecutor(concurrency) as pool:
        pending = {pool.submit(server.line, sample, folder) for sample in itertools.islice(waiting, concurrency)}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                refused = [error for future in done if (error := future.exception())]
                more = 0 if refused else len(done)
                pending |= {pool.submit(server.line, sample, folder) for sample in itertools.islice(waiting, more)}
                yield from (future.result() for future in done if not future.exception())
                if refused:
                    raise refused[0]
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass
class Server:
    """A server and what it is asked for.

    Attributes:
        extra: fields that not every server knows; none once it has refused them.
        about: "engine" and "version", as far as it says.
    """

    url: str
    model: str
    max_new_tokens: int
    extra: dict[str, Any] = field(default_factory=lambda: {"return_token_ids": True})

    def __post_init__(self) -> None:
        key = os.environ.get(KEY) or "none"
        try:
            self.client = openai.OpenAI(base_url=self.url, api_key=key, timeout=TIMEOUT, max_retries=RETRIES)
        except (ValueError, httpx2.InvalidURL) as error:
            raise InputError("no address of a server", got=repr(self.url), expected="http://HOST:PORT/v1") from error
        self.about = {"engine": self._owner(), "version": self._version()}

    def line(self, sample: Sample, folder: Path) -> Line:
        """One sample asked; what is wrong with it costs itself.

        Raises:
            InputError: the server cannot be reached, or refuses the key or the model.
        """
        try:
            asked = messages(sample, folder)
        except InputError as error:
            return {"id": sample.id, "failed": str(error)}
        try:
            return {"id": sample.id} | self._answer(asked) | self.about
        except InputError as error:
            return {"id": sample.id, "failed": str(error)}
        except NO_PROTOCOL as error:
            return {"id": sample.id, "failed": f"the server's answer is none of the protocol: {_short(error)}"}
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise _refused(self.url, self.model, error) from error
        except openai.APIStatusError as error:
            return {"id": sample.id, "failed": f"the server answered {error.status_code}: {_short(error)}"}
        except openai.APIConnectionError as error:
            raise InputError(
                "no answer from the server", where=self.url, got=_short(error), expected="one that is running",
                cure="start it, and run this again: what was answered is kept",
            ) from error  # fmt: skip

    def _answer(self, asked: list[Any]) -> Line:
        try:
            made = self._completion(asked, self.extra)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if not self.extra:
                raise
            made = self._completion(asked, {})
            self.extra = {}
        choice = made.choices[0]
        text = choice.message.content
        if not isinstance(text, str):
            raise InputError("the server gave no text", got=f"{type(text).__name__}, {choice.finish_reason}")
        text.encode("utf-8")  # half a pair of surrogates is no text
        line: Line = {"answer": text, "ended": choice.finish_reason != "length"}
        ids = (choice.model_extra or {}).get("token_ids")
        if ids:
            line["ids"] = ids
        if made.usage is not None:
            line["prompt_tokens"] = made.usage.prompt_tokens
        return line

    def _completion(self, asked: list[Any], extra: Mapping[str, Any]) -> Any:
        return self.client.chat.completions.create(
            model=self.model, messages=asked, max_tokens=self.max_new_tokens, temperature=0, extra_body=extra or None
        )

    def _owner(self) -> str | None:
        """Who made the model known, mostly the engine's name."""
        quick = self.client.with_options(max_retries=0)
        try:
            return next((known.owned_by for known in quick.models.list() if known.id == self.model), None)
        except (openai.APIError, *NO_PROTOCOL):
            return None  # transformers serve without a folder of the hub

    def _version(self) -> str | None:
        quick = self.client.with_options(max_retries=0, base_url=self.url.rstrip("/").removesuffix("/v1"))
        try:
            found = quick.get("/version", cast_to=object)
        except (openai.APIError, *NO_PROTOCOL):
            return None
        return found.get("version") if isinstance(found, dict) else None


def messages(sample: Sample, folder: Path) -> list[dict[str, Any]]:
    """A sample as the protocol wants it: its pictures before the first of the user's words.

    Raises:
        InputError: a picture that cannot be opened, a video.
    """
    if sample.kind == "video":
        raise InputError("servers are sent no videos", where=sample.id, cure="let the model answer itself")
    said = [text for turn in sample.turns for text in turn] + [sample.prompt]
    roles = itertools.cycle(("user", "assistant"))
    asked: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}]} for role, text in zip(roles, said, strict=False)
    ]
    pictures = []
    for picture in open_media(sample, folder).pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        data = base64.b64encode(buffer.getvalue()).decode()
        pictures.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    asked[0]["content"] = pictures + asked[0]["content"]
    return asked


def _refused(url: str, model: str, error: openai.APIStatusError) -> InputError:
    return InputError(
        "the server refuses", where=url, got=_short(error), expected=f"a server of {model!r}",
        cure=f"check url and model, and the key in the environment variable {KEY}",
    )  # fmt: skip


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
