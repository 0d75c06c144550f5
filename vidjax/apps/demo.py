"""A page of this machine's browser that shows what a run says of videos (`vidjax demo RUN`).

The page needs no network: its scripts and fonts come from this machine, and it reports to nobody.
"""

import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from vidjax.apps.explain import class_number
from vidjax.apps.http_server import ending_quietly, listening
from vidjax.apps.localise import LEAST, ScoreFinder
from vidjax.apps.overlay import enlarged, pictures_of, write_overlay
from vidjax.apps.timeline import write_timeline
from vidjax.errors import UserError, install
from vidjax.models.base import VideoNetwork
from vidjax.models.saliency import METHODS, ClassActivation
from vidjax.predictor import Predictor
from vidjax.serving.answers import limited_clips, reason_of
from vidjax.wording import things

HOST, PORT = "127.0.0.1", 7860
BEST = "the best of the video"  # choice of the class that is explained

# Classes with probabilities, the picture of the timeline, and the video with the map; None: not yet.
Shown = tuple[dict[str, float], str | None, str | None]


class Showing:
    """What the page shows of videos: classes, a timeline, and the places that matter.

    Args:
      run: work directory of a run, or folder written by `convert`.
      folder: folder for pictures and videos.
      num_clips: clips per video for the classes; None: as in the run's config, or 10 if that would be all of a video.
      step: update number of the checkpoint; None: the best.
      top: number of classes shown.

    Attributes:
      title: name of the network, and the number of its classes.
      class_names: names of the classes.

    Raises:
      UserError: if the network takes anything but one video, or has no classes.
    """

    def __init__(self, run: str, folder: str | Path, *, num_clips: int | None, step: int | None, top: int):
        self._finder = ScoreFinder(run, step=step)
        self._predictor = Predictor(run, num_crops=1, step=step, top=top, **limited_clips(run, num_clips))
        self._activation, self._folder = ClassActivation(cast(VideoNetwork, self._predictor.network)), Path(folder)
        self.class_names = self._predictor.class_names
        self.title = f"{self._predictor.spec.name}, {things(len(self.class_names), 'class', 'classes')}"

    def of(self, video: str, class_name: str, method: str) -> Iterator[Shown]:
        """Yield what is there of a file so far: first the classes, then its timeline, then the map.

        Args:
          video: path of the file.
          class_name: class to explain; `BEST`: the best of the video.
          method: method of the map, one of `vidjax.models.saliency.METHODS`.

        Raises:
          UserError: if the file cannot be decoded.
        """
        prediction, read, views = self._predictor.with_views(video)
        scores = {each.name: each.score for each in prediction.classes}
        yield scores, None, None
        own = Path(tempfile.mkdtemp(dir=self._folder))
        result = self._finder.find(video, lambda _: None)
        line = str(write_timeline(own / "timeline.png", result.timeline(video, self.class_names, LEAST)))
        yield scores, line, None
        name = prediction.classes[0].name if class_name == BEST else class_name
        classes = jnp.full(len(views), class_number(name, self.class_names))
        maps, _ = self._activation(self._predictor.entered(read), classes, method)
        pictures = pictures_of(read["video"], self._predictor.spec.video)
        heats = [enlarged(each, pictures.shape[1:4]) for each in np.asarray(maps)]
        write_overlay(own / "overlay.mp4", pictures, heats, views.times)
        yield scores, line, str(own / "overlay.mp4")


def demo(
    run: str,
    *,
    host: str = HOST,
    port: int = PORT,
    num_clips: int | None = None,
    step: int | None = None,
    top: int = 5,
    max_mib: float = 512.0,
) -> int:
    """Serve the page until SIGTERM or Ctrl-C.

    Args:
      run, num_clips, step, top: as for `Showing`.
      host: address to listen at; the default is reached only from this machine.
      port: port to listen at; 0: a free one, which is printed.
      max_mib: largest video that is taken, MiB.

    Returns:
      0.

    Raises:
      UserError: if the run cannot be shown, the extra is not installed, or the port is in use.
    """
    with tempfile.TemporaryDirectory(prefix="vidjax-demo-") as folder:
        gradio = _gradio(folder)
        uvicorn = importlib.import_module("uvicorn")  # comes with Gradio
        showing = Showing(run, folder, num_clips=num_clips, step=step, top=top)
        with listening(host, port) as listener:
            config = uvicorn.Config(
                page(gradio, showing, folder, max_bytes=int(max_mib * 2**20)), log_config=None, access_log=False,
                server_header=False, proxy_headers=False, ws="none", http="h11", timeout_graceful_shutdown=2,
            )  # fmt: skip
            number = listener.getsockname()[1]
            Console(stderr=True).print(
                f"{showing.title}: open http://{f'[{host}]' if ':' in host else host}:{number} in a browser; "
                "Ctrl-C ends it",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
            with ending_quietly():
                uvicorn.Server(config).run(sockets=[listener])
    return 0


def page(gradio: Any, showing: Showing, folder: str, *, max_bytes: int) -> Any:
    """The page as an ASGI application.

    Args:
      gradio: the package.
      showing: what it shows.
      folder: folder of the files that it may send.
      max_bytes: size of the largest file that it takes.
    """
    from fastapi import FastAPI

    def show(video: str | None, class_name: str, method: str) -> Iterator[Shown]:
        if not video:
            raise gradio.Error("Give a video first.", print_exception=False)
        try:
            yield from showing.of(video, class_name, method)
        except UserError as error:
            raise gradio.Error(reason_of(error, video), print_exception=False) from None

    with gradio.Blocks(title="vidjax", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gradio.Markdown(f"## {showing.title}")
        with gradio.Row():
            with gradio.Column():
                video = gradio.Video(label="Video", sources=["upload"], height=280)
                names = [BEST, *showing.class_names]
                class_name = gradio.Dropdown(names, value=BEST, label="Class to explain")
                method = gradio.Radio(list(METHODS), value=METHODS[0], label="Map of the places that matter")
                button = gradio.Button("Classify", variant="primary")
            with gradio.Column():
                label = gradio.Label(label="Classes", elem_id="classes")
                overlay = gradio.Video(label="Where the network sees the class", autoplay=True, loop=True, height=280)
        line = gradio.Image(
            label="Timeline", show_label=False, type="filepath", elem_id="timeline", buttons=["download", "fullscreen"]
        )
        wiring: dict[str, Any] = {"inputs": [video, class_name, method], "outputs": [label, line, overlay]}
        button.click(show, **wiring, api_name="predict")
        video.upload(show, **wiring, api_visibility="private")
    blocks.queue(default_concurrency_limit=1, max_size=16)
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
    app = gradio.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks, path="/", allowed_paths=[folder],
        max_file_size=max_bytes, theme=gradio.themes.Default(**fonts), ssr_mode=False, run_history=False,
        footer_links=["api"],
    )  # fmt: skip
    # Without this, Gradio 6 takes a mounted page for one under construction, and any path of a client for an upload.
    blocks.has_launched = True
    return app


def _gradio(folder: str) -> Any:
    """The package Gradio, which keeps uploads in `folder` and reports to nobody."""
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder, "HF_HUB_OFFLINE": "1"}
    try:
        import gradio
    except ImportError:
        raise UserError(f"the page needs the package gradio: {install('demo')}") from None
    return gradio
