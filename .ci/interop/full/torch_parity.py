"""Compares training with PyTorch's on the same batches; run by the script `torch` beside this file.

usage: torch_parity.py PARITY WORK    (PARITY: the example program of trainer; WORK: a folder with data/ and start.safetensors)

The network and the losses are those of siamrpn/tests/fixtures/make_network.py, at full width. Our side has written its
batches, outputs, gradients and its weights after every step; here PyTorch starts from the same weights and goes its own
way, in 32 bits and in 64. The distance of PyTorch's two runs is the yardstick: two correct 32-bit programs differ by
about as much.
"""

import contextlib
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "siamrpn" / "tests" / "fixtures"))
import make_network as network  # noqa: E402

PARITY, WORK = sys.argv[1], pathlib.Path(sys.argv[2])
STEPS, BATCH, LR, CLIP, DECAY, MOMENTUM = 10, 4, 0.01, 10.0, 5e-4, 0.9
WEIGHTS = {"reference": 5.0, "pysot": 1.2}
# Head, loss, leading convolutions that stay frozen.
CASES = [
    ("up-channel", "reference", 3),
    ("up-channel", "pysot", 3),
    ("depthwise", "reference", 0),
    ("depthwise", "pysot", 3),
]
LOW = {"bf16": torch.bfloat16, "f16": torch.float16}

# Bounds of what is printed, each about five times what was seen.
BOUND_OUTPUT = 1e-5
BOUND_LOSS = 1e-5
BOUND_GRADIENT = 1e-4
BOUND_CHANGE = {step: 1e-4 * step for step in range(1, STEPS + 1)}
BOUND_STATISTICS = 1e-4
BOUND_LOW = {"bf16": 0.05, "f16": 0.01}

failures = []


def check(what, value, bound):
    """Notes a value that is over its bound (or no number); gives its text."""
    good = bool(value <= bound)
    if not good:
        failures.append(f"{what}: {value:.2e} is over {bound:.0e}")
    return f"{value:.1e}" if good else f"**{value:.1e}**"


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(c) for c in row) + " |")
    print(flush=True)


def largest(found, expected):
    """Largest difference, relative to the largest expected value."""
    found, expected = found.double(), expected.double()
    return ((found - expected).abs().max() / expected.abs().max()).item()


def norm(tensors):
    return sum((t.double() ** 2).sum() for t in tensors.values()).sqrt().item()


def distance(found, expected, scale=None):
    """L2 distance of all tensors together, relative to the norm of `scale` (or of what is expected)."""
    gap = {k: found[k].double() - expected[k].double() for k in expected}
    return norm(gap) / norm(scale or expected)


@contextlib.contextmanager
def lowered(dtype):
    """Convolutions and correlations round their operands and results to `dtype`; everything else stays as it is."""
    exact = F.conv2d

    def conv2d(x, weight, bias=None, *args, **kwargs):
        x, weight, bias = (None if t is None else t.to(dtype).float() for t in (x, weight, bias))
        return exact(x, weight, bias, *args, **kwargs).to(dtype).float()

    F.conv2d = conv2d
    try:
        yield
    finally:
        F.conv2d = exact


