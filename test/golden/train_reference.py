#!/usr/bin/env python3
"""train_reference: what PyTorch gives for the training tests, as JSON.

    train_reference.py MODEL_DIRECTORY > train_tiny-bert-cls.json

The model folder is tiny-bert-cls; the forward pass below is BERT's, written out
over torch alone and in float64, so that autograd is the only reference. There
are two `batches` of pairs of texts as token ids; of the first the loss and, of
every tensor, the length of its gradient and some of its elements; then the
losses of ten AdamW steps over the batches in turn, and of ten SGD steps.
`losses` holds the other losses on made-up embeddings with their slopes.
Written with torch 2.15.0.
"""
import json
import math
import struct
import sys

import torch
import torch.nn.functional as F

SEED = 7
BATCHES = 2
STEPS = 10
RATE = {"adamw": 2e-3, "sgd": 1e-2}
PAIRS = 6
HIDDEN, HEADS, LAYERS = 32, 4, 2
SHOWN = 12


def read_tensors(path):
    """The tensors of a safetensors file, in float64."""
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or "pooler" in name:
            continue
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32)
        tensors[name.removeprefix("bert.")] = values.reshape(entry["shape"]).double().requires_grad_()
    return tensors


def norm(weights, name, x):
    return F.layer_norm(x, (HIDDEN,), weights[name + ".weight"], weights[name + ".bias"], 1e-12)


def dense(weights, name, x):
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def embed(weights, ids):
    """The first token's state of one text."""
    x = (weights["embeddings.word_embeddings.weight"][ids]
         + weights["embeddings.position_embeddings.weight"][:len(ids)]
         + weights["embeddings.token_type_embeddings.weight"][0])
    x = norm(weights, "embeddings.LayerNorm", x)
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}."
        heads = [dense(weights, layer + "attention.self." + part, x).view(len(ids), HEADS, -1).transpose(0, 1)
                 for part in ("query", "key", "value")]
        scores = heads[0] @ heads[1].transpose(1, 2) / math.sqrt(HIDDEN / HEADS)
        mixed = (scores.softmax(-1) @ heads[2]).transpose(0, 1).reshape(len(ids), HIDDEN)
        x = norm(weights, layer + "attention.output.LayerNorm",
                 x + dense(weights, layer + "attention.output.dense", mixed))
        inner = F.gelu(dense(weights, layer + "intermediate.dense", x))
        x = norm(weights, layer + "output.LayerNorm", x + dense(weights, layer + "output.dense", inner))
    return x[0]


def contrast(anchors, candidates, temperature, smoothing=0.0, excluded=None, both=True):
    """Cross-entropy of cosines in both directions, as br_train_losses.h defines it."""
    n = len(anchors)
    scores = F.normalize(anchors, dim=-1) @ F.normalize(candidates, dim=-1).T / temperature
    if excluded is not None:
        scores = scores.masked_fill(excluded, -math.inf)

    def entropy(rows):
        """Smoothed over what is not excluded."""
        logs = rows.log_softmax(-1)
        counts = torch.isfinite(rows)
        spread = torch.where(counts, logs, 0.0).sum(-1) / counts.sum(-1)
        return -((1 - smoothing) * logs.diagonal() + smoothing * spread).mean()

    forward = entropy(scores)
    return (forward + entropy(scores[:, :n].T)) / 2 if both else forward


def complete(embeddings, sets, temperature, excluded):
    """Mean cross-entropy of each member of a set, given the mean cosine with the others."""
    cosines = F.normalize(embeddings) @ F.normalize(embeddings).T
    losses = []
    for i, own in enumerate(sets):
        others = [j for j, other in enumerate(sets) if other == own and j != i]
        if others:
            scores = cosines[others].mean(0) / temperature
            allowed = [j for j, other in enumerate(sets)
                       if j == i or (other != own and not excluded[i][j])]
            losses.append(torch.logsumexp(scores[allowed], 0) - scores[i])
    return torch.stack(losses).mean()


def batch_loss(weights, batch):
    states = torch.stack([embed(weights, ids) for ids in batch])
    return contrast(states[:PAIRS], states[PAIRS:], 0.05)


def make_batches(generator):
    """Texts of 3 to 14 tokens that begin with [CLS] and end with [SEP]."""
    def text():
        length = int(torch.randint(1, 13, (1,), generator=generator))
        return [2] + torch.randint(5, 1200, (length,), generator=generator).tolist() + [3]
    return [[text() for _ in range(2 * PAIRS)] for _ in range(BATCHES)]


def decays(name):
    return not name.endswith(".bias") and "LayerNorm" not in name


def schedule(step, warm_up, steps):
    return step / warm_up if step < warm_up else (steps - step) / (steps - warm_up)


def train(directory, batches, rule):
    """Losses of all steps: linear with two steps of warm-up, clipped to 1."""
    weights = read_tensors(directory + "/model.safetensors")
    groups = [{"params": [w for name, w in weights.items() if decays(name)], "weight_decay": 0.01},
              {"params": [w for name, w in weights.items() if not decays(name)], "weight_decay": 0.0}]
    optimiser = (torch.optim.AdamW(groups, lr=RATE[rule], betas=(0.9, 0.999), eps=1e-8) if rule == "adamw"
                 else torch.optim.SGD(groups, lr=RATE[rule], momentum=0.9))
    losses, lengths = [], []
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE[rule] * schedule(step, 2, STEPS)
        optimiser.zero_grad()
        loss = batch_loss(weights, batches[step % BATCHES])
        loss.backward()
        lengths.append(float(torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)))
        optimiser.step()
        losses.append(loss.item())
    return {"losses": losses, "lengths": lengths}


