"""Invented folders of benchmarks with true flow: noise that moves by a whole number of pixels."""

import cv2
import numpy as np

from vidjax.video.flow_files import write_flow

LAYOUTS = ("sintel", "kitti", "chairs")
HEIGHT, WIDTH = 48, 64
MOTION = (3, 1)  # pixels to the right and down in every frame


def invent(folder, layout):
    """Write three frames of Sintel in two passes, or two pairs of KITTI or FlyingChairs."""
    rng = np.random.default_rng(0)
    noise = np.kron(rng.integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    noise = cv2.GaussianBlur(noise, (5, 5), 0)
    frames = [np.roll(noise, (MOTION[1] * n, MOTION[0] * n), axis=(0, 1)) for n in range(3)]
    flow = np.tile(np.float32(MOTION), (HEIGHT, WIDTH, 1))
    known = np.zeros((HEIGHT, WIDTH), bool)
    known[8:-8, 8:-8] = True
    if layout == "sintel":
        files = {f"training/{p}/alley/frame_000{n + 1}.png": frames[n] for p in ("clean", "final") for n in range(3)}
        flows = {f"training/flow/alley/frame_000{n}.flo": (flow, None) for n in (1, 2)}
    elif layout == "kitti":
        files = {f"training/image_2/00000{n}_1{m}.png": frames[n + m] for n in (0, 1) for m in (0, 1)}
        flows = {f"training/flow_occ/00000{n}_10.png": (flow, known) for n in (0, 1)}
    else:
        files = {f"data/0000{n + 1}_img{m + 1}.ppm": frames[n + m] for n in (0, 1) for m in (0, 1)}
        flows = {f"data/0000{n}_flow.flo": (flow, None) for n in (1, 2)}
    for name in (*files, *flows):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name, frame in files.items():
        cv2.imwrite(str(folder / name), frame)
    for name, (field, where) in flows.items():
        write_flow(folder / name, field, where)
