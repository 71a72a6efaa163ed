"""Trains a tiny language model on packed rows: documents end to end, none of which sees another.

    python examples/text_packing.py

It makes its own documents, in one file of uint16 tokens beside a list of where each begins, as tokenizers leave them.
In a document each token follows from the one before and from the first, its topic: what a model must look back for,
and what a neighbour in the same row would only confuse. Takes a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

import forebay
from forebay.torch import DataLoader

WORDS, TOPICS = 64, 8
PAD = 0


def write_documents(folder: Path, count: int, seed: int = 0) -> Path:
    """Write `count` documents of 8 to 400 tokens, most of them short, and the list that names them."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(4, 0.8, count), 8, 400).astype(int)
    offset, lines, texts = 0, [], []
    for length in lengths:
        topic, word = int(rng.integers(TOPICS)), int(rng.integers(WORDS))
        text = [1 + WORDS + topic]
        for _ in range(length - 1):
            text.append(1 + word)
            word = (5 * word + 7 * topic + 1) % WORDS
        texts.append(text)
        lines.append(json.dumps({"path": "tokens.bin", "offset": offset, "n_tokens": len(text)}))
        offset += len(text)
    np.concatenate(texts).astype("<u2").tofile(folder / "tokens.bin")
    (folder / "documents.jsonl").write_text("\n".join(lines))
    return folder / "documents.jsonl"


class Block(nn.Module):
    """Attention and a small network, each behind a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.inner_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Let each token look at those that `mask`, of shape (rows, 1, tokens, tokens), shows it."""
        rows, tokens, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(rows, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, tokens, width))
        return x + self.inner(self.inner_norm(x))


class Model(nn.Module):
    """Two blocks over embeddings of tokens and of their places in their documents."""

    def __init__(self, capacity: int, width: int = 64) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(1 + WORDS + TOPICS, width), nn.Embedding(capacity, width)
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(2))
        self.head = nn.Linear(width, 1 + WORDS + TOPICS)

    def forward(self, tokens: Tensor, places: Tensor, segments: Tensor) -> Tensor:
        """Give the logits of the next token: (rows, tokens, words)."""
        same = segments[:, :, None] == segments[:, None, :]
        mask = (same & torch.ones_like(same[0]).tril()).unsqueeze(1)
        x = self.words(tokens) + self.places(places)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(x)


def loss_of(model: Model, batch: dict[str, Tensor]) -> Tensor:
    """Give the mean loss over tokens whose next one is of the same document."""
    tokens, segments = batch["tokens"], batch["segments"]
    logits = model(tokens, batch["places"], segments)[:, :-1]
    counts = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0)
    return cross_entropy(logits[counts], tokens[:, 1:][counts])


def main() -> None:
    """Make the data, train, and say how much of what was computed was padding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--capacity", type=int, default=512, help="tokens of a row (default 512)")
    parser.add_argument("--batch-size", type=int, default=8, help="rows of a batch (default 8)")
    parser.add_argument("--documents", type=int, default=3000, help="how many to make (default 3000)")
    parser.add_argument("--epochs", type=int, default=2, help="times through them (default 2)")
    args = parser.parse_args()
    torch.manual_seed(0)
    fields = {
        "tokens": forebay.Tokens("path", stored="uint16", offset="offset", length="n_tokens", pad=PAD),
        "places": forebay.PositionIds(),
        "segments": forebay.SegmentIds(),
        "length": forebay.Length(),
    }
    with tempfile.TemporaryDirectory() as folder:
        data = write_documents(Path(folder), args.documents)
        loader = DataLoader(data, args.batch_size, shuffle=True, drop_last=True, fields=fields, packed=args.capacity)
        model = Model(args.capacity)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for epoch in range(args.epochs):
            started, tokens, places, losses = time.monotonic(), 0, 0, []
            for batch in loader:
                loss = loss_of(model, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                tokens += int(batch["length"].sum())
                places += batch["tokens"].numel()
            rate = tokens / (time.monotonic() - started)
            print(
                f"epoch {epoch}: loss {losses[0]:.3f} at first, {np.mean(losses[-10:]):.3f} at last; "
                f"{tokens} tokens, {1 - tokens / places:.2%} padding, {rate:.0f} tokens/s"
            )
        loader.close()


if __name__ == "__main__":
    main()
