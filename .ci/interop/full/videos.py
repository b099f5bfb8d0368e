"""Tracks odd videos and compares the number of frames, their size and the first picture with the clip they were made of."""

import json
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

trackd, model, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
CLIP = "examples/data/videos/bird.mp4"
H264 = "-c:v libx264 -pix_fmt yuv420p"
# Name, arguments, frames, size, quarter turns clockwise, whether the built-in decoder reads it too.
FRAMES, SIZE = 80, (640, 360)
CASES = [
    ("clip.mp4", H264, FRAMES, SIZE, 0, True),
    ("moov-last.mov", f"{H264} -movflags -faststart", FRAMES, SIZE, 0, True),
    ("fragmented.mp4", f"{H264} -movflags frag_keyframe+empty_moov", FRAMES, SIZE, 0, True),
    ("clip.mkv", H264, FRAMES, SIZE, 0, False),
    ("xvid.avi", "-c:v mpeg4 -q:v 3", FRAMES, SIZE, 0, False),
    ("vp9.webm", "-c:v libvpx-vp9 -b:v 2M -cpu-used 8", FRAMES, SIZE, 0, False),
    ("hevc10.mp4", "-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=error", FRAMES, SIZE, 0, False),
    ("clip.ts", H264, FRAMES, SIZE, 0, False),
    ("mjpeg.avi", "-c:v mjpeg -q:v 3", FRAMES, SIZE, 0, False),
    ("prores.mov", "-c:v prores_ks", FRAMES, SIZE, 0, False),
    ("gray.mp4", "-c:v libx264 -pix_fmt gray", FRAMES, SIZE, 0, False),
    ("odd-size.mkv", "-vf scale=341:199 -c:v ffv1", FRAMES, (341, 199), 0, False),
    ("tiny.mp4", f"-vf scale=96:54 {H264}", FRAMES, (96, 54), 0, True),
    ("uhd.mp4", f"-vf scale=3840:2160 -frames:v 12 -preset ultrafast {H264}", 12, (3840, 2160), 0, True),
    # Every third frame is left out, the others keep their times.
    ("variable-rate.mp4", f"-vf select=mod(n\\,3) -fps_mode vfr {H264}", 53, SIZE, 0, True),
    ("sound.mp4", f"-f lavfi -i sine=d=3 -map 0:v -map 1:a {H264} -c:a aac", FRAMES, SIZE, 0, True),
    ("turned-90.mp4", "rotate 90", FRAMES, SIZE[::-1], 1, True),
    ("turned-180.mp4", "rotate 180", FRAMES, SIZE, 2, True),
    ("turned-270.mov", "rotate 270", FRAMES, SIZE[::-1], 3, True),
]


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments], check=True)


def quadrants(picture):
    """Mean brightness of a 4 x 4 grid."""
    gray = np.asarray(picture.convert("L"), dtype=float)
    return np.array([[part.mean() for part in np.array_split(row, 4, 1)] for row in np.array_split(gray, 4, 0)])


ffmpeg("-i", CLIP, "-frames:v", "1", str(work / "first.png"))
first = quadrants(Image.open(work / "first.png"))
for name, how, frames, size, turns, builtin in CASES:
    video = work / name
    if how.startswith("rotate"):
        # Players turn the picture clockwise by this; ffmpeg counts the other way round.
        ffmpeg("-display_rotation", str(-int(how.split()[1])), "-i", CLIP, "-c", "copy", str(video))
    else:
        ffmpeg("-i", CLIP, *how.split(), str(video))
    if subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", str(video), "-f", "null", "-"]).returncode != 0:
        print(f"{name:18} skipped: this ffmpeg cannot read what it has written")
        continue
    box = [size[0] * 0.4, size[1] * 0.4, size[0] * 0.2, size[1] * 0.2]
    for decoder in ["ffmpeg"] + ["builtin"] * builtin:
        out = work / f"{name}-{decoder}"
        command = [trackd, "track", str(video), "--model", model, "--out", str(out), "--decoder", decoder]
        done = subprocess.run([*command, "--init", ",".join(map(str, box))], capture_output=True, text=True)
        assert done.returncode == 0, (name, decoder, done.stderr)
        result = json.loads((out / "result.json").read_text())
        found = (result["frames"], (result["width"], result["height"]))
        assert found == (frames, size), (name, decoder, found)
        strip = Image.open(out / "strip.jpg")
        tile = strip.crop((0, 0, min(round(size[0] * 120 / size[1]), strip.width), 120))
        away = np.abs(quadrants(tile) - np.rot90(first, -turns)).max()
        # The box is drawn into the tile.
        assert away < 25, (name, decoder, away)
        print(f"{name:18} {decoder:8} {found[0]:3} frames {size[0]}x{size[1]}, first picture within {away:.0f} levels")
