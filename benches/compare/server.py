"""One system in a process of its own: `server.py <task>`. Commands come as lines of JSON on standard input, answers go as
such to file descriptor 3. M 16, efConstruction 128; one thread but where a whole index is built."""

import gc
import json
import os
import sys
import time

import numpy as np

task = json.loads(sys.argv[1])
dim, k, metric, threads = task["dim"], task["k"], task["metric"], task["threads"]
options = task["options"]


def numbers(name):
    return np.fromfile(f"{task['data']}/{name}", np.float32).reshape(-1, dim)


def resident():
    with open("/proc/self/status") as lines:
        fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[key].split()[0]) * 1024 for name, key in (("rss", "VmRSS"), ("anon", "RssAnon"))}


class Aster:
    """aster-vec. Its caches hold everything unless the task says how large they are."""

    def __init__(self):
        import astervec

        self.lib = astervec
        self.path = f"{task['place']}/aster"

    def settings(self, fresh):
        made = self.lib.AsterVecDBOptions()
        made.dim = dim
        made.metric = self.lib.Cosine if metric == "cosine" else self.lib.L2
        made.m, made.m_max, made.ef_construction = 16, 32, 128
        made.vec_file_capacity = task["rows"]
        made.reinit = fresh
        made.edge_cache_size = max(task["rows"], 1000)
        made.paged_max_cached_pages = 1 << 20
        for name, value in options.get("caches", {}).items():
            setattr(made, name, value)
        return made

    def create(self, base):
        os.makedirs(self.path, exist_ok=True)
        self.base = base
        self.db = self.lib.AsterVecDB.open(self.path, self.settings(True))

    def build(self, base):
        self.create(base)
        began = time.perf_counter()
        self.db.bulk_build(base, threads=threads)
        seconds = time.perf_counter() - began
        self.db.close()
        return seconds

    def open(self):
        self.db = self.lib.AsterVecDB.open(self.path, self.settings(False))

    def query(self, row):
        return row

    def set(self, setting):
        self.ef = setting["ef"]

    def search(self, query):
        return self.db.search_knn(query, k=k, ef_search=self.ef)

    def ids(self, hits):
        return [hit.id for hit in hits]

    def insert(self, at, count):
        rows = self.base[at : at + count]
        began = time.perf_counter()
        for i in range(count):
            self.db.insert(at + i, rows[i])
        return time.perf_counter() - began

    def close(self):
        self.db.close()


class Faiss:
    """faiss: HNSW over whole vectors, or over 8-bit codes with the best measured again. Cosine: rows of length one."""

    def __init__(self):
        import faiss

        self.lib = faiss
        self.file = f"{task['place']}/faiss"
        self.codes = options.get("codes", False)

    def graph(self):
        return self.lib.downcast_index(self.index.base_index) if self.codes else self.index

    def query(self, row):
        row = row.reshape(1, -1).copy()
        if metric == "cosine":
            self.lib.normalize_L2(row)
        return row

    def create(self, base):
        self.lib.omp_set_num_threads(1)
        self.base = base.copy()
        if metric == "cosine":
            self.lib.normalize_L2(self.base)
        if self.codes:
            coded = self.lib.IndexHNSWSQ(dim, self.lib.ScalarQuantizer.QT_8bit, 16)
            coded.train(self.base[:20_000])
            self.kept = coded
            self.index = self.lib.IndexRefineFlat(coded)
        else:
            self.index = self.lib.IndexHNSWFlat(dim, 16)
        self.graph().hnsw.efConstruction = 128

    def build(self, base):
        self.create(base)
        self.lib.omp_set_num_threads(threads)
        began = time.perf_counter()
        self.index.add(self.base)
        seconds = time.perf_counter() - began
        self.lib.write_index(self.index, self.file)
        return seconds

    def open(self):
        self.lib.omp_set_num_threads(1)
        self.index = self.lib.read_index(self.file)

    def set(self, setting):
        self.graph().hnsw.efSearch = setting["ef"]
        if self.codes:
            self.index.k_factor = setting.get("refine", 2)

    def search(self, query):
        return self.index.search(query, k)[1]

    def ids(self, hits):
        return [int(row) for row in hits[0] if row >= 0]

    def insert(self, at, count):
        rows = self.base[at : at + count]
        began = time.perf_counter()
        self.index.add(rows)
        return time.perf_counter() - began

    def close(self):
        pass


