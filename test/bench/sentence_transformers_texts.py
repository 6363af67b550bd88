"""sentence_transformers_texts.py MODEL FILE: seconds that sentence-transformers takes, f32, 1 thread.

FILE holds one text per line. Prints the seconds of one pass over all of them,
after a warm-up. sentence-transformers sorts by length and pads each batch.
"""
import os
import sys
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch  # noqa: E402  (after the threads are limited)
from sentence_transformers import SentenceTransformer  # noqa: E402

torch.set_num_threads(1)
torch.set_num_interop_threads(1)
model = SentenceTransformer(sys.argv[1], device="cpu")
with open(sys.argv[2], encoding="utf-8") as file:
    texts = file.read().splitlines()
model.encode(texts[:64], batch_size=32)
start = time.perf_counter()
model.encode(texts, batch_size=32, show_progress_bar=False)
print(f"{time.perf_counter() - start:.3f}")
