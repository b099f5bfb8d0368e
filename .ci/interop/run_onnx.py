"""Holds what ONNX Runtime makes of an exported model against what our own network answers.

Usage: run_onnx.py graphs GRAPHS OUTPUTS    graphs of `trainer export`, folder of the example `outputs`
       run_onnx.py tracks RESULT RESULT     results of `trackd track` for one video, of two engines
       run_onnx.py page GRAPHS SEQUENCE TRACKD MODEL    runs docs/models.md's example, and trackd beside it
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import cv2
import numpy as np
import onnx
import onnxruntime

# Pixels. The sums of a network of 32-bit numbers, in another order.
TOLERANCE = 1e-3


def picture(path):
    return cv2.imread(str(path)).transpose(2, 0, 1)[None].astype(np.float32)


def graphs(folder, outputs):
    for name in ("template", "search"):
        model = onnx.load(folder / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        config = json.loads({p.key: p.value for p in model.metadata_props}["siamrpn.model"])
        used = {i for node in model.graph.node for i in node.input}
        assert {t.name for t in model.graph.initializer} <= used
    assert config["channels"] == "bgr", "cv2 reads in this order"
    template, search = (onnxruntime.InferenceSession(folder / f"{n}.onnx") for n in ("template", "search"))
    kernels = template.run(["kernels_cls", "kernels_reg"], {"exemplar": picture(outputs / "exemplar.ppm")})
    feed = {"kernels_cls": kernels[0], "kernels_reg": kernels[1], "search": picture(outputs / "search.ppm")}
    scores, boxes = (found[0] for found in search.run(["scores", "boxes"], feed))
    for engine in ("burn", "native"):
        ours = {k: np.array(v) for k, v in json.loads((outputs / f"{engine}.json").read_text()).items()}
        assert scores.shape == ours["scores"].shape and boxes.shape == ours["boxes"].shape
        assert scores.std() > 0 and boxes.std() > 1, "outputs that are all the same show nothing"
        wrong = np.abs(boxes - ours["boxes"]).max(), np.abs(scores - ours["scores"]).max()
        print(f"{config['head']} against {engine}: boxes within {wrong[0]:.1e} px, scores within {wrong[1]:.1e}")
        assert wrong[0] < TOLERANCE and wrong[1] < 1e-4, wrong


def boxes_of(result):
    (text,) = pathlib.Path(result).glob("*_001.txt")
    return np.array([[float(v) for v in line.split(",")] for line in text.read_text().split()[1:]])


def tracks(one, other):
    a, b = boxes_of(one), boxes_of(other)
    engines = [json.loads((r / "result.json").read_text())["provenance"]["engine"] for r in (one, other)]
    assert f"ONNX Runtime {onnxruntime.__version__}" in engines[1] and engines[0] != engines[1], engines
    assert a.shape == b.shape and len(a) > 50 and a.std(axis=0).min() > 0, "a box that never moves shows nothing"
    wrong = np.abs(a - b).max()
    print(f"{engines[1]} against {engines[0]}: {len(a)} frames, boxes within {wrong:.1e} px")
    assert wrong < TOLERANCE, wrong


def page(folder, sequence, trackd, model):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "models.md").read_text()
    (code,) = re.findall(r"^```python onnx\n(.*?)^```$", text, flags=re.S | re.M)
    code = compile(code, "docs/models.md", "exec")
    truth = [[float(v) for v in line.split(",")] for line in (sequence / "groundtruth.txt").read_text().split()]
    frames = sorted((sequence / "color").iterdir())
    # The whole video runs; whoever compares it with ours compares decoders. Two pictures at a time, each from the annotated
    # box, leave no time for pixels that differ by a level (another JPEG decoder, another resize) to grow.
    scope = {"MODEL": folder, "FRAMES": [str(f) for f in frames], "BOX": truth[0]}
    exec(code, scope)
    assert np.isfinite(scope["found"]).all() and len(scope["found"]) == len(frames)
    wrong, moved = [], []
    for at in range(0, len(frames) - 1, 8):
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place)
            (place / "in").mkdir()
            for frame in frames[at : at + 2]:
                shutil.copy(frame, place / "in")
            scope |= {"FRAMES": [str(f) for f in frames[at : at + 2]], "BOX": truth[at]}
            exec(code, scope)
            init = ",".join(map(str, truth[at]))
            command = [trackd, "track", place / "in", "--init", init, "--model", model, "--out", place / "out"]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            (ours,), theirs = boxes_of(place / "out"), np.array(scope["found"][1])
            wrong.append(np.abs(ours - theirs).max())
            moved.append(np.abs(ours - truth[at]).max())
    print(f"docs/models.md: {len(wrong)} steps of {np.median(moved):.1f} px, {np.median(wrong):.2f} px from trackd's (medians)")
    assert len(wrong) > 10 and np.median(wrong) < np.median(moved) / 10 and np.median(moved) > 2, (wrong, moved)


{"graphs": graphs, "tracks": tracks, "page": page}[sys.argv[1]](*map(pathlib.Path, sys.argv[2:]))