class Hnswlib:
    """hnswlib."""

    def __init__(self):
        import hnswlib

        self.lib = hnswlib
        self.file = f"{task['place']}/hnswlib"

    def made(self):
        return self.lib.Index(space={"l2": "l2", "cosine": "cosine"}[metric], dim=dim)

    def query(self, row):
        return row

    def create(self, base):
        self.base = base
        self.index = self.made()
        self.index.init_index(max_elements=len(base), M=16, ef_construction=128)

    def add(self, at, count, by):
        rows, names = self.base[at : at + count], np.arange(at, at + count)
        began = time.perf_counter()
        self.index.add_items(rows, names, num_threads=by)
        return time.perf_counter() - began

    def build(self, base):
        self.create(base)
        seconds = self.add(0, len(base), threads)
        self.index.save_index(self.file)
        return seconds

    def open(self):
        self.index = self.made()
        self.index.load_index(self.file)

    def set(self, setting):
        self.index.set_ef(setting["ef"])

    def search(self, query):
        return self.index.knn_query(query, k, num_threads=1)[0]

    def ids(self, hits):
        return [int(row) for row in hits[0]]

    def insert(self, at, count):
        return self.add(at, count, 1)

    def close(self):
        pass


# Searches that go before the first timed ones.
SETTLING = 500


class Server:
    def __init__(self, system):
        self.system = system
        self.settled = False

    def ask(self):
        self.queries = [self.system.query(row) for row in numbers("queries")[: task["count"]]]

    def ready(self, _):
        return {}

    def build(self, _):
        return {"seconds": self.system.build(numbers("base"))}

    def open(self, _):
        self.ask()
        gc.collect()
        self.before = resident()
        self.system.open()
        return {}

    def settle(self):
        """Queries between those that are timed, before the first of them: see `settle` of server.mjs."""
        if self.settled:
            return
        self.settled = True
        rows = numbers("queries")[: task["count"]]
        for at in range(SETTLING):
            between = (rows[at % len(rows)] + rows[(at + 1) % len(rows)]) / 2
            self.system.search(self.system.query(between))

    def search(self, given):
        system, queries, total = self.system, self.queries, len(self.queries)
        system.set(given["setting"])
        at, count, most = given["from"], given["count"], given.get("seconds", float("inf"))
        if given.get("warm", 0) > 0:
            self.settle()
        for i in range(given.get("warm", 0)):
            system.search(queries[(at + count + i) % total])
        latencies, found, spent = [], [], 0.0
        for i in range(count):
            query = queries[(at + i) % total]
            began = time.perf_counter()
            hits = system.search(query)
            took = time.perf_counter() - began
            spent += took
            latencies.append(took)
            found.append(hits)
            if spent >= most:
                break
        return {"seconds": spent, "latencies": latencies, "found": [system.ids(hits)[:k] for hits in found]}

    def memory(self, _):
        gc.collect()
        now = resident()
        return {name: now[name] - self.before[name] for name in now}

    def create(self, _):
        self.ask()
        self.system.create(numbers("base")[: task["rows"]])
        return {}

    def insert(self, given):
        return {"seconds": self.system.insert(given["from"], given["count"])}

    def close(self, _):
        self.system.close()
        return {}


# Libraries print what they like; it goes to standard error.
os.dup2(2, 1)
answers = os.fdopen(3, "w")
server = Server({"aster": Aster, "faiss": Faiss, "hnswlib": Hnswlib}[task["adapter"]]())
for line in sys.stdin:
    given = json.loads(line)
    try:
        answer = getattr(server, given["command"])(given)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    if given["command"] == "close":
        break
