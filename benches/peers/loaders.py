"""The loaders that people use, side by side on the same crops: pairs per second, wall and processor time.

usage: loaders.py DATASET WORK [--seconds S] [--workers N] [--only NAME ...] [--trainer PATH]

DATASET is built by `ingest build`. Its crops are written once into WORK in each loader's own layout: JPEG files, WebDataset
tars, MosaicML MDS shards, LitData chunks. Every loader then makes the same training pairs with the same code: decode with
OpenCV, gray with probability 0.25, stretch by up to 15 % per axis, shift by up to 12 px, cut, label the anchors. A sample of
the streaming layouts is one pair (template of one row, search crop of another of the same track), since they cannot read
two rows at random. `trainer bench loader` runs last, on DATASET itself. The table is markdown; one JSON line per loader
goes to standard error.
"""

import argparse
import gc
import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pyarrow as pa

EXEMPLAR, SEARCH, STRIDE, BATCH = 127, 255, 8, 32
side = (SEARCH - EXEMPLAR) // STRIDE + 1
sizes = [(104, 32), (88, 40), (64, 64), (40, 80), (32, 96)]
grid = (np.arange(side) - side // 2) * STRIDE
ay, ax = np.meshgrid(grid, grid, indexing="ij")
anchors = np.concatenate([np.stack([ax, ay, np.full_like(ax, w), np.full_like(ay, h)], -1).reshape(-1, 4) for w, h in sizes]).astype(np.float64)


def rows_of(dataset):
    """(video/track, template JPEG, search JPEG, width, height) of every row."""
    manifest = json.load(open(dataset / "dataset.json"))
    for entry in manifest["shards"]:
        table = pa.ipc.open_file(pa.memory_map(str(dataset / "shards" / entry["file"]))).read_all()
        videos, tracks = table["video"].to_pylist(), table["track"].to_pylist()
        widths, heights = table["box_w"].to_pylist(), table["box_h"].to_pylist()
        for i in range(table.num_rows):
            yield f"{videos[i]}/{tracks[i]}", table["template"][i].as_py(), table["search"][i].as_py(), widths[i], heights[i]


def neighbour(tracks, index):
    low, high = tracks[index]
    return random.randint(max(low, index - 100), min(high - 1, index + 100))


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
    return labels, delta.astype(np.float32)


def pair(template, search, w, h):
    """What the network gets of two decoded crops."""
    if random.random() < 0.25:
        template, search = (cv2.cvtColor(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR) for p in (template, search))
    width, height = (int(s * random.uniform(0.85, 1.15)) for s in search.shape[1::-1])
    w, h = w * width / search.shape[1], h * height / search.shape[0]
    search = cv2.resize(search, (width, height))
    dx, dy = random.randint(-12, 12), random.randint(-12, 12)
    labels, delta = label((-dx, -dy, w, h))
    return np.ascontiguousarray(cut(template, EXEMPLAR)), np.ascontiguousarray(cut(search, SEARCH, dx, dy)), labels, delta


def decode(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def from_bytes(template, search, w, h):
    return pair(decode(template), decode(search), float(w), float(h))


def collate(samples):
    import torch

    return [torch.from_numpy(np.stack(column)) for column in zip(*samples)]


class Layouts:
    """Writes each layout once; an unfinished one is written anew."""

    def __init__(self, dataset, work):
        self.dataset, self.work = dataset, work

    def at(self, name, write):
        done = self.work / f"{name}.done"
        if not done.exists():
            shutil.rmtree(self.work / name, ignore_errors=True)
            (self.work / name).mkdir(parents=True)
            write(self.work / name)
            done.write_text("")
        return self.work / name

    def tracks(self):
        """First and last row of the track of each row."""
        names = [row[0] for row in rows_of(self.dataset)]
        spans, start = [], 0
        for i in range(1, len(names) + 1):
            if i == len(names) or names[i] != names[start]:
                spans += [(start, i)] * (i - start)
                start = i
        return spans

    def pairs(self):
        rows, tracks = list(rows_of(self.dataset)), self.tracks()
        random.seed(1)
        for a in random.sample(range(len(rows)), len(rows)):
            b = neighbour(tracks, a)
            yield rows[a][1], rows[b][2], rows[b][3], rows[b][4]

    def files(self):
        def write(out):
            boxes = []
            for i, (_, template, search, w, h) in enumerate(rows_of(self.dataset)):
                (out / f"{i:07}.z.jpg").write_bytes(template)
                (out / f"{i:07}.x.jpg").write_bytes(search)
                boxes.append((w, h))
            json.dump({"boxes": boxes, "tracks": self.tracks()}, open(out / "index.json", "w"))

        return self.at("files", write)

    def tars(self):
        def write(out):
            import webdataset as wds

            with wds.ShardWriter(str(out / "%05d.tar"), maxcount=1000, verbose=0) as sink:
                for i, (template, search, w, h) in enumerate(self.pairs()):
                    sink.write({"__key__": f"{i:07}", "z": template, "x": search, "json": json.dumps([w, h]).encode()})

        return self.at("tars", write)

    def mds(self):
        def write(out):
            from streaming import MDSWriter

            columns = {"z": "bytes", "x": "bytes", "w": "float32", "h": "float32"}
            with MDSWriter(out=str(out), columns=columns, size_limit=1 << 26) as sink:
                for template, search, w, h in self.pairs():
                    sink.write({"z": template, "x": search, "w": np.float32(w), "h": np.float32(h)})

        return self.at("mds", write)

    def chunks(self):
        def write(out):
            from litdata.streaming.writer import BinaryWriter

            writer = BinaryWriter(str(out), chunk_bytes=1 << 26)
            for i, (template, search, w, h) in enumerate(self.pairs()):
                writer.add_item(i, {"z": template, "x": search, "w": float(w), "h": float(h)})
            writer.done()
            writer.merge(1)

        return self.at("chunks", write)


def torch_files(layouts, workers):
    import torch

    folder = layouts.files()
    index = json.load(open(folder / "index.json"))

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(index["boxes"])

        def __getitem__(self, a):
            b = neighbour(index["tracks"], a)
            template, search = cv2.imread(str(folder / f"{a:07}.z.jpg")), cv2.imread(str(folder / f"{b:07}.x.jpg"))
            return pair(template, search, *index["boxes"][b])

    return torch.utils.data.DataLoader(Files(), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate)


def webdataset(layouts, workers):
    import webdataset as wds

    urls = sorted(str(p) for p in layouts.tars().glob("*.tar"))
    made = lambda s: from_bytes(s["z"], s["x"], *json.loads(s["json"]))
    data = wds.WebDataset(urls, shardshuffle=len(urls), nodesplitter=None, workersplitter=wds.split_by_worker, empty_check=False)
    data = data.shuffle(1000).map(made).batched(BATCH, collation_fn=collate, partial=False)
    return wds.WebLoader(data, batch_size=None, num_workers=min(workers, len(urls)), persistent_workers=workers > 0)


def mosaicml(layouts, workers):
    import torch
    from streaming import StreamingDataset

    class Pairs(StreamingDataset):
        def __getitem__(self, index):
            row = super().__getitem__(index)
            return from_bytes(row["z"], row["x"], row["w"], row["h"])

    data = Pairs(local=str(layouts.mds()), shuffle=True, batch_size=BATCH)
    return torch.utils.data.DataLoader(data, batch_size=BATCH, drop_last=True, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate)


def litdata(layouts, workers):
    from litdata import StreamingDataLoader, StreamingDataset

    class Pairs(StreamingDataset):
        def __getitem__(self, index):
            row = super().__getitem__(index)
            return from_bytes(row["z"], row["x"], row["w"], row["h"])

    data = Pairs(str(layouts.chunks()), shuffle=True, drop_last=True)
    return StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate)


LOADERS = {
    "PyTorch DataLoader + OpenCV, JPEG files": torch_files,
    "WebDataset": webdataset,
    "MosaicML Streaming": mosaicml,
    "LitData": litdata,
}


def processor():
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def measure(name, options):
    """One loader in this process: whole epochs, until the time is over; workers' time counts when they have ended."""
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    layouts = Layouts(options.dataset, options.work)
    # The first pass starts everything once.
    for _ in zip(range(2), LOADERS[name](layouts, options.workers)):
        pass
    loader = LOADERS[name](layouts, options.workers)
    started, cpu, count, epochs = time.perf_counter(), processor(), 0, 0
    while time.perf_counter() - started < options.seconds:
        before = count
        for batch in loader:
            count += len(batch[0])
        epochs += 1
        if count == before:
            raise SystemExit(f"{name}: an epoch without a batch")
    wall = time.perf_counter() - started
    # Workers' time is known when they have ended.
    del loader
    gc.collect()
    cpu = processor() - cpu
    return {"loader": name, "workers": options.workers, "pairs_per_s": count / wall, "pairs_per_cpu_s": count / cpu, "pairs": count, "epochs": epochs}


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("dataset", type=pathlib.Path)
    options.add_argument("work", type=pathlib.Path)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--only", nargs="*", choices=list(LOADERS), default=list(LOADERS))
    options.add_argument("--trainer", default="target/release/trainer")
    options.add_argument("--one", choices=list(LOADERS), help=argparse.SUPPRESS)
    options = options.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return
    found = []
    for name in options.only:
        # A process of its own: what one loader leaves behind must not cost the next.
        command = [sys.executable, __file__, str(options.dataset), str(options.work), "--one", name, "--seconds", str(options.seconds), "--workers", str(options.workers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode != 0:
            raise SystemExit(f"{name} failed")
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    command = [options.trainer, "bench", "loader", "--data", str(options.dataset), "--threads", str(options.workers), "--batch", str(BATCH)]
    command += ["--seconds", str(options.seconds), "--preset", "reference", "--json", "data.pairs_per_unit=256"]
    own = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    found.append({"loader": "`trainer`", "workers": options.workers, **{key: own[key] for key in ("pairs_per_s", "pairs_per_cpu_s")}})
    print(json.dumps(own), file=sys.stderr)
    print("| loader | workers | pairs/s (wall) | pairs per processor second | against `trainer` |\n|---|---|---|---|---|")
    for row in found:
        share = row["pairs_per_cpu_s"] / own["pairs_per_cpu_s"]
        print(f"| {row['loader']} | {row['workers']} | {row['pairs_per_s']:.0f} | {row['pairs_per_cpu_s']:.0f} | {share:.2f} |")


if __name__ == "__main__":
    main()
