"""Workspaces of the official toolkit: made, filled with generated sequences and results, analysed, and compared with
`trackd score`. Everything follows from a seed."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

STACK = """title: generated
experiments:
  baseline:
    type: supervised
    repetitions: {repetitions}
    skip_initialize: 5
    analyses:
      - type: supervised_average_ar
        sensitivity: 30
      - type: cumulative_failures
      - type: supervised_eao_score
        low: {low}
        high: {high}
"""
INIT, FAILED, UNKNOWN = "1", "2", "0"


def workspace(root, interval, repetitions=15):
    """An empty workspace with the supervised experiment alone."""
    root = Path(root)
    (root / "sequences").mkdir(parents=True)
    (root / "results").mkdir()
    (root / "stack.yaml").write_text(STACK.format(low=interval[0], high=interval[1], repetitions=repetitions))
    (root / "config.yaml").write_text("registry:\n- ./trackers.ini\nstack: stack.yaml\n")
    return root


def register(root, commands, options=""):
    """Adds trackers, name and command."""
    with open(root / "trackers.ini", "a") as file:
        for name, command in commands.items():
            file.write(f"[{name}]\nlabel = {name}\nprotocol = trax\ntimeout = 120\ncommand = {command}\n{options}\n")


def text(values):
    return ",".join(f"{value:.4f}".rstrip("0").rstrip(".") for value in values)


def rectangle(box):
    return text(box)


def polygon(box, angle):
    x, y, w, h = box
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 @ turn.T + [x + w / 2, y + h / 2]
    return text(corners.ravel())


def mask(box):
    """An ellipse in the box."""
    x, y, w, h = (int(round(v)) for v in box)
    w, h = max(w, 3), max(h, 3)
    columns, rows = np.meshgrid(np.arange(w), np.arange(h))
    inside = ((columns - w / 2 + 0.5) / (w / 2)) ** 2 + ((rows - h / 2 + 0.5) / (h / 2)) ** 2 <= 1
    changes = np.flatnonzero(np.diff(np.concatenate([[False], inside.ravel()]).astype(int))) if inside.any() else []
    runs = np.diff(np.concatenate([[0], changes, [w * h]])).astype(int)
    return "m" + ",".join(str(v) for v in [x, y, w, h, *runs])


def region(rng, kind, box):
    if kind == "mixed":
        kind = rng.choice(["rectangle", "polygon", "mask"])
    if kind == "mask":
        return mask(box)
    return polygon(box, rng.normal(0, 0.4)) if kind == "polygon" else rectangle(box)


def walk(rng, length, size):
    """Boxes of a target that wanders and changes its size, sometimes across the edge of the frame."""
    width, height = size
    side = rng.uniform(12, 110, 2)
    centre = rng.uniform(0.3, 0.7, 2) * size
    boxes = []
    for step, grow in zip(rng.normal(0, 3, (length, 2)), rng.normal(0, 0.01, (length, 2))):
        centre = np.clip(centre + step, -10, np.array(size) + 10)
        side = np.clip(side * np.exp(grow), 4, min(width, height) * 0.7)
        boxes.append([*(centre - side / 2), *side])
    return np.array(boxes)


def run(rng, boxes, kind, failure, odd):
    """One supervised run: the truth disturbed, a failure now and then. `odd`: also codes where a region is due."""
    lines, start = [], 0
    while start < len(boxes):
        lines += [UNKNOWN] * (start - len(lines)) + [INIT]
        drift, start = np.zeros(4), len(boxes)
        for frame in range(len(lines), len(boxes)):
            if rng.random() < failure:
                lines.append(FAILED)
                start = frame + 5
                break
            drift = 0.9 * drift + rng.normal(0, 0.05, 4) * boxes[frame][[2, 3, 2, 3]]
            box = boxes[frame] + drift
            box[2:] = np.maximum(box[2:], 1)
            lines.append(UNKNOWN if odd and rng.random() < 0.01 else region(rng, kind, box))
    return lines + [UNKNOWN] * (len(boxes) - len(lines))


def generate(root, *, seed, sequences, repetitions, trackers=("random",), truth="polygon", result="rectangle",
             lengths=None, odd=False):
    """Sequences without frames, and result files of trackers over them, as text. `odd`: ground truth with NaN and codes."""
    rng = np.random.default_rng(seed)
    names = []
    for index in range(sequences):
        name, size = f"seq{index:03}", (int(rng.integers(240, 1280)), int(rng.integers(180, 720)))
        # Lengths as in VOT2016: most between 100 and 400 frames, a few above 1000.
        length = int(np.clip(rng.lognormal(5.6, 0.7), 41, 1500)) if lengths is None else int(rng.integers(*lengths))
        place = root / "sequences" / name
        place.mkdir()
        boxes = walk(rng, length, size)
        lines = [region(rng, truth, box) for box in boxes]
        for frame in range(1, length):
            if odd and rng.random() < 0.02:
                lines[frame] = str(rng.choice(["nan,nan,nan,nan", "0", "nan,nan,nan,nan,nan,nan,nan,nan"]))
        (place / "groundtruth.txt").write_text("\n".join(lines) + "\n")
        described = dict(name=name, fps=25, format="dummy", width=size[0], height=size[1], length=length)
        described |= {"channel.default": "color", "channels.color": "color/%08d.jpg"}
        (place / "sequence").write_text("".join(f"{key}={value}\n" for key, value in described.items()))
        names.append(name)
        for tracker in trackers:
            out = root / "results" / tracker / "baseline" / name
            out.mkdir(parents=True)
            often = rng.choice([0, 0.004, 0.02])
            for repetition in range(1, repetitions + 1):
                stem = f"{name}_{repetition:03}"
                (out / f"{stem}.txt").write_text("\n".join(run(rng, boxes, result, often, odd)) + "\n")
                (out / f"{stem}_time.value").write_text("0.01\n" * length)
    (root / "sequences" / "list.txt").write_text("\n".join(names) + "\n")
    register(root, {tracker: "/bin/false" for tracker in trackers})


def analysis(root, trackers, vot):
    """What `vot analysis` says: accuracy, failures, reliability and EAO of each tracker."""
    command = [vot, "analysis", "--workspace", str(root), "--name", "result", *trackers]
    done = subprocess.run(command, capture_output=True, text=True)
    file = root / "analysis" / "result.json"
    if done.returncode != 0 or not file.is_file():
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    found = json.loads(file.read_text())["results"]["baseline"]
    by_kind = {what["type"].split(".")[-1]: values for what, values in
               zip(found["parameters"]["analyses"], found["results"])}
    scores = {}
    for tracker, ar, failures, eao in zip(trackers, by_kind["AverageAccuracyRobustness"],
                                          by_kind["CumulativeFailureCount"], by_kind["EAOScore"]):
        scores[tracker] = dict(accuracy=ar[0], robustness_weighted_failures=ar[1], reliability=ar[2][0],
                               failures=failures[0], eao=eao[0])
    return scores


def score(root, tracker, trackd, interval, extra=()):
    """What `trackd score` says of the same files."""
    command = [trackd, "score", "--dataset", str(root), "--results", str(root / "results" / tracker), "--dialect",
               "vot-python", "--eao-interval", "{},{}".format(*interval), "--json", *extra]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def largest_difference(ours, theirs):
    """Of all scores of one tracker; a score that one of them does not have must be missing in both."""
    worst = 0.0
    for key, value in theirs.items():
        missing = value is None or math.isnan(value)
        if missing != (ours[key] is None):
            return math.inf
        if not missing:
            worst = max(worst, abs(ours[key] - value))
    return worst
