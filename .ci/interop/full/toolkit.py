"""The official toolkit beside `trackd`: see `toolkit`. usage: toolkit.py TRACKD MODEL VOT WORK [SEED]"""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

from vot.region.io import read_trajectory, write_trajectory
from vot_results import analysis, generate, largest_difference, polygon, register, score, workspace

INTERVAL = (20, 100)
BUNDLED = Path("examples/data/sequences")


def check(holds, what):
    if not holds:
        sys.exit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


def toolkit(vot, *arguments, **variables):
    done = subprocess.run([vot, *map(str, arguments)], capture_output=True, text=True, env=os.environ | variables)
    return done.returncode == 0 and "concluded" in done.stdout + done.stderr, done.stdout + done.stderr


def sequences(root):
    """The bundled ones, and one with rotated polygons as ground truth, which jumps away for a while: failures are sure."""
    names = [path.name for path in sorted(BUNDLED.iterdir()) if path.is_dir()]
    for name in names:
        shutil.copytree(BUNDLED / name, root / "sequences" / name)
    turned, frames = root / "sequences" / "turned", 70
    (turned / "color").mkdir(parents=True)
    source = BUNDLED / names[0]
    for frame in sorted((source / "color").iterdir())[:frames]:
        shutil.copy(frame, turned / "color")
    described = (source / "sequence").read_text().replace(f"name={names[0]}", "name=turned").splitlines()
    described = [f"length={frames}" if line.startswith("length=") else line for line in described]
    (turned / "sequence").write_text("\n".join(described) + "\n")
    boxes = [[float(v) for v in line.split(",")] for line in (source / "groundtruth.txt").read_text().split()[:frames]]
    boxes[30:50] = [[12, 300, 44, 40]] * 20
    (turned / "groundtruth.txt").write_text("".join(polygon(box, 0.2 + 0.01 * i) + "\n" for i, box in enumerate(boxes)))
    names.append("turned")
    (root / "sequences" / "list.txt").write_text("\n".join(names) + "\n")
    return names


def lines(root, tracker, name):
    """The regions of the first run, read by the toolkit itself."""
    stem = root / "results" / tracker / "baseline" / name / f"{name}_001"
    file = f"{stem}.bin" if Path(f"{stem}.bin").exists() else f"{stem}.txt"
    return [str(region) for region in read_trajectory(file)]


def same_run(a, b):
    """Whether codes stand in the same places, and the largest distance of two coordinates in px."""
    far = 0.0
    for one, other in zip(a, b, strict=True):
        numbers = [[float(v) for v in line.split(",")] for line in (one, other)]
        if len(numbers[0]) != len(numbers[1]) or (len(numbers[0]) == 1 and numbers[0] != numbers[1]):
            return False, math.inf
        far = max(far, *(abs(x - y) for x, y in zip(*numbers)))
    return True, far


def drive(trackd, model, vot, work):
    root = workspace(work / "drive", INTERVAL)
    names = sequences(root)
    command = f"{trackd} trax --model {model}"
    register(root, {"pipe": command})
    register(root, {"socket": command}, "socket = true")
    register(root, {"ours": "/bin/false", "oursbinary": "/bin/false"})
    for tracker in ("pipe", "socket"):
        fine, said = toolkit(vot, "--registry", root, "test", tracker)
        check(fine, f"vot test {tracker}" + ("" if fine else f"\n{said}"))
    # Text files from one, binary ones from the other.
    for tracker, binary in (("pipe", "0"), ("socket", "1")):
        fine, said = toolkit(vot, "evaluate", "--workspace", root, tracker, VOT_RESULTS_BINARY=binary)
        check(fine, f"vot evaluate {tracker}" + ("" if fine else f"\n{said}"))
    kinds = {path.suffix for path in (root / "results" / "socket").rglob("*_001.*")}
    check(kinds == {".bin"}, "the toolkit wrote binary results")

    # Ours evaluates the toolkit's workspace and leaves its results where the toolkit looks for them.
    for tracker, extra in (("ours", []), ("oursbinary", ["--binary", "--jobs", "2"])):
        subprocess.run([trackd, "eval", root, "--model", model, "--out", root, "--dialect", "vot-python", "--tracker",
                        tracker, "--eao-interval", "{},{}".format(*INTERVAL), *extra], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kinds = {path.suffix for path in (root / "results" / "oursbinary").rglob("*_001.*")}
    check(kinds == {".bin"}, "trackd eval wrote binary results")
    for name in names:
        reference = lines(root, "ours", name)
        for tracker in ("pipe", "socket", "oursbinary"):
            same, far = same_run(reference, lines(root, tracker, name))
            check(same and far < 0.01, f"{name}: {tracker} fails where trackd eval does ({reference.count('2')} times); "
                                       f"boxes differ by {far:.1e} px")
    trackers = ["pipe", "socket", "ours", "oursbinary"]
    official = analysis(root, trackers, vot)
    check(official["ours"]["failures"] > 0, "the tracker fails somewhere, or this would say little")
    for tracker in trackers:
        near = largest_difference(score(root, tracker, trackd, INTERVAL), official[tracker])
        check(near < 1e-6, f"vot analysis and trackd score agree on the files of {tracker} to {near:.1e}")
        near = largest_difference(official["ours"], official[tracker])
        check(near < 1e-3, f"scores of {tracker} are those of trackd eval to {near:.1e}")
    print("vot analysis:", official["pipe"])


def randomly(trackd, vot, work, seed):
    """Generated results of every kind of region, also rewritten by the toolkit in both forms."""
    kinds = [("rectangle", "rectangle", False), ("polygon", "rectangle", False), ("polygon", "polygon", True),
             ("mask", "mask", False), ("mixed", "mixed", True), ("rectangle", "mixed", True)]
    for turn, (truth, result, odd) in enumerate(kinds):
        root, interval = workspace(work / f"random{turn}", (30, 90)), (30, 90)
        generate(root, seed=seed * 1000 + turn, sequences=4, repetitions=2, truth=truth, result=result,
                 lengths=(41, 160), odd=odd)
        trackers = ["random", "text", "binary"]
        for tracker, ending in (("text", "txt"), ("binary", "bin")):
            for file in (root / "results" / "random").rglob("*_[0-9][0-9][0-9].txt"):
                target = root / "results" / tracker / file.relative_to(root / "results" / "random")
                target.parent.mkdir(parents=True, exist_ok=True)
                write_trajectory(str(target.with_suffix(f".{ending}")), read_trajectory(str(file)))
        register(root, {"text": "/bin/false", "binary": "/bin/false"})
        official = analysis(root, trackers, vot)
        for tracker in trackers:
            near = largest_difference(score(root, tracker, trackd, interval), official[tracker])
            what = f"{truth} annotated, {result} reported{', with codes' if odd else ''}"
            check(near < 2e-6, f"seed {seed}: {what} ({tracker}): scores agree to {near:.1e}")


def main():
    trackd, model, vot, work = (Path(argument).resolve() for argument in sys.argv[1:5])
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    randomly(str(trackd), str(vot), work, seed)
    drive(str(trackd), str(model), str(vot), work)
    print("official toolkit: all is well")


main()
