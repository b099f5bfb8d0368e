"""Runs trackers by the official toolkit over the bundled videos, prints a table and writes a report: see `trackers`.
usage: trackers.py TRACKD VOT PYTHON_WITH_OPENCV REPORT_FOLDER [MODEL]"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci" / "interop" / "full"))
from vot_results import register, score, workspace

DATA = ROOT / "examples" / "data"
PEERS = ["CSRT", "KCF", "MIL", "MOSSE"]
INTERVAL = (40, 150)


def pictures(stream):
    """The frames of a stream of PPM pictures."""
    while stream.readline() == b"P6\n":
        width, height = (int(n) for n in stream.readline().split())
        stream.readline()
        yield np.frombuffer(stream.read(3 * width * height), np.uint8).reshape(height, width, 3)


def sequences(root, trackd):
    names = []
    for path in sorted((DATA / "sequences").iterdir()):
        if path.is_dir():
            shutil.copytree(path, root / path.name)
            names.append(path.name)
    for clip in sorted((DATA / "videos").glob("*.mp4")):
        place = root / clip.stem
        (place / "color").mkdir(parents=True)
        with subprocess.Popen([trackd, "decode-h264", str(clip)], stdout=subprocess.PIPE) as decoder:
            for number, picture in enumerate(pictures(decoder.stdout), 1):
                # Without loss: what every tracker sees is what the decoder gave.
                cv2.imwrite(str(place / "color" / f"{number:08}.png"), picture[:, :, ::-1])
        if decoder.returncode != 0:
            sys.exit(f"{clip} cannot be decoded")
        shutil.copy(clip.with_suffix(".txt"), place / "groundtruth.txt")
        height, width = picture.shape[:2]
        described = dict(name=clip.stem, fps=25, format="default", width=width, height=height, length=number)
        described |= {"channel.default": "color", "channels.color": "color/%08d.png"}
        (place / "sequence").write_text("".join(f"{key}={value}\n" for key, value in described.items()))
        names.append(clip.stem)
    (root / "list.txt").write_text("\n".join(names) + "\n")
    return names


def rate(folder):
    """Frames per second on updates, by the toolkit's clock: reading the picture and TraX included."""
    times = [float(line) for file in folder.rglob("*_time.value") for line in file.read_text().split()]
    return len(times) / sum(times)


def main():
    trackd, vot, python = (os.path.abspath(path) for path in sys.argv[1:4])
    out = os.path.abspath(sys.argv[4])
    trackers = {name.lower(): f"{python} {Path(__file__).with_name('opencv_tracker.py')} {name}" for name in PEERS}
    if len(sys.argv) > 5:
        trackers["siamrpn"] = f"{trackd} trax --model {os.path.abspath(sys.argv[5])}"
    with tempfile.TemporaryDirectory() as folder:
        # Three runs: MIL draws random numbers, and 15 would take half an hour.
        root = workspace(Path(folder) / "workspace", INTERVAL, repetitions=3)
        names = sequences(root / "sequences", trackd)
        register(root, trackers)
        print(f"load {os.getloadavg()[0]:.1f}; sequences: {', '.join(names)}", flush=True)
        print("| tracker | accuracy | failures | EAO {}-{} | frames/s |".format(*INTERVAL))
        print("|---|---|---|---|---|", flush=True)
        for tracker in trackers:
            done = subprocess.run([vot, "evaluate", "--workspace", str(root), tracker], capture_output=True, text=True,
                                  env=os.environ | {"VOT_RESULTS_BINARY": "0"})
            if "concluded" not in done.stdout + done.stderr:
                sys.exit(f"vot evaluate {tracker} failed:\n{done.stdout}{done.stderr}")
            found = score(root, tracker, trackd, INTERVAL)
            eao = "-" if found["eao"] is None else f"{found['eao']:.3f}"
            speed = rate(root / "results" / tracker)
            print(f"| {tracker} | {found['accuracy']:.3f} | {found['failures']:.1f} | {eao} | {speed:.0f} |", flush=True)
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)
        report = [trackd, "report", "--dialect", "vot-python", "--eao-interval", "{},{}".format(*INTERVAL)]
        report += ["--dataset", str(root / "sequences"), "--out", out]
        for tracker in trackers:
            report += ["--results", str(root / "results" / tracker)]
        subprocess.run(report, check=True)


main()
