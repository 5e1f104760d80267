"""``tam demo``: a local page to drop a picture, ask, and see the maps on the page that ``explain`` shows.

It is served to this machine alone, loads nothing from elsewhere and reports to nobody. What was uploaded is deleted
when the server ends.
"""

import contextlib
import html
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gradio

from tam.errors import InputError, TamError
from tam.explanation import PROMPT, Explanation
from tam.media import is_video

HOST = "127.0.0.1"
UPLOADS = "GRADIO_TEMP_DIR"  # what gradio calls the folder; empty: its own choice
STYLE = """
.html-container { padding: 0 !important }
#shown iframe { height: 92vh !important; border-radius: 8px }
#shown .problem { padding: .8em 1em; border-left: 4px solid #c33; font-size: 1.05em; overflow-wrap: anywhere }
"""
Explain = Callable[[Sequence[Path], Path | None, str], Explanation]
"""Of pictures, or of a video in their place, and a question."""


def page(explain: Explain, about: str) -> gradio.Blocks:
    """The page; questions wait for each other, as there is one model.

    Args:
        about: which model answers, and what it knows.
    """

    def shown(files: list[str] | None, question: str) -> str:
        try:
            return _asked(explain, [Path(file) for file in files or ()], question)._repr_html_()
        except TamError as error:
            return f'<p class="problem" role="alert">{html.escape(str(error))}</p>'

    with gradio.Blocks(analytics_enabled=False, title="tam demo", fill_width=True) as made:
        gradio.HTML(f"<p>Drop a picture, ask, and see where each word comes from. {html.escape(about)}</p>")
        with gradio.Row(equal_height=True):
            files = gradio.File(
                label="A picture, several, or one video", file_count="multiple", height=140, elem_id="files"
            )
            with gradio.Column():
                question = gradio.Textbox(PROMPT, label="Question")
                ask = gradio.Button("Ask", variant="primary", elem_id="ask")
        result = gradio.HTML(elem_id="shown")
        gradio.on(
            [ask.click, question.submit], shown, [files, question], result, api_name="ask", concurrency_limit=1
        )  # fmt: skip
    return made


def _asked(explain: Explain, files: Sequence[Path], question: str) -> Explanation:
    if not files:
        raise InputError("no picture", cure="drop one, or several, or a video")
    videos = [path for path in files if is_video(path)]
    if videos and len(files) > 1:
        raise InputError("a video stands alone", where=videos[0].name, got=f"{len(files)} files")
    return explain([] if videos else files, videos[0] if videos else None, question)


@contextlib.contextmanager
def serving(explain: Explain, about: str, port: int | None) -> Iterator[str]:
    """Serve the page in a thread of its own, at the address that is given, until the end.

    Args:
        port: None: the first free one from 7860 on.

    Raises:
        InputError: the port is taken.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it asks the page whether it is there, and says so
    with contextlib.ExitStack() as after:
        after.callback(os.environ.update, {UPLOADS: os.environ.get(UPLOADS, "")})
        folder = after.enter_context(tempfile.TemporaryDirectory(prefix="tam-demo-"))
        os.environ[UPLOADS] = str(Path(folder).resolve())
        made = page(explain, about)
        theme = gradio.themes.Base(font=["sans-serif"], font_mono=["monospace"])
        try:
            _, address, _ = made.launch(
                server_name=HOST, server_port=port, share=False, quiet=True, prevent_thread_lock=True, ssr_mode=False,
                footer_links=[], run_history=False, enable_monitoring=False, css=STYLE, theme=theme,
            )  # fmt: skip
        except OSError as error:
            raise InputError("a port that cannot be had", got=port, cure="name another one") from error
        after.callback(made.close, verbose=False)
        yield address
