"""Time of a search frame and of a training step of the same network in PyTorch on the CPU, of a search frame in ONNX
Runtime too.

usage: network_torch.py --head up-channel|depthwise --widths reference|narrow --threads N --batch B [--search-only]
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time

import onnxruntime
import torch
import torch.nn as nn
import torch.nn.functional as F

options = argparse.ArgumentParser()
options.add_argument("--head", choices=["up-channel", "depthwise"], default="depthwise")
options.add_argument("--widths", choices=["reference", "narrow"], default="narrow")
options.add_argument("--threads", type=int, default=2)
options.add_argument("--batch", type=int, default=8)
options.add_argument("--search-only", action="store_true")
args = options.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(0)
WIDTHS = {"reference": [96, 256, 384, 384, 256], "narrow": [64, 192, 384, 256, 256]}[args.widths]


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        channels = [3, *WIDTHS]
        shape = [(11, 2), (5, 1), (3, 1), (3, 1), (3, 1)]
        self.convs = nn.ModuleList(nn.Conv2d(channels[i], channels[i + 1], k, s) for i, (k, s) in enumerate(shape))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in WIDTHS)

    def forward(self, x):
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = norm(conv(x))
            if i < 4:
                x = F.relu(x)
            if i < 2:
                x = F.max_pool2d(x, 3, 2)
            if i == 2 and self.training:
                x = x.detach()
        return x


def grouped(x, kernel, groups):
    """Correlates each sample of x with its own kernels."""
    batch = x.shape[0]
    out = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel.reshape(-1, kernel.shape[-3] if groups is None else 1, *kernel.shape[-2:]), groups=batch if groups is None else batch * groups)
    return out.reshape(batch, -1, *out.shape[2:])


class UpChannel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.template = nn.ModuleList([nn.Conv2d(c, 10 * c, 3), nn.Conv2d(c, 20 * c, 3)])
        self.search = nn.ModuleList([nn.Conv2d(c, c, 3), nn.Conv2d(c, c, 3)])
        self.adjust = nn.Conv2d(20, 20, 1)
        self.c = c

    def kernels(self, z):
        return [t(z).reshape(z.shape[0], -1, self.c, 4, 4) for t in self.template]

    def track(self, kernels, x):
        cls, reg = (grouped(s(x), k, None) for s, k in zip(self.search, kernels))
        return cls, self.adjust(reg)


class Depthwise(nn.Module):
    def __init__(self, c):
        super().__init__()
        block = lambda k: nn.Sequential(nn.Conv2d(c, c, k, bias=False), nn.BatchNorm2d(c), nn.ReLU())
        self.kernel = nn.ModuleList([block(3), block(3)])
        self.search = nn.ModuleList([block(3), block(3)])
        self.head = nn.ModuleList([nn.Sequential(block(1), nn.Conv2d(c, o, 1)) for o in (10, 20)])
        self.c = c

    def kernels(self, z):
        return [k(z) for k in self.kernel]

    def track(self, kernels, x):
        return [h(grouped(s(x), k, self.c)) for s, k, h in zip(self.search, kernels, self.head)]


trunk = Trunk()
head = (UpChannel if args.head == "up-channel" else Depthwise)(WIDTHS[4])


def times(work, seconds=8.0):
    for _ in range(2):
        work()
    out, started, cpu = [], time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds or len(out) < 3:
        t = time.perf_counter()
        work()
        out.append(1000 * (time.perf_counter() - t))
    cpu = 1000 * (time.process_time() - cpu) / len(out)
    return {"min_ms": round(min(out), 1), "median_ms": round(statistics.median(out), 1), "cpu_ms": round(cpu, 1)}


def report(what, peer=f"PyTorch {torch.__version__}", **found):
    name = f"{peer}, {args.threads} threads"
    print(json.dumps({"what": what, "peer": name, "head": args.head, "widths": args.widths, **found}), flush=True)


trunk.eval(), head.eval()
with torch.inference_mode():
    kernels = head.kernels(trunk(torch.rand(1, 3, 127, 127) * 255))
    for side in (255, 271):
        x = torch.rand(1, 3, side, side) * 255
        report("search frame", search_px=side, **times(lambda: head.track(kernels, trunk(x))))



class Search(nn.Module):
    """A search frame, the template's kernels being constants."""

    def __init__(self, kernels):
        super().__init__()
        self.trunk, self.head, self.kernels = trunk, head, kernels
        self.eval()

    def forward(self, x):
        return tuple(self.head.track(self.kernels, self.trunk(x)))


with torch.inference_mode(False), torch.no_grad():
    kernels = [k.detach().clone() for k in head.kernels(trunk(torch.rand(1, 3, 127, 127) * 255))]
    for side in (255, 271):
        x = torch.rand(1, 3, side, side) * 255
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(Search(kernels), (x,), f"{place}/net.onnx", verbose=False)
            settings = onnxruntime.SessionOptions()
            settings.intra_op_num_threads = args.threads
            session = onnxruntime.InferenceSession(f"{place}/net.onnx", settings, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x.numpy()}
        runtime = f"ONNX Runtime {onnxruntime.__version__}"
        report("search frame", runtime, search_px=side, **times(lambda: session.run(None, feed)))
if args.search_only:
    raise SystemExit

trunk.train(), head.train()
trained = [p for i in (3, 4) for p in (*trunk.convs[i].parameters(), *trunk.norms[i].parameters())] + list(head.parameters())
for i in range(3):
    trunk.norms[i].eval()
    for p in (*trunk.convs[i].parameters(), *trunk.norms[i].parameters()):
        p.requires_grad_(False)
sgd = torch.optim.SGD(trained, lr=1e-5, momentum=0.9, weight_decay=5e-4)
z, x = torch.rand(args.batch, 3, 127, 127) * 255, torch.rand(args.batch, 3, 255, 255) * 255


def step():
    sgd.zero_grad()
    cls, reg = head.track(head.kernels(trunk(z)), trunk(x))
    (cls.square().mean() + reg.square().mean()).backward()
    torch.nn.utils.clip_grad_norm_(trained, 10.0)
    sgd.step()


report("training step, three convolutions frozen", search_px=255, batch=args.batch, **times(step, 15.0))
