"""aster-vec on the trace of churn.mjs: `aster_churn.py <task>`, a line of JSON for each look. M 16, efConstruction 128."""

import json
import os
import sys
import time

import astervec
import numpy as np

task = json.loads(sys.argv[1])
folder, dim, k, ef = task["folder"], task["dim"], task["k"], task["ef"]
base = np.fromfile(f"{folder}/base", np.float32).reshape(-1, dim)
queries = np.fromfile(f"{folder}/queries", np.float32).reshape(-1, dim)
trace = np.fromfile(f"{task['trace']}/trace", np.uint32).tolist()
truths = np.fromfile(f"{task['trace']}/truth", np.uint32).reshape(-1, len(queries), k)


def own_memory():
    with open("/proc/self/status") as lines:
        fields = dict(line.split(":", 1) for line in lines)
    return int(fields["RssAnon"].split()[0]) * 1024


def disk():
    found = (os.path.join(at, name) for at, _, names in os.walk(task["place"]) for name in names)
    return sum(os.path.getsize(file) for file in found if os.path.exists(file))


def options(reinit):
    made = astervec.AsterVecDBOptions()
    made.dim = dim
    made.metric = astervec.L2
    made.m = 16
    made.m_max = 32
    made.ef_construction = 128
    made.vec_file_capacity = len(base) * 4
    made.reinit = reinit
    return made


os.makedirs(task["place"], exist_ok=True)
before = own_memory()
db = astervec.AsterVecDB.open(task["place"], options(True))
looks = iter(truths)
at, epoch, live = 0, 0, 0


def rows():
    global at
    count = trace[at]
    at += 1 + count
    return trace[at - count : at]


while at < len(trace):
    gone, come = rows(), rows()
    for row in gone:
        db.delete(row)
    for row in come:
        db.insert(row, base[row])
    live += len(come) - len(gone)
    if epoch % 10 == 0:
        # Opened anew, as ours is: what its caches hold then is what its searches need.
        db.close()
        db = astervec.AsterVecDB.open(task["place"], options(False))
        truth, best = next(looks), float("inf")
        for _ in range(5):
            found, failed, began = 0, 0, time.perf_counter()
            for query, wanted in zip(queries, truth):
                try:
                    hits = db.search_knn(query, k=k, ef_search=ef)
                except Exception:
                    failed += 1
                    continue
                found += len({hit.id for hit in hits} & set(map(int, wanted)))
            best = min(best, (time.perf_counter() - began) / len(queries) * 1e6)
        line = {
            "epoch": epoch,
            "rows": live,
            "recall": found / truth.size,
            "us": best,
            "memory": max(0, own_memory() - before),
            "disk": disk(),
            "failed": failed,
        }
        print("look " + json.dumps(line), flush=True)
    epoch += 1
db.close()
