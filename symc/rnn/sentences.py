"""Sentences as numbers, in batches of sentences of like length."""

from __future__ import annotations

import bisect
import logging
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from symc import ndarray
from symc.io import DataBatch, DataDesc, DataIter
from symc.ir.types import Array


def encode_sentences(
    sentences: Iterable[Sequence[Any]], vocab: dict[Any, int] | None = None, invalid_label: int = -1,
    invalid_key: Any = "\n", start_label: int = 0, unknown_token: Any = None,
) -> tuple[list[list[int]], dict[Any, int]]:  # fmt: skip
    """(sentences as numbers, the number of every word). Words get numbers as they come, unless `vocab` has them;
    AssertionError for a word that a given one lacks, unless there is an `unknown_token`."""
    grows = vocab is None
    known = {invalid_key: invalid_label} if vocab is None else vocab
    following, coded = start_label, []
    for sentence in sentences:
        numbers = []
        for word in sentence:
            if word not in known:
                if not grows and not unknown_token:
                    raise AssertionError(f"Unknown token {word}")
                following += following == invalid_label
                word = unknown_token or word
                known[word] = following
                following += 1
            numbers.append(known[word])
        coded.append(numbers)
    return coded, known


class BucketSentenceIter(DataIter):
    """Batches of coded sentences for a language model: each from one bucket of lengths, padded with `invalid_label`;
    the label is the sentence one word on."""

    def __init__(
        self, sentences: Sequence[Sequence[int]], batch_size: int, buckets: Sequence[int] | None = None,
        invalid_label: float = -1, data_name: str = "data", label_name: str = "softmax_label", dtype: Any = "float32",
        layout: str = "NT",
    ) -> None:  # fmt: skip
        super().__init__(batch_size)
        if layout.find("N") not in (0, 1):
            raise ValueError(f"Invalid layout {layout}: Must by NT (batch major) or TN (time major)")
        counts = np.bincount([len(s) for s in sentences])
        lengths = sorted(buckets or [i for i, n in enumerate(counts) if n >= batch_size])
        rows: list[list[Array]] = [[] for _ in lengths]
        for sentence in sentences:
            at = bisect.bisect_left(lengths, len(sentence))
            if at < len(lengths):
                row = np.full(lengths[at], invalid_label, dtype)
                row[: len(sentence)] = sentence
                rows[at].append(row)
        dropped = len(sentences) - sum(map(len, rows))
        if dropped:
            logging.warning("discarded %d sentences longer than the largest bucket.", dropped)
        self.buckets = [n for n, found in zip(lengths, rows) if found]
        self.data = [np.asarray(found, dtype) for found in rows if found]
        self.data_name, self.label_name, self.dtype = data_name, label_name, dtype
        self.invalid_label, self.layout, self.major_axis = invalid_label, layout, layout.find("N")
        self.default_bucket_key = max(self.buckets)
        self.provide_data = [self._described(data_name, self.default_bucket_key)]
        self.provide_label = [self._described(label_name, self.default_bucket_key)]
        self.idx = [
            (i, at) for i, bucket in enumerate(self.data) for at in range(0, len(bucket) - batch_size + 1, batch_size)
        ]
        self.reset()

    def _described(self, name: str, length: int) -> DataDesc:
        shape = (self.batch_size, length) if self.major_axis == 0 else (length, self.batch_size)
        return DataDesc(name, shape, layout=self.layout)

    def reset(self) -> None:
        """Another order of batches, and of sentences in their buckets."""
        self.curr_idx = 0
        random.shuffle(self.idx)
        self.nddata, self.ndlabel = [], []
        for bucket in self.data:
            np.random.shuffle(bucket)
            label = np.full_like(bucket, self.invalid_label)
            label[:, :-1] = bucket[:, 1:]
            self.nddata.append(ndarray.array(bucket, dtype=self.dtype))
            self.ndlabel.append(ndarray.array(label, dtype=self.dtype))

    def next(self) -> DataBatch:
        """The next batch, with its bucket's length as bucket_key."""
        if self.curr_idx == len(self.idx):
            raise StopIteration
        bucket, at = self.idx[self.curr_idx]
        self.curr_idx += 1
        data, label = (arrays[bucket][at : at + self.batch_size] for arrays in (self.nddata, self.ndlabel))
        if self.major_axis == 1:
            data, label = data.T, label.T
        length = self.buckets[bucket]
        return DataBatch(
            [data], [label], pad=0, bucket_key=length, provide_data=[self._described(self.data_name, length)],
            provide_label=[self._described(self.label_name, length)],
        )  # fmt: skip
