"""Times `trackd score` and `vot analysis` on the same result files, in turn, and compares what they say.
usage: scores.py TRACKD VOT [SEQUENCES REPETITIONS]"""

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / ".ci" / "interop" / "full"))
from vot_results import analysis, generate, largest_difference, score, workspace

INTERVAL = (108, 371)  # that of VOT2016


def timed(work):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = work()
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return result, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    trackd, vot = (str(Path(path).resolve()) for path in sys.argv[1:3])
    sequences, repetitions = (int(n) for n in sys.argv[3:5]) if len(sys.argv) > 3 else (60, 15)
    with tempfile.TemporaryDirectory() as folder:
        # The toolkit compiles its rasteriser on the first use and keeps it; that is not to be measured.
        warm = workspace(Path(folder) / "warm", (5, 30))
        generate(warm, seed=1, sequences=1, repetitions=1, lengths=(60, 61))
        analysis(warm, ["random"], vot)
        root = workspace(Path(folder) / "workspace", INTERVAL)
        generate(root, seed=2016, sequences=sequences, repetitions=repetitions)
        files = sorted((root / "results").rglob("*_[0-9][0-9][0-9].txt"))
        frames = sum(file.read_bytes().count(b"\n") for file in files)
        print(json.dumps(dict(sequences=sequences, repetitions=repetitions, frames=frames, load=os.getloadavg()[0])))

        ours, theirs, turns = [], [], 3
        for turn in range(turns):
            mine, seconds, processor = timed(lambda: score(root, "random", trackd, INTERVAL))
            ours.append((seconds, processor))
            # The analysis of the toolkit takes long: once, without what it may have kept.
            if turn == 0:
                shutil.rmtree(root / "cache", ignore_errors=True)
                official, seconds, processor = timed(lambda: analysis(root, ["random"], vot))
                theirs.append((seconds, processor))
        difference = largest_difference(mine, official["random"])
        for name, runs in (("trackd score", ours), ("vot analysis", theirs)):
            seconds, processor = sorted(runs)[len(runs) // 2]
            print(json.dumps(dict(program=name, seconds=round(seconds, 3), processor_seconds=round(processor, 3),
                                  runs=len(runs))))
        ratio = theirs[0][0] / sorted(ours)[turns // 2][0]
        print(json.dumps(dict(ratio=round(ratio, 1), largest_difference=difference, load=os.getloadavg()[0])))
        if difference > 1e-6:
            sys.exit("the scores differ")
        if ratio < 20:
            sys.exit("less than 20 times as fast")


main()
