"""One run of aster-vec's bulk build for bulk.mjs: `aster.py <task>`. M 16, efConstruction 128."""

import json
import sys
import time

import astervec
import numpy as np

task = json.loads(sys.argv[1])
folder, dim, k = task["folder"], task["dim"], task["k"]
base = np.fromfile(f"{folder}/base", np.float32).reshape(-1, dim)
queries = np.fromfile(f"{folder}/queries", np.float32).reshape(-1, dim)
truth = np.fromfile(f"{folder}/truth", np.int32).reshape(-1, k)

options = astervec.AsterVecDBOptions()
options.dim = dim
options.metric = astervec.Cosine if task["metric"] == "cosine" else astervec.L2
options.m = 16
options.m_max = 32
options.ef_construction = 128
options.vec_file_capacity = len(base)
db = astervec.AsterVecDB.open(task["place"], options)
began = time.perf_counter()
db.bulk_build(base, threads=task["threads"])
ms = (time.perf_counter() - began) * 1000
recall = {}
for ef in task["efs"]:
    found = sum(
        len({hit.id for hit in db.search_knn(query, k=k, ef_search=ef)} & set(map(int, wanted)))
        for query, wanted in zip(queries, truth)
    )
    recall[str(ef)] = found / truth.size
print()
print(json.dumps({"ms": ms, "recall": recall}))
sys.stdout.flush()