def gradient_of(directory, batch):
    weights = read_tensors(directory + "/model.safetensors")
    loss = batch_loss(weights, batch)
    loss.backward()
    tensors = {}
    for name, weight in weights.items():
        gradient = weight.grad.flatten()
        order = gradient.abs().argsort(descending=True)
        shown = order[:: max(1, int((gradient != 0).sum()) // SHOWN)][:SHOWN]
        tensors[name] = {"length": gradient.norm().item(), "at": shown.tolist(),
                         "values": gradient[shown].tolist()}
    return {"loss": loss.item(), "tensors": tensors}


def case(name, embeddings, loss, **options):
    embeddings = embeddings.clone().requires_grad_()
    value = loss(embeddings)
    value.backward()
    return {"name": name, "texts": len(embeddings), "dim": embeddings.shape[1],
            "embeddings": embeddings.flatten().tolist(), "loss": value.item(),
            "slope": embeddings.grad.flatten().tolist(), **options}


def other_losses(generator):
    def made_up(texts, dim=4):
        return torch.randn(texts, dim, generator=generator, dtype=torch.float64)

    excluded = torch.zeros(3, 6, dtype=torch.bool)
    excluded[0, 1] = excluded[1, 0] = excluded[2, 4] = True
    targets = [0.9, -0.2, 0.5]
    teacher = made_up(3)
    texts = made_up(9)
    pairs = made_up(6)
    return [
        case("contrastive", made_up(8), lambda e: contrast(e[:4], e[4:], 0.5)),
        case("contrastive_forward", made_up(8), lambda e: contrast(e[:4], e[4:], 0.5, both=False)),
        case("contrastive_all", texts, lambda e: contrast(e[:3], e[3:], 0.3, 0.1, excluded),
             excluded=excluded.int().flatten().tolist()),
        case("triplet", texts, lambda e: F.triplet_margin_loss(e[:3], e[3:6], e[6:], margin=1.5, eps=0)),
        case("triplet_cosine", texts,
             lambda e: F.triplet_margin_with_distance_loss(
                 e[:3], e[3:6], e[6:], margin=0.5, distance_function=lambda a, b: 1 - F.cosine_similarity(a, b))),
        case("cosine", pairs, lambda e: F.mse_loss(F.cosine_similarity(e[:3], e[3:]),
                                                   torch.tensor(targets, dtype=torch.float64)),
             targets=targets),
        case("distillation", pairs[:3], lambda e: F.mse_loss(e, teacher), teacher=teacher.flatten().tolist()),
        case("matryoshka", made_up(8),
             lambda e: contrast(e[:4], e[4:], 0.5) + 0.5 * contrast(e[:4, :2], e[4:, :2], 0.5)),
    ]


def head_case(generator, pairs):
    """The head's loss with its own gradient; the head is given."""
    n, dim, classes = 4, 3, 3
    embeddings = torch.randn(2 * n if pairs else n, dim, generator=generator, dtype=torch.float64)
    width = 3 * dim if pairs else dim
    weight = torch.randn(classes, width, generator=generator, dtype=torch.float64).requires_grad_()
    bias = torch.randn(classes, generator=generator, dtype=torch.float64).requires_grad_()
    labels = [0, 2, 1, 2]

    def loss(e):
        inputs = torch.cat([e[:n], e[n:], (e[:n] - e[n:]).abs()], 1) if pairs else e
        return F.cross_entropy(inputs @ weight.T + bias, torch.tensor(labels), label_smoothing=0.2)

    result = case("classes_pairs" if pairs else "classes", embeddings, loss, labels=labels,
                  weight=weight.flatten().tolist(), bias=bias.tolist())
    return {**result, "weight_slope": weight.grad.flatten().tolist(), "bias_slope": bias.grad.tolist()}


def set_case(generator):
    """One text is alone; two of them are no negatives of others."""
    sets = [4, 4, 4, 9, 1, 1, 3, 3, 3]
    embeddings = torch.randn(len(sets), 4, generator=generator, dtype=torch.float64)
    excluded = [[int((i, j) in ((0, 4), (4, 0), (7, 3))) for j in range(len(sets))] for i in range(len(sets))]
    return case("sets", embeddings, lambda e: complete(e, sets, 0.3, excluded), sets=sets,
                excluded=sum(excluded, []))


def rounded(value):
    """Ten digits: a hundred times what the tests ask for."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return {key: rounded(item) for key, item in value.items()} if isinstance(value, dict) else value


def main(directory):
    generator = torch.Generator().manual_seed(SEED)
    batches = make_batches(generator)
    result = {"model": "tiny-bert-cls", "torch": torch.__version__, "pairs": PAIRS, "batches": batches,
              "gradient": gradient_of(directory, batches[0]),
              "adamw": train(directory, batches, "adamw"), "sgd": train(directory, batches, "sgd"),
              "losses": other_losses(generator)
              + [head_case(generator, False), head_case(generator, True), set_case(generator)]}
    json.dump(rounded(result), sys.stdout)
    print()


if __name__ == "__main__":
    main(sys.argv[1])
