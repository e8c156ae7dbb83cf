"""Makes the files beside it, with numpy 2.3.4: what numpy itself writes, for the reader to be held against."""

from pathlib import Path

import numpy as np

here = Path(__file__).parent
points = np.array([[0.5, -1.25, 2], [3, 4, 5], [1e-3, 0, -7]], dtype=np.float32)
colours = np.array([[255, 0, 51], [0, 102, 204], [1, 2, 3]], dtype=np.uint8)
intensity = np.array([0, 128, 255], dtype=np.int64)
np.savez_compressed(
    here / "compressed.npz", points=points, colors=colours, intensity=intensity, label=np.zeros(3)
)
np.savez(here / "fortran.npz", np.asfortranarray(points.astype(">f8")))
record = np.zeros(
    2,
    dtype=[("z", "<f4"), ("x", ">f8"), ("name", "S3"), ("y", "<i2"), ("red", "u1"), ("green", "u1"), ("blue", "u1")],
)
record["x"], record["y"], record["z"] = [1.5, 2.5], [-3, 4], [9, 8]
record["red"], record["green"], record["blue"] = [255, 0], [51, 0], [0, 255]
np.save(here / "record.npy", record)
