"""train_peer.py: PyTorch's side of train.sh.

    train_peer.py THREADS DROPOUT STEPS MODEL TOKENS

Reads the token ids that bench_train --write wrote and takes the same steps: the
contrastive loss in both directions of the first half of the texts with the
second, AdamW (fused), clipping to 1; one step to warm up, then STEPS. The model
is BERT in torch's own modules: scaled_dot_product_attention, each half padded
to its longest text as sentence-transformers does it. Prints the median step in
tokens per second, padding not counted. CLOCK=cpu measures time on the processor.
"""
import json
import os
import statistics
import struct
import sys
import time

import torch
import torch.nn.functional as F


class Layer(torch.nn.Module):
    def __init__(self, hidden, intermediate, heads, epsilon, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.output = (torch.nn.Linear(hidden, hidden) for _ in range(4))
        self.first, self.second = (torch.nn.LayerNorm(hidden, epsilon) for _ in range(2))
        self.up, self.down = torch.nn.Linear(hidden, intermediate), torch.nn.Linear(intermediate, hidden)

    def forward(self, x, mask):
        shape = (*x.shape[:2], self.heads, -1)
        query, key, value = (part(x).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(query, key, value, mask, self.dropout if self.training else 0.0)
        mixed = self.output(mixed.transpose(1, 2).reshape(x.shape))
        x = self.first(x + F.dropout(mixed, self.dropout, self.training))
        return self.second(x + F.dropout(self.down(F.gelu(self.up(x))), self.dropout, self.training))


class Encoder(torch.nn.Module):
    def __init__(self, config, dropout):
        super().__init__()
        hidden, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.dropout = dropout
        self.word = torch.nn.Embedding(config["vocab_size"], hidden)
        self.position = torch.nn.Embedding(config["max_position_embeddings"], hidden)
        self.kind = torch.nn.Embedding(config["type_vocab_size"], hidden)
        self.norm = torch.nn.LayerNorm(hidden, epsilon)
        self.layers = torch.nn.ModuleList(
            Layer(hidden, config["intermediate_size"], config["num_attention_heads"], epsilon, dropout)
            for _ in range(config["num_hidden_layers"]))

    def forward(self, ids, mask):
        x = self.norm(self.word(ids) + self.position.weight[:ids.shape[1]] + self.kind.weight[0])
        x = F.dropout(x, self.dropout, self.training)
        wide = mask[:, None, None, :].bool()
        for layer in self.layers:
            x = layer(x, wide)
        return F.normalize((x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)


def load(encoder, path):
    """The weights under the names of the folder."""
    names = {"word_embeddings": "word", "position_embeddings": "position", "token_type_embeddings": "kind"}
    parts = {"attention.self.query": "query", "attention.self.key": "key", "attention.self.value": "value",
             "attention.output.dense": "output", "attention.output.LayerNorm": "first",
             "intermediate.dense": "up", "output.dense": "down", "output.LayerNorm": "second"}
    state = {}
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = bytearray(file.read())
    for name, entry in header.items():
        whole = name.removeprefix("bert.")
        if name == "__metadata__" or "pooler" in name or "position_ids" in name:
            continue
        words = whole.split(".")
        if words[0] == "embeddings":
            target = f"{names.get(words[1], 'norm')}.{words[2]}"
        else:
            target = f"layers.{words[2]}.{parts['.'.join(words[3:-1])]}.{words[-1]}"
        begin, end = entry["data_offsets"]
        dtype = {"F32": torch.float32, "F16": torch.float16}[entry["dtype"]]
        state[target] = torch.frombuffer(data[begin:end], dtype=dtype).reshape(entry["shape"]).float()
    encoder.load_state_dict(state)


def padded(texts):
    longest = max(map(len, texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1.0] * len(text) + [0.0] * (longest - len(text)) for text in texts])
    return ids, mask


def main(threads, dropout, steps, model, tokens):
    torch.set_num_threads(int(threads))
    clock = time.process_time if os.environ.get("CLOCK") == "cpu" else time.monotonic
    with open(tokens, encoding="utf-8") as file:
        texts = [[int(word) for word in line.split()] for line in file]
    with open(model + "/config.json", encoding="utf-8") as file:
        encoder = Encoder(json.load(file), float(dropout))
    load(encoder, model + "/model.safetensors")
    encoder.train()
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=5e-5, weight_decay=0.01, fused=True)
    halves = [padded(texts[:len(texts) // 2]), padded(texts[len(texts) // 2:])]
    seconds, losses = [], []
    for _ in range(int(steps) + 1):
        start = clock()
        left, right = (encoder(*half) for half in halves)
        scores = left @ right.T / 0.05
        own = torch.arange(len(scores))
        loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        seconds.append(clock() - start)
    total = sum(map(len, texts))
    print(f"{total / statistics.median(seconds[1:]):.0f} tokens/s of {total} tokens, first loss {losses[0]:.5f}, "
          f"torch {torch.__version__}")


main(*sys.argv[1:])
