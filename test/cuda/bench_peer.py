"""bench_peer.py TITLES FIGURES: what bench_cuda measures, by sentence-transformers in fp16.

Steps of training are torch's over the same model in fp32, products in TF32, with its
fused AdamW; each half of the pairs is padded to its longest title.

TITLES: the golden file whose texts are embedded; FIGURES: what bench_cuda has
printed. The same texts, as often, with the batch size that is fastest here; the
256-token texts have the same ids. Medians of as many runs. Ratios are ours to theirs,
above 1 where ours is faster.
"""
import json
import os
import statistics
import sys
import time

import torch
from sentence_transformers import SentenceTransformer

RUNS = 9
SINGLE_RUNS = 300
TITLE_COUNT = 20000
LONG_COUNT = 4000
LONG_TOKENS = 256
BATCH_SIZES = (128, 512, 2048)
TRAIN_PAIRS = 64
TRAIN_STEPS = 15


def timed(work, runs):
    times = []
    for i in range(runs + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if i > 0:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def fastest(work):
    """The least time over the batch sizes."""
    return min(timed(lambda: work(size), RUNS) for size in BATCH_SIZES)


def long_batches(size):
    ids = torch.arange(LONG_COUNT * LONG_TOKENS, dtype=torch.int64) * 2654435761 % 2**32 % 30522
    for batch in ids.view(LONG_COUNT, LONG_TOKENS).split(size):
        yield {"input_ids": batch.cuda(), "attention_mask": torch.ones_like(batch).cuda()}


def measure(model, texts):
    figures = {}
    with torch.inference_mode():
        figures["minilm_titles"] = len(texts) / fastest(
            lambda size: model.encode(texts, batch_size=size, show_progress_bar=False))
        figures["minilm_256_tokens"] = LONG_COUNT / fastest(
            lambda size: [model(batch)["sentence_embedding"].cpu() for batch in long_batches(size)])
        figures["minilm_single"] = 1e6 * timed(
            lambda: model.encode(texts[0], show_progress_bar=False), SINGLE_RUNS)
    return figures


def train(texts):
    """Tokens a second of contrastive steps in both directions with dropout .1."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    model = SentenceTransformer(os.environ["BR_MODEL_DIR"], device="cuda").float().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)
    halves = [{name: value.cuda() for name, value in model.tokenize(texts[begin:begin + TRAIN_PAIRS]).items()
               if torch.is_tensor(value)} for begin in (0, TRAIN_PAIRS)]
    tokens = sum(int(half["attention_mask"].sum()) for half in halves)
    own = torch.arange(TRAIN_PAIRS, device="cuda")

    def step():
        left, right = (model(dict(half))["sentence_embedding"] for half in halves)
        scores = torch.nn.functional.normalize(left) @ torch.nn.functional.normalize(right).T / 0.05
        loss = (torch.nn.functional.cross_entropy(scores, own) +
                torch.nn.functional.cross_entropy(scores.T, own)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return tokens / timed(step, TRAIN_STEPS)


def main(titles, printed):
    with open(titles, encoding="utf-8") as file:
        rows = [row["text"] for row in json.load(file)["rows"]]
    texts = (rows * (TITLE_COUNT // len(rows) + 1))[:TITLE_COUNT]
    model = SentenceTransformer(os.environ["BR_MODEL_DIR"], device="cuda").half().eval()
    ours = {}
    with open(printed, encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if len(fields) > 2 and not line.startswith(("#", "skipped")):
                ours[fields[0]] = float(fields[1])
    print(f"# sentence-transformers on torch {torch.__version__}, fp16")
    figures = measure(model, texts)
    figures["minilm_train"] = train(texts[:2 * TRAIN_PAIRS])
    units = {"minilm_single": "us", "minilm_train": "tokens/s"}
    for name, figure in figures.items():
        unit = units.get(name, "texts/s")
        print(f"{'peer_' + name:28} {figure:12.2f} {unit}")
        if name in ours:
            ratio = figure / ours[name] if unit == "us" else ours[name] / figure
            print(f"{'ratio_' + name:28} {ratio:12.2f} x")


if __name__ == "__main__":
    if len(sys.argv) != 3 or not os.environ.get("BR_MODEL_DIR"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
