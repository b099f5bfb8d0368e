"""Writes a corpus of ready-made crops as the 141 GB one is laid out, cut from real frames, as a tar or a folder.

usage: corpus.py OUT.tar|OUT_FOLDER CROPS FRAMES...

FRAMES are folders with groundtruth.txt (x,y,w,h per frame) and the JPEG or PPM frames beside it or under color/. Every crop
is 500 px, JPEG of quality 95 (4:2:0), cut as SiamFC does (exemplar 127 px, context 0.5, mean colour as border) around a
jittered box, mirrored at random, with its own brightness and shade, so that no two files are the same. One video
holds 2 tracks of 60 crops. Seeded: the same arguments give the same corpus.
"""

import io
import multiprocessing
import os
import pathlib
import pickle
import sys
import tarfile

import cv2
import numpy as np

TRACKS, LENGTH = 2, 60
out, crops, folders = pathlib.Path(sys.argv[1]), int(sys.argv[2]), [pathlib.Path(f) for f in sys.argv[3:]]
videos = -(-crops // (TRACKS * LENGTH))


def load(folder):
    lines = (folder / "groundtruth.txt").read_text().split()
    boxes = [np.array([float(v) for v in line.split(",")]) for line in lines]
    pictures = folder / "color" if (folder / "color").is_dir() else folder
    files = sorted(f for f in pictures.iterdir() if f.suffix in (".jpg", ".ppm"))
    pictures = [cv2.imread(str(f)) for f in files]
    return [(picture, cv2.mean(picture)[:3], box) for picture, box in zip(pictures, boxes)]


clips = [load(folder) for folder in folders]


def names(video):
    name = f"ILSVRC2015_train_{video:08}"
    return name, {t: [f"{f:06}" for f in range(LENGTH)] for t in range(TRACKS)}


def make(video):
    cv2.setNumThreads(1)
    rng = np.random.default_rng(video)
    name, tracks = names(video)
    files = []
    for track, frames in tracks.items():
        clip = clips[rng.integers(len(clips))]
        first = rng.integers(len(clip))
        zoom, mirror, light = rng.uniform(0.7, 1.4), rng.random() < 0.5, rng.uniform(0.8, 1.1)
        for number, frame in enumerate(frames):
            picture, fill, (x, y, w, h) = clip[(first + number) % len(clip)]
            w, h = w * zoom, h * zoom * rng.uniform(0.97, 1.03)
            cx, cy = x + w / zoom / 2 + rng.normal(0, 2), y + h / 2 + rng.normal(0, 2)
            side = np.sqrt((w + (w + h) / 2) * (h + (w + h) / 2)) * 500 / 127
            scale = 500 / side
            matrix = np.array([[scale, 0, 250 - scale * cx], [0, scale, 250 - scale * cy]])
            crop = cv2.warpAffine(picture, matrix, (500, 500), borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
            crop = cv2.flip(crop, 1) if mirror else crop
            shade = cv2.resize(rng.integers(0, 8, (9, 9, 3), np.uint8), (500, 500), interpolation=cv2.INTER_LINEAR)
            crop = cv2.convertScaleAbs(cv2.add(crop, shade), alpha=light)
            height, width = picture.shape[:2]
            path = f"{name}/{frame}.{track:02}.x_{w * scale:.2f}_{h * scale:.2f}_{width}_{height}.jpg"
            flags = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
            files.append((path, cv2.imencode(".jpg", crop, flags)[1].tobytes()))
    return files


def write(files, add):
    add("meta_data.pkl", pickle.dumps([names(video) for video in range(videos)], protocol=2))
    for batch in files:
        for path, data in batch:
            add(path, data)


with multiprocessing.Pool() as pool:
    files = pool.imap(make, range(videos), chunksize=4)
    if out.suffix == ".tar":
        with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as archive:

            def add(path, data):
                member = tarfile.TarInfo(f"ytb_vid_filter/{path}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

            write(files, add)
    else:

        def add(path, data):
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(data)

        write(files, add)
print(f"{videos * TRACKS * LENGTH} crops, {videos} videos in {out}")
