"""Compares training with PyTorch's on the same batches; run by the script `torch` beside this file.

usage: torch_parity.py PARITY WORK    (PARITY: the example program of trainer; WORK: a folder with data/ and start.safetensors)

The network and the losses are those of siamrpn/tests/fixtures/make_network.py, at full width. Our side has written its
batches, outputs, gradients and its weights after every step; here PyTorch starts from the same weights and goes its own
way, in 32 bits and in 64. Bounds are on the distance to its 64 bits, which no rounding blurs; how far its own 32 bits
are from those stands beside it.
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
    ("depthwise", "reference", 3),
    ("depthwise", "pysot", 3),
    ("depthwise", "reference", 0),
]
# With nothing frozen, rounding grows from step to step in every program: there the bound is this many times the distance
# of PyTorch's own 32 bits, where that is larger than the bound.
SLACK = 2.0
LOW = {"bf16": torch.bfloat16, "f16": torch.float16}

VALUES = ("loss", "classification", "regression", "gradient norm")

# Bounds of our distance to PyTorch's 64 bits (of the last, to its 32 bits).
BOUND_OUTPUT = 1e-5
BOUND_LOSS = 1e-5
BOUND_GRADIENT = 3e-5
BOUND_WEIGHTS = 3e-6
BOUND_CHANGE = 3e-4
BOUND_STATISTICS = 3e-6
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


def relative(found, expected):
    return abs(found / expected - 1)


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

    def without_trace(self, batch, dtype=None):
        """Outputs and losses in training mode, convolutions in `dtype`; statistics stay as they were."""
        before = {k: v.clone() for k, v in self.net.state_dict().items()}
        with torch.no_grad(), lowered(dtype) if dtype else contextlib.nullcontext():
            outputs, losses = self.forward(batch)
        self.net.load_state_dict(before)
        return outputs, [v.item() for v in losses]

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
    name = f"{head}, {loss}" + ("" if frozen else ", nothing frozen")

    def within(bound, theirs):
        return bound if frozen else max(bound, SLACK * theirs)

    rows = {k: [] for k in ("output", "loss", "gradient", "step", "low")}
    batch = load_file(out / "batch-0.safetensors")

    def compare(kind, what, measure, found, single, double, bound, *more):
        """A row: ours to PyTorch in 32 bits, ours to 64, PyTorch's 32 to 64."""
        theirs = measure(single, double)
        gap = check(f"{name}, {what}", measure(found, double), within(bound, theirs))
        rows[kind].append([name, what, *more, f"{measure(found, single):.1e}", gap, f"{theirs:.1e}"])

    single, double = (s.inference(batch) for s in sides)
    for i, what in enumerate(("cls", "reg")):
        compare("output", f"inference, {what}", largest, first[f"eval.{what}"], single[i], double[i], BOUND_OUTPUT)
    for low, dtype in LOW.items():
        outputs, losses = sides[0].without_trace(batch, dtype)
        exact, exact_losses = sides[0].without_trace(batch)
        row = [name, low]
        for i, what in enumerate(("cls", "reg")):
            gap = check(f"{name}, {low}, {what}", largest(first[f"{low}.{what}"], exact[i]), BOUND_LOW[low])
            row += [gap, f"{largest(outputs[i], exact[i]):.1e}"]
        gap = check(f"{name}, {low}, loss", relative(values["first"][low]["loss"], exact_losses[0]), BOUND_LOW[low])
        rows["low"].append([*row, gap, f"{relative(losses[0], exact_losses[0]):.1e}"])

    for step in range(1, STEPS + 1):
        batch = load_file(out / f"batch-{step - 1}.safetensors")
        single, double = (s.step(batch) for s in sides)
        ours = values["steps"][step - 1]
        if not ours["taken"]:
            failures.append(f"{name}: our step {step} was not taken")
        if step == 1:
            for i, what in enumerate(("cls", "reg")):
                found = first[f"fp32.{what}"]
                compare("output", f"training, {what}", largest, found, single[0][i], double[0][i], BOUND_OUTPUT)
            for key, what, a, b in zip(("loss", "cls", "reg", "grad_norm"), VALUES, single[1], double[1]):
                shown = [f"{v:.6f}" for v in (ours[key], a, b)]
                compare("loss", what, relative, ours[key], a, b, BOUND_LOSS, *shown)
            grads = {k.removeprefix("grad."): v for k, v in first.items() if k.startswith("grad.")}
            if set(grads) != set(single[2]):
                failures.append(f"{name}: gradients of other parameters: {set(grads) ^ set(single[2])}")
            for layer, names in layers(single[2]).items():
                found, a, b = ({n: g[n] for n in names} for g in (grads, single[2], double[2]))
                compare("gradient", layer, distance, found, a, b, BOUND_GRADIENT, f"{norm(b):.2e}")
        after = load_file(out / f"step-{step}.safetensors")
        weights, exact = (s.weights() for s in sides)
        change = {n: w - start[n] for n, w in exact.items()}
        single_statistics, statistics = (s.statistics() for s in sides)
        gaps = []
        for what, theirs, expected, scale, bound in (
            ("weights", weights, exact, exact, BOUND_WEIGHTS),
            ("change", weights, exact, change, BOUND_CHANGE),
            ("statistics", single_statistics, statistics, statistics, BOUND_STATISTICS),
        ):
            theirs = distance(theirs, expected, scale)
            found = distance(after, expected, scale)
            gaps += [check(f"{name}, step {step}, {what}", found, within(bound, theirs)), f"{theirs:.1e}"]
        untouched = set(start) - set(weights) - set(statistics)
        if any(not torch.equal(after[n], start[n]) for n in untouched):
            failures.append(f"{name}: step {step} changed a frozen weight")
        losses = [f"{v:.5f}" for v in (ours["loss"], single[1][0], double[1][0])]
        rows["step"].append([name, step, *losses, *gaps])
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
    gaps = ["ours to PyTorch", "ours to 64 bits", "PyTorch to 64 bits"]
    print(f"### Outputs (bound {BOUND_OUTPUT:.0e})\n")
    table(["case", "output", *gaps], rows["output"])
    print(f"### Losses of the first batch (bound {BOUND_LOSS:.0e})\n")
    table(["case", "", "ours", "PyTorch", "PyTorch, 64 bits", *gaps], rows["loss"])
    print(f"### Gradients per layer (bound {BOUND_GRADIENT:.0e})\n")
    table(["case", "layer", "norm", *gaps], rows["gradient"])
    bounds = f"weights {BOUND_WEIGHTS:.0e}, change {BOUND_CHANGE:.0e}, statistics {BOUND_STATISTICS:.0e}"
    print(f"### Ten steps, to 64 bits (bounds: {bounds})\n")
    head = ["case", "step", "loss, ours", "loss, PyTorch", "loss, 64 bits"]
    gaps = [f"{what}, {whose}" for what in ("weights", "change", "statistics") for whose in ("ours", "PyTorch")]
    table([*head, *gaps], rows["step"])
    bounds = ", ".join(f"{k} {v:.0e}" for k, v in BOUND_LOW.items())
    print(f"### Low precision, to PyTorch's 32 bits (bounds: {bounds})\n")
    head = ["case", "", "cls, ours", "cls, PyTorch", "reg, ours", "reg, PyTorch", "loss, ours", "loss, PyTorch"]
    table(head, rows["low"])
    for failure in failures:
        print(f"torch: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
