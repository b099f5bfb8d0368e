"""Frames per second of one Python process doing what `ingest build` does, with OpenCV, on the same pictures.

usage: crop_opencv.py frames SEQUENCES SECONDS    folders of JPEG frames with groundtruth.txt (x,y,w,h or polygons)
       crop_opencv.py crops FOLDER SECONDS        ready-made crops of 500 px: the middle 144 and 352 px encoded anew

`frames` does the operations of PySOT's cropping scripts: read the frame, mean colour, one affine warp with border per crop
(template 144 px, search 352 px), write both as JPEG of quality 95. Results are encoded in memory, not written. One thread.
"""

import json
import pathlib
import sys
import time

import cv2
import numpy as np

cv2.setNumThreads(1)
kind, folder, seconds = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[3])
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]
EXEMPLAR, TEMPLATE, SEARCH, CONTEXT = 127, 144, 352, 0.5


def warp(picture, centre, side, size, fill):
    """A square of `side` px around `centre`, corner pixels on corner pixels."""
    scale = (size - 1) / side
    shift = [-scale * (c - side / 2) for c in centre]
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    return cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=fill)


def frame(path, box):
    picture = cv2.imread(str(path))
    x, y, w, h = box
    centre = (x + (w - 1) / 2, y + (h - 1) / 2)
    context = CONTEXT * (w + h)
    side = np.sqrt((w + context) * (h + context))
    fill = np.mean(picture, axis=(0, 1))
    for size in (TEMPLATE, SEARCH):
        cv2.imencode(".jpg", warp(picture, centre, side * size / EXEMPLAR, size, fill), QUALITY)


def crop(path, _):
    picture = cv2.imread(str(path))
    for size in (TEMPLATE, SEARCH):
        start = (picture.shape[0] - size) // 2
        cv2.imencode(".jpg", picture[start : start + size, start : start + size], QUALITY)


def boxes(path):
    for line in path.read_text().split():
        values = [float(v) for v in line.split(",")]
        if len(values) == 4:
            yield values
        else:
            xs, ys = values[0::2], values[1::2]
            yield min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


work = []
if kind == "frames":
    for truth in sorted(folder.glob("**/groundtruth.txt")):
        pictures = sorted(p for p in truth.parent.glob("**/*.jpg"))
        work += list(zip(pictures, boxes(truth)))
    do = frame
else:
    work = [(path, None) for path in sorted(folder.glob("**/*.jpg"))]
    do = crop
if not work:
    raise SystemExit(f"no pictures in {folder}")
for path, box in work[:20]:
    do(path, box)
started, cpu, count = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - started < seconds:
    do(*work[count % len(work)])
    count += 1
wall, cpu = time.perf_counter() - started, time.process_time() - cpu
print(json.dumps({"what": f"ingest {kind}", "peer": f"python + OpenCV {cv2.__version__}, 1 thread", "per_s": round(count / wall, 1), "per_cpu_s": round(count / cpu, 1)}))
