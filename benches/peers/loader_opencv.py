"""Pairs per second of one Python process doing what the trainer's loader does, with OpenCV, on the same shards.

usage: loader_opencv.py DATASET SECONDS

Per pair: decode template and search JPEG, gray with probability 0.25, stretch the search crop by up to 15 % per axis, shift
it by up to 12 px, cut 127 and 271 px, label the anchors. One thread.
"""

import json
import pathlib
import random
import sys
import time

import cv2
import numpy as np
import pyarrow as pa

cv2.setNumThreads(1)
dataset, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
manifest = json.load(open(dataset / "dataset.json"))
rows = []
for entry in manifest["shards"]:
    table = pa.ipc.open_file(pa.memory_map(str(dataset / "shards" / entry["file"]))).read_all()
    rows += [(table["video"][i].as_py(), table["template"][i], table["search"][i], table["box_w"][i].as_py(), table["box_h"][i].as_py()) for i in range(table.num_rows)]

EXEMPLAR, SEARCH, STRIDE = 127, 271, 8
side = (SEARCH - EXEMPLAR) // STRIDE + 1
sizes = [(104, 32), (88, 40), (64, 64), (40, 80), (32, 96)]
grid = (np.arange(side) - side // 2) * STRIDE
ay, ax = np.meshgrid(grid, grid, indexing="ij")
anchors = np.concatenate([np.stack([ax, ay, np.full_like(ax, w), np.full_like(ay, h)], -1).reshape(-1, 4) for w, h in sizes]).astype(np.float64)


def cut(picture, size, dx=0, dy=0):
    top, left = (picture.shape[0] - size) // 2 + dy, (picture.shape[1] - size) // 2 + dx
    return picture[top : top + size, left : left + size]


def label(box):
    x, y, w, h = box
    low = np.maximum(anchors[:, :2] - anchors[:, 2:] / 2 + 0.5, [x - w / 2 + 0.5, y - h / 2 + 0.5])
    high = np.minimum(anchors[:, :2] + anchors[:, 2:] / 2 - 0.5, [x + w / 2 - 0.5, y + h / 2 - 0.5])
    inter = np.prod(np.maximum(high - low, 0), axis=1)
    iou = inter / ((anchors[:, 2] - 1) * (anchors[:, 3] - 1) + (w - 1) * (h - 1) - inter + 1e-6)
    labels = np.full(len(anchors), -1, np.int8)
    positive, negative = np.flatnonzero(iou > 0.6), np.flatnonzero(iou < 0.3)
    positive = np.random.permutation(positive)[:16]
    labels[positive] = 1
    labels[np.random.permutation(negative)[: 64 - len(positive)]] = 0
    delta = np.stack([(x - anchors[:, 0]) / anchors[:, 2], (y - anchors[:, 1]) / anchors[:, 3], np.log(w / anchors[:, 2]), np.log(h / anchors[:, 3])])
    return labels, delta


def pair():
    a = random.randrange(len(rows))
    b = min(max(a + random.randint(-100, 100), 0), len(rows) - 1)
    template = cv2.imdecode(np.frombuffer(rows[a][1].as_buffer(), np.uint8), cv2.IMREAD_COLOR)
    search = cv2.imdecode(np.frombuffer(rows[b][2].as_buffer(), np.uint8), cv2.IMREAD_COLOR)
    if random.random() < 0.25:
        template, search = (cv2.cvtColor(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR) for p in (template, search))
    width, height = (int(s * random.uniform(0.85, 1.15)) for s in search.shape[1::-1])
    w, h = rows[b][3] * width / search.shape[1], rows[b][4] * height / search.shape[0]
    search = cv2.resize(search, (width, height))
    dx, dy = random.randint(-12, 12), random.randint(-12, 12)
    return cut(template, EXEMPLAR), cut(search, SEARCH, dx, dy), label((-dx, -dy, w, h))


for _ in range(20):
    pair()
started, cpu, count = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - started < seconds:
    batch = [pair() for _ in range(8)]
    np.stack([p[0] for p in batch]), np.stack([p[1] for p in batch])
    count += len(batch)
print(json.dumps({"what": "loader", "peer": f"python + OpenCV {cv2.__version__}, 1 thread", "pairs_per_s": round(count / (time.perf_counter() - started), 1), "pairs_per_cpu_s": round(count / (time.process_time() - cpu), 1)}))