class Side:
    """A network of PyTorch in one precision, started from our weights."""

    def __init__(self, head, loss, frozen, start, dtype):
        self.dtype, self.loss_of = dtype, network.LOSSES[loss]
        self.net = network.Network(head).to(dtype)
        state = {k: v.to(dtype) for k, v in start.items()}
        result = self.net.load_state_dict(state, strict=False)
        if result.unexpected_keys or not all(k.endswith("num_batches_tracked") for k in result.missing_keys):
            raise SystemExit(f"the networks differ: {result}")
        if frozen == 3:
            self.net.reference_train_mode()
        else:
            self.net.train()
        self.optimiser = torch.optim.SGD(self.net.trained().values(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)

    def inputs(self, batch):
        """Planes in BGR order as floats, labels and deltas as maps."""
        planes = [batch[k].permute(0, 3, 1, 2).flip(1).to(self.dtype) for k in ("template", "search")]
        b, n = batch["labels"].shape
        size = int(round((n // network.ANCHORS) ** 0.5))
        label = batch["labels"].reshape(b, network.ANCHORS, size, size)
        delta = batch["deltas"].reshape(b, 4, network.ANCHORS, size, size).to(self.dtype)
        return planes, label, delta

    def forward(self, batch):
        planes, label, delta = self.inputs(batch)
        cls, reg = self.net(*planes)
        return (cls, reg), self.loss_of(cls, reg, label, delta)

    def inference(self, batch):
        modes = {m: m.training for m in self.net.modules()}
        self.net.eval()
        with torch.no_grad():
            outputs = self.net(*self.inputs(batch)[0])
        for m, mode in modes.items():
            m.training = mode
        return outputs

    def low(self, batch, dtype):
        """Outputs and losses with convolutions in `dtype`; the statistics stay."""
        before = {k: v.clone() for k, v in self.net.state_dict().items()}
        with torch.no_grad(), lowered(dtype):
            result = self.forward(batch)
        self.net.load_state_dict(before)
        return result

    def step(self, batch):
        self.optimiser.zero_grad()
        outputs, losses = self.forward(batch)
        losses[0].backward()
        grads = {n: p.grad.clone() for n, p in self.net.trained().items()}
        total = torch.nn.utils.clip_grad_norm_(self.net.trained().values(), CLIP)
        self.optimiser.step()
        return [o.detach() for o in outputs], [v.item() for v in losses] + [total.item()], grads

    def weights(self):
        return {n: p.detach().clone() for n, p in self.net.trained().items()}

    def statistics(self):
        return {n: b.clone() for n, b in self.net.statistics().items()}


def layers(grads):
    """Gradients by layer, in order."""
    by_layer = {}
    for name in sorted(grads):
        by_layer.setdefault(name.rpartition(".")[0], []).append(name)
    return by_layer


def case(head, loss, frozen):
    """Runs both sides; returns rows of the tables."""
    out = WORK / "case"
    keys = [
        f"run.init_from={WORK / 'start.safetensors'}", f"run.batch={BATCH}", f"model.head={head}",
        f"loss.kind={loss}", f"loss.reg_weight={WEIGHTS[loss]}", f"optim.lr_start={LR}", f"optim.clip_norm={CLIP}",
        f"optim.weight_decay={DECAY}", f"optim.momentum={MOMENTUM}", f"optim.frozen_convs={frozen}",
    ]  # fmt: skip
    subprocess.run([PARITY, WORK / "data", out, str(STEPS), *keys], check=True)
    values = json.loads((out / "values.json").read_text())
    widths = values["config"]["model"]["trunk"]["widths"]
    network.WIDTHS, network.HEAD_WIDTH = tuple(widths), widths[-1]
    start, first = load_file(out / "start.safetensors"), load_file(out / "first.safetensors")
    sides = [Side(head, loss, frozen, start, dtype) for dtype in (torch.float32, torch.float64)]
    name = f"{head}, {loss}"
    rows = {k: [] for k in ("output", "loss", "gradient", "step", "low")}
    batch = load_file(out / "batch-0.safetensors")

    single, double = (s.inference(batch) for s in sides)
    for i, what in enumerate(("cls", "reg")):
        ours = first[f"eval.{what}"]
        gap = check(f"{name}, inference, {what}", largest(ours, single[i]), BOUND_OUTPUT)
        rows["output"].append([name, f"inference, {what}", gap, f"{largest(single[i], double[i]):.1e}"])
    for low, dtype in LOW.items():
        outputs, losses = sides[0].low(batch, dtype)
        with torch.no_grad():
            exact, exact_loss = sides[0].forward(batch)
        sides[0].net.load_state_dict({k: v for k, v in start.items()}, strict=False)
        ours, ours_loss = [first[f"{low}.{w}"] for w in ("cls", "reg")], values["first"][low]["loss"]
        row = [name, low]
        for i, what in enumerate(("cls", "reg")):
            gap = check(f"{name}, {low}, {what}", largest(ours[i], exact[i]), BOUND_LOW[low])
            row += [gap, f"{largest(outputs[i], exact[i]):.1e}"]
        gap = check(f"{name}, {low}, loss", abs(ours_loss / exact_loss[0].item() - 1), BOUND_LOW[low])
        rows["low"].append([*row, gap, f"{abs(losses[0].item() / exact_loss[0].item() - 1):.1e}"])

    for step in range(1, STEPS + 1):
        batch = load_file(out / f"batch-{step - 1}.safetensors")
        single, double = (s.step(batch) for s in sides)
        ours = values["steps"][step - 1]
        ours_all = [ours[k] for k in ("loss", "cls", "reg", "grad_norm")]
        if not ours["taken"]:
            failures.append(f"{name}: our step {step} was not taken")
        if step == 1:
            for i, what in enumerate(("cls", "reg")):
                gap = check(f"{name}, training, {what}", largest(first[f"fp32.{what}"], single[0][i]), BOUND_OUTPUT)
                rows["output"].append([name, f"training, {what}", gap, f"{largest(single[0][i], double[0][i]):.1e}"])
            for what, mine, theirs, exact in zip(("loss", "cls", "reg", "gradient norm"), ours_all, single[1], double[1]):
                gap = check(f"{name}, {what}", abs(mine / theirs - 1), BOUND_LOSS)
                rows["loss"].append([name, what, f"{mine:.6f}", f"{theirs:.6f}", gap, f"{abs(theirs / exact - 1):.1e}"])
            grads = {k.removeprefix("grad."): v for k, v in first.items() if k.startswith("grad.")}
            if set(grads) != set(single[2]):
                failures.append(f"{name}: gradients of other parameters: {set(grads) ^ set(single[2])}")
            for layer, names in layers(single[2]).items():
                mine, theirs, exact = ({n: g[n] for n in names} for g in (grads, single[2], double[2]))
                gap = check(f"{name}, gradient of {layer}", distance(mine, theirs), BOUND_GRADIENT)
                rows["gradient"].append([name, layer, f"{norm(theirs):.2e}", gap, f"{distance(theirs, exact):.1e}"])
        after = load_file(out / f"step-{step}.safetensors")
        weights, exact = (s.weights() for s in sides)
        change = {n: w - start[n] for n, w in weights.items()}
        gap = check(f"{name}, step {step}, change", distance(after, weights, change), BOUND_CHANGE[step])
        statistics = check(
            f"{name}, step {step}, statistics", distance(after, sides[0].statistics()), BOUND_STATISTICS
        )
        untouched = set(start) - set(weights) - set(sides[0].statistics())
        if any(not torch.equal(after[n], start[n]) for n in untouched):
            failures.append(f"{name}: step {step} changed a frozen weight")
        rows["step"].append(
            [name, step, f"{ours['loss']:.5f}", f"{single[1][0]:.5f}", f"{distance(after, weights):.1e}", gap,
             f"{distance(weights, exact, change):.1e}", statistics]
        )  # fmt: skip
    shutil.rmtree(out)
    return rows


def main():
    torch.manual_seed(0)
    print(f"PyTorch {torch.__version__}, NumPy {np.__version__}, {torch.get_num_threads()} threads, CPU.\n")
    rows = {}
    for head, loss, frozen in CASES:
        print(f"{head}, {loss} ...", file=sys.stderr, flush=True)
        for k, v in case(head, loss, frozen).items():
            rows.setdefault(k, []).extend(v)
    pytorch = "PyTorch, 32 to 64 bits"
    print(f"### Outputs (bound {BOUND_OUTPUT:.0e})\n")
    table(["case", "output", "ours to PyTorch", pytorch], rows["output"])
    print(f"### Losses of the first batch (bound {BOUND_LOSS:.0e})\n")
    table(["case", "", "ours", "PyTorch", "ours to PyTorch", pytorch], rows["loss"])
    print(f"### Gradients per layer (bound {BOUND_GRADIENT:.0e})\n")
    table(["case", "layer", "norm", "ours to PyTorch", pytorch], rows["gradient"])
    last = BOUND_CHANGE[STEPS]
    print(f"### Ten steps (bounds: change {BOUND_CHANGE[1]:.0e} times the step, {last:.0e} at the last; statistics {BOUND_STATISTICS:.0e})\n")
    head = ["case", "step", "loss, ours", "loss, PyTorch", "weights", "their change", f"their change, {pytorch}", "statistics"]
    table(head, rows["step"])
    bounds = ", ".join(f"{k} {v:.0e}" for k, v in BOUND_LOW.items())
    print(f"### Low precision against PyTorch's 32 bits (bounds: {bounds})\n")
    head = ["case", "", "cls, ours", "cls, PyTorch", "reg, ours", "reg, PyTorch", "loss, ours", "loss, PyTorch"]
    table(head, rows["low"])
    for failure in failures:
        print(f"torch: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
