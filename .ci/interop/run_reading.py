"""Runs the code blocks of docs/reading.md against a dataset, in order, in one namespace.

Usage: run_reading.py DATASET NAME...; a block's name is the word after ```python.
"""

import os
import pathlib
import re
import sys
import tempfile

dataset, names = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
page = (pathlib.Path(__file__).parents[2] / "docs" / "reading.md").read_text()
blocks = re.findall(r"^```python (\w+)\n(.*?)^```$", page, flags=re.S | re.M)
found = [name for name, _ in blocks]
assert found == ["pyarrow", "pictures", "polars", "duckdb", "torch"], found
assert set(names) <= set(found) and names, names

scope = {"__name__": "__main__", "DATASET": str(dataset)}
with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    for name, code in blocks:
        if name in names:
            print(f"-- {name}", flush=True)
            exec(compile(code, f"docs/reading.md, block {name}", "exec"), scope)
    left = {path.name: path.read_bytes() for path in pathlib.Path().iterdir()}
    os.chdir("/")

# What the page says must be true of this dataset.
totals = scope["manifest"]["totals"]
if "pyarrow" in names:
    assert scope["index"].num_rows == totals["rows"] > 0
if "pictures" in names:
    assert left["search.jpg"][:2] == left["template.jpg"][:2] == b"\xff\xd8"
if "polars" in names:
    assert scope["tracks"].height == totals["tracks"] and scope["tracks"]["rows"].sum() == totals["rows"]
if "duckdb" in names:
    rows = scope["rows"]
    count, pictures = scope["duckdb"].sql("SELECT count(*), sum(octet_length(search)) FROM rows").fetchall()[0]
    assert count == totals["rows"] and pictures > 100 * count, (count, pictures)
if "torch" in names:
    side = scope["manifest"]["sources"][0]["search_px"]
    assert tuple(scope["searches"].shape) == (16, 3, side, side), scope["searches"].shape
    pairs = scope["Pairs"](str(dataset))
    seen = sum(1 for _ in pairs)
    assert seen == totals["rows"], seen
    shared = [sum(1 for _ in scope["Pairs"](str(dataset), rank=r, world=2)) for r in range(2)]
    assert sum(shared) == totals["rows"], shared
print(f"docs/reading.md: {', '.join(names)} ran against {dataset.name}")
