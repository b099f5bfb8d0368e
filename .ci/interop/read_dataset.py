"""Opens a dataset with pyarrow, polars and DuckDB and checks that all three see the same rows and pictures.

usage: read_dataset.py DATASET INSPECT_JSON     (INSPECT_JSON: output of `shards inspect DATASET --json`)
"""

import json
import pathlib
import sys

import cv2
import duckdb
import google_crc32c
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

dataset, inspect = pathlib.Path(sys.argv[1]), json.load(open(sys.argv[2]))
manifest = json.load(open(dataset / "dataset.json"))
totals = manifest["totals"]
assert totals["rows"] > 0
assert inspect["totals"] == totals, (inspect["totals"], totals)

index = pa.ipc.open_file(pa.memory_map(str(dataset / "index.arrow"))).read_all()
assert index.num_rows == totals["rows"]

pictures = 0
for number, entry in enumerate(manifest["shards"]):
    shard = pa.ipc.open_file(pa.memory_map(str(dataset / "shards" / entry["file"])))
    meta = json.loads(shard.schema.metadata[b"siamrpn.shard"])
    assert meta["shard"] == number and meta["config_hash"] == manifest["config_hash"]
    table = shard.read_all()
    assert table.num_rows == entry["rows"]
    lines = index.filter(pc.equal(index["shard"], number))
    for name in ("sample_id", "video", "track", "frame", "box_cx", "box_w"):
        assert lines[name].to_pylist() == table[name].to_pylist(), name
    for row in table.to_pylist():
        crc = google_crc32c.extend(google_crc32c.value(row["template"]), row["search"])
        assert crc == row["crc"], row["sample_id"]
        for column, side in (("template", meta["template_px"]), ("search", None)):
            picture = cv2.imdecode(np.frombuffer(row[column], np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None and picture.shape[0] == picture.shape[1]
            assert side is None or picture.shape[0] == side
            pictures += 1
    assert pl.read_ipc(dataset / "shards" / entry["file"]).height == entry["rows"]

question = "select video, count(*) as rows, round(avg(box_w), 3) as width from {} group by video order by video"
by_duckdb = duckdb.sql(question.format("index")).fetchall()
frame = pl.read_ipc(dataset / "index.arrow").with_columns(pl.col("video").cast(pl.String))
by_polars = [
    (video, rows, round(width, 3))
    for video, rows, width in frame.group_by("video")
    .agg(pl.len().alias("rows"), pl.col("box_w").cast(pl.Float64).mean().alias("width"))
    .sort("video")
    .rows()
]
assert len(by_duckdb) == totals["videos"]
for a, b in zip(by_duckdb, by_polars, strict=True):
    assert a[:2] == b[:2] and abs(a[2] - b[2]) < 2e-3, (a, b)
print(f"{dataset.name}: pyarrow, polars and DuckDB agree on {totals['rows']} rows; OpenCV decoded {pictures} pictures")
