"""Several processes that share one folder, with room for only a few entries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rlprune.cache.store import Store

MAX_BYTES = 4000
PROCESSES = 4

# Every value says by its own content whether it is whole and whose it is.
HAMMER = """
import random, sys
from pathlib import Path
from rlprune.cache.store import Store

folder, seed, max_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
store = Store(folder, max_bytes)
hits = 0
for turn in range(1500):
    key = chance.choice("abcdefgh")
    if chance.random() < 0.5:
        length = chance.randrange(1, 400)
        store.put("hammer", key, {"key": key, "length": length, "text": key * length})
    else:
        value = store.get("hammer", key)
        if value is not None:
            hits += 1
            assert value == {"key": key, "length": len(value["text"]), "text": value["text"]}
            assert value["text"] == key * value["length"]
print(hits)
"""


def test_processes_that_share_a_tiny_store_see_whole_entries_and_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", HAMMER, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [*command, str(seed), str(MAX_BYTES)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(PROCESSES)
    ]
    results = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, results
    assert sum(int(out) for out, _ in results) > 0, "nobody ever found anything"
    Store(tmp_path, MAX_BYTES).put("hammer", "last", 1)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= MAX_BYTES
