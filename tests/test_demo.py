"""``tam demo``: a local page that shows what ``explain`` shows; by gradio's own client, and in a real browser."""

import html
import socket
import threading
import time
from pathlib import Path

import gradio_client
import pytest
from PIL import Image

import tam
from tam.demo import HOST, serving
from tam.embedded import CHECKPOINT
from tam.errors import InputError, ModelError
from tam.model.checkpoint import load
from tests.browser import Browser

BREAKS = "What breaks?"
ALERT = '<p class="problem" role="alert">'


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "a & b.png"
    Image.new("RGB", (112, 84), (90, 140, 60)).save(path)
    return path


@pytest.fixture(scope="module")
def asked() -> list[tuple]:
    """What was asked of the model so far."""
    return []


@pytest.fixture(scope="module")
def address(asked):
    loaded, busy, names = load(str(CHECKPOINT)), threading.Lock(), set()
    look_up = socket.getaddrinfo

    def explain(pictures, video, prompt):
        assert busy.acquire(blocking=False), "two questions at a time"
        try:
            asked.append((list(pictures), video, prompt))
            if prompt == BREAKS:
                raise ModelError("<i>it broke</i>", cure="another\none")
            time.sleep(0.2)
            return tam.explain(loaded.model, loaded.processor, pictures, prompt, video=video, max_new_tokens=12)
        finally:
            busy.release()

    def noted(host, *rest, **named):
        names.add(host)
        return look_up(host, *rest, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", noted)
        with serving(explain, "Model: <embedded>.", None) as found:
            yield found
    assert asked and not any(path.exists() for pictures, *_ in asked for path in pictures)  # what was uploaded is gone
    assert {str(name) for name in names} <= {HOST, "localhost", "None"}  # nobody else was looked up


@pytest.fixture(scope="module")
def ask(address):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_ANALYTICS_ENABLED", "False")  # of the client; the page is quiet without
        client = gradio_client.Client(address, verbose=False, analytics_enabled=False)

    def asking(files, question="What is it?"):
        handed = [gradio_client.handle_file(file) for file in files]
        return client.submit(handed, question, api_name="/ask")

    return asking


def test_the_answer_is_the_page_of_explain_in_a_frame(ask, picture, asked):
    shown = ask([picture]).result()
    assert shown.startswith('<iframe srcdoc="') and 'sandbox="allow-scripts' in shown
    inside = html.unescape(shown)
    assert "embedSample(" in inside and "Content-Security-Policy" in inside
    (((path,), video, question),) = asked[-1:]
    assert (path.suffix, video, question) == (".png", None, "What is it?")


def test_what_is_wrong_is_one_line_in_the_page_and_the_next_question_is_answered(ask, picture, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("RGB", (56, 56)).save(
        tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (56, 56), "red")]
    )
    for files, question, problem in (
        ([], "What?", "no picture; cure: drop one, or several, or a video</p>"),
        ([tmp_path / "notes.txt"], "What?", "notes.txt"),
        ([picture, tmp_path / "a.gif"], "What?", "a.gif: a video stands alone; got 2 files</p>"),
        ([picture], BREAKS, "&lt;i&gt;it broke&lt;/i&gt;"),
    ):
        said = ask(files, question).result()
        assert said.startswith(ALERT) and problem in said, said
    assert ask([picture]).result().startswith("<iframe")


def test_questions_wait_for_each_other(ask, picture):
    assert all(made.result().startswith("<iframe") for made in [ask([picture]) for _ in range(3)])


def test_it_is_served_to_this_machine_alone_on_a_port_that_is_free(address):
    assert address.startswith(f"http://{HOST}:")
    taken = int(address.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(InputError, match=f"a port that cannot be had; got {taken}"),
        serving(lambda *_: None, "", taken),
    ):
        pass


def test_a_picture_is_dropped_and_asked_about_in_a_browser_without_a_network(address, picture):
    browser = Browser()
    try:
        browser.visit(address)
        browser.until("document.querySelector('#ask')")
        assert "Model: <embedded>." in browser.run("return document.body.innerText")
        browser.run("document.querySelector('#ask').click()")
        browser.until("document.querySelector('#shown [role=alert]')")
        browser.choose("#files input[type=file]", picture)
        browser.until("document.querySelector('#files .file-preview')")
        browser.run("document.querySelector('#ask').click()")
        browser.until("document.querySelector('#shown iframe')")
        browser.into("#shown iframe")
        browser.until("document.querySelectorAll('#answer .word').length && document.querySelector('canvas')")
        assert browser.run("return document.querySelector('#sample-title').textContent") == picture.stem
        browser.into(None)
        wide, room = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room
        sent = browser.requests()
        assert sent and all(one.startswith((address, "data:", "about:", "blob:")) for one in sent), sent
    finally:
        browser.close()
