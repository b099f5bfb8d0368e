"""Runs two targets at once through the official folder protocol, and each alone through `trackd track`."""

import pathlib
import subprocess
import sys

from vot.dataset import load_sequence
from vot.region import Rectangle
from vot.tracker import ObjectQuery
from vot.tracker.folder import TrackerFolderRuntime

trackd, model, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
sequences = sorted(path for path in pathlib.Path("examples/data/sequences").resolve().iterdir() if path.is_dir())
assert sequences
for path in sequences:
    sequence = load_sequence(str(path))
    frames = [sequence.frame(i) for i in range(len(sequence))]
    first = Rectangle.convert(sequence.groundtruth(0))
    late = len(frames) // 2
    starts = [(0, first), (late, Rectangle(20, 30, 40, 50))]
    queries = [ObjectQuery(region, {"name": "anything"}, frame) for frame, region in starts]
    result = TrackerFolderRuntime(None, f"{trackd} folder --model {model}", timeout=60).run(frames, queries)
    for number, ((start, region), states) in enumerate(zip(starts, result.objects)):
        out = work / f"{path.name}-{number}"
        init = work / f"{path.name}-{number}.json"
        box = [region.x, region.y, region.width, region.height]
        job = work / f"job-{path.name}-{number}"
        job.mkdir()
        for frame in frames:
            source = pathlib.Path(frame.filename())
            (job / source.name).hardlink_to(source) if source.stat().st_dev == job.stat().st_dev else (
                job / source.name
            ).write_bytes(source.read_bytes())
        (job / "init.json").write_text(f'{{"targets":[{{"frame":{start},"region":{box}}}]}}')
        command = [trackd, "track", str(job), "--model", model, "--out", str(out), "--decoder", "builtin"]
        subprocess.run(command, check=True, capture_output=True)
        lines = (out / f"{job.name}_001.txt").read_text().splitlines()
        confidence = (out / f"{job.name}_001_confidence.value").read_text().splitlines()
        assert len(states) == len(lines) == len(frames)
        for i, (state, line) in enumerate(zip(states, lines)):
            if i < start:
                assert line == "0" and state.region.is_empty(), (i, state)
            elif i > start:
                region = state.region
                found = [region.x, region.y, region.width, region.height]
                wanted = [float(v) for v in line.split(",")]
                assert all(abs(a - b) < 1e-3 for a, b in zip(found, wanted)), (path.name, i, found, wanted)
                assert abs(float(state.properties["confidence"]) - float(confidence[i])) < 1e-6
    print(f"{path.name}: {len(frames)} frames, 2 targets, as `trackd track`")
