"""Vectors of tokens, from files with a token and its numbers in each line."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from symc import ndarray
from symc.base import MXNetError, data_dir
from symc.contrib.text.vocab import UNKNOWN, Vocabulary
from symc.ndarray import NDArray
from symc.registry import Registry

__all__ = [
    "CompositeEmbedding", "CustomEmbedding", "FastText", "GloVe", "create", "get_pretrained_file_names", "register",
]  # fmt: skip


class _TokenEmbedding(Vocabulary):
    """Base: a vocabulary whose tokens have vectors, the rows of `idx_to_vec`."""

    #: names of the files that a class reads, each with the SHA1 of what MXNet downloads
    pretrained_file_name_sha1: dict[str, str] = {}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._vec_len = 0
        self._idx_to_vec: Any = None

    @property
    def vec_len(self) -> int:
        """How many numbers a vector has."""
        return self._vec_len

    @property
    def idx_to_vec(self) -> NDArray:
        """(tokens, vec_len): the vectors by number."""
        found: NDArray = self._idx_to_vec
        return found

    @classmethod
    def _check_pretrained_file_names(cls, pretrained_file_name: str) -> None:
        """KeyError for a file that the class does not know."""
        if pretrained_file_name not in cls.pretrained_file_name_sha1:
            raise KeyError(
                f"{cls.__name__.lower()} has no file {pretrained_file_name}; "
                f"there are {', '.join(cls.pretrained_file_name_sha1)}"
            )

    @classmethod
    def _get_pretrained_file(cls, embedding_root: str, pretrained_file_name: str) -> str:
        """Where a file is. MXNetError if it is not there: symc downloads nothing."""
        path = os.path.join(os.path.expanduser(embedding_root), cls.__name__.lower(), pretrained_file_name)
        if not os.path.exists(path):
            raise MXNetError(f"{cls.__name__}: there is no file {path}; symc downloads nothing, put it there")
        return path

    def _load_embedding(
        self, pretrained_file_path: str, elem_delim: str, init_unknown_vec: Callable[..., Any], encoding: str = "utf8"
    ) -> None:
        """Add the tokens in a file, with their vectors; lines that repeat a token, and lines of one number, are left
        out with a warning. Without a vector in the file the unknown token gets one of `init_unknown_vec(shape=)`."""
        path = os.path.expanduser(pretrained_file_path)
        if not os.path.isfile(path):
            raise ValueError(f"there is no file of vectors {path}")
        logging.info("reading vectors of tokens from %s", path)
        vectors: list[list[float]] = []
        seen: set[Any] = set()
        unknown: list[float] | None = None
        with open(path, encoding=encoding) as file:
            for number, line in enumerate(file, 1):
                token, *parts = line.rstrip().split(elem_delim)
                if not parts:
                    raise AssertionError(f"{path}, line {number}: {line!r} is not a token and numbers")
                vector = [float(part) for part in parts]
                if token == self.unknown_token and unknown is None:
                    unknown = vector
                elif token in seen:
                    warnings.warn(
                        f"{path}, line {number}: token {token} is there before, this vector is left out", stacklevel=3
                    )
                    continue
                elif len(vector) == 1:
                    warnings.warn(
                        f"{path}, line {number}: {line.strip()!r} is likely a header, and left out", stacklevel=3
                    )
                    continue
                else:
                    if vectors and len(vector) != len(vectors[0]):
                        raise AssertionError(
                            f"{path}, line {number}: {token} has {len(vector)} numbers, those before {len(vectors[0])}"
                        )
                    vectors.append(vector)
                    self._token_to_idx[token] = len(self._idx_to_token)
                    self._idx_to_token.append(token)
                seen.add(token)
        self._vec_len = len(vectors[0]) if vectors else len(unknown or ())
        first = len(self._idx_to_token) - len(vectors)
        made = np.zeros((len(self._idx_to_token), self._vec_len), np.float32)
        made[first:] = np.array(vectors, np.float32).reshape(len(vectors), self._vec_len)
        given = init_unknown_vec(shape=self._vec_len).asnumpy() if unknown is None else unknown
        made[UNKNOWN] = given
        self._idx_to_vec = ndarray.array(made)

    def _take_vectors(self, embeddings: list[_TokenEmbedding], tokens: list[Any]) -> None:
        """The vectors of these tokens, those of several embeddings beside each other."""
        parts = []
        for embedding in embeddings:
            vectors = embedding.idx_to_vec.asnumpy()
            parts.append(vectors[[UNKNOWN, *embedding.to_indices(list(tokens[1:]))]])
        self._idx_to_vec = ndarray.array(np.concatenate(parts, axis=1))
        self._vec_len = sum(embedding.vec_len for embedding in embeddings)

    def _take_tokens(self, vocabulary: Vocabulary) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise AssertionError(f"vocabulary must be a Vocabulary, got {type(vocabulary).__name__}")
        self._token_to_idx, self._idx_to_token = dict(vocabulary.token_to_idx), list(vocabulary.idx_to_token)
        self._unknown_token = vocabulary.unknown_token
        reserved = vocabulary.reserved_tokens
        self._reserved_tokens = None if reserved is None else list(reserved)

    def _build_embedding_for_vocabulary(self, vocabulary: Vocabulary | None) -> None:
        """Keep the tokens of a vocabulary only."""
        if vocabulary is not None:
            if not isinstance(vocabulary, Vocabulary):
                raise AssertionError(f"vocabulary must be a Vocabulary, got {type(vocabulary).__name__}")
            self._take_vectors([self], vocabulary.idx_to_token)
            self._take_tokens(vocabulary)

    def get_vecs_by_tokens(self, tokens: Any, lower_case_backup: bool = False) -> NDArray:
        """The vector of a token, or those of a list of tokens; with `lower_case_backup` that of the token in small
        letters where there is none of its own."""
        several = tokens if isinstance(tokens, list) else [tokens]
        if lower_case_backup:
            several = [token if token in self.token_to_idx else token.lower() for token in several]
        found = ndarray.array(self.idx_to_vec.asnumpy()[self.to_indices(several)])
        return found if isinstance(tokens, list) else found[0]

    def update_token_vectors(self, tokens: Any, new_vectors: NDArray) -> None:
        """Other vectors, (tokens, vec_len), for tokens; one of them may have a vector. ValueError for a token that is
        not known."""
        several = tokens if isinstance(tokens, list) else [tokens]
        axes = (1, 2) if len(several) == 1 else (2,)
        if not isinstance(new_vectors, NDArray) or new_vectors.ndim not in axes:
            raise AssertionError(f"new_vectors must be an NDArray of shape ({len(several)}, {self.vec_len})")
        values = new_vectors.asnumpy().reshape((1, -1) if new_vectors.ndim == 1 else new_vectors.shape)
        if values.shape != (len(several), self.vec_len):
            raise AssertionError(f"new_vectors has shape {values.shape}, not ({len(several)}, {self.vec_len})")
        for token in several:
            if token not in self.token_to_idx:
                raise ValueError(f"{token} is no token here; {self.unknown_token!r} stands for all that are not known")
        made = self.idx_to_vec.asnumpy()
        made[self.to_indices(several)] = values
        self._idx_to_vec = ndarray.array(made)


_REGISTRY: Registry[_TokenEmbedding] = Registry(_TokenEmbedding, "token embedding")


def register(embedding_cls: Any) -> Any:
    """Class decorator: `create` knows it by its name."""
    return _REGISTRY.register(embedding_cls)


def create(embedding_name: str, **kwargs: Any) -> _TokenEmbedding:
    """An embedding of a registered class, by its name."""
    return _REGISTRY.create(embedding_name, **kwargs)


def get_pretrained_file_names(embedding_name: str | None = None) -> Any:
    """The names of the files that an embedding may be made of, or a dict of those of all. KeyError for an embedding
    that is not registered."""
    if embedding_name is None:
        return {name: list(cls.pretrained_file_name_sha1) for name, cls in _REGISTRY.classes.items()}
    if embedding_name not in _REGISTRY.classes:
        raise KeyError(f"no embedding {embedding_name} is registered; there are {', '.join(_REGISTRY.classes)}")
    return list(_REGISTRY.classes[embedding_name].pretrained_file_name_sha1)


class _Pretrained(_TokenEmbedding):
    """Base of embeddings whose files others publish: they must be in `embedding_root`, below the class's name."""

    def __init__(
        self, pretrained_file_name: str, embedding_root: str | None = None,
        init_unknown_vec: Callable[..., Any] = ndarray.zeros, vocabulary: Vocabulary | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        root = os.path.join(data_dir(), "embeddings") if embedding_root is None else embedding_root
        self._load_embedding(self._get_pretrained_file(root, pretrained_file_name), " ", init_unknown_vec)
        self._build_embedding_for_vocabulary(vocabulary)


@register
class GloVe(_Pretrained):
    """Vectors of GloVe (Pennington et al., 2014)."""

    pretrained_file_name_sha1 = dict.fromkeys(
        (
            "glove.42B.300d.txt", "glove.6B.50d.txt", "glove.6B.100d.txt", "glove.6B.200d.txt", "glove.6B.300d.txt",
            "glove.840B.300d.txt", "glove.twitter.27B.25d.txt", "glove.twitter.27B.50d.txt",
            "glove.twitter.27B.100d.txt", "glove.twitter.27B.200d.txt",
        ), "",
    )  # fmt: skip

    def __init__(self, pretrained_file_name: str = "glove.840B.300d.txt", **kwargs: Any) -> None:
        self._check_pretrained_file_names(pretrained_file_name)
        super().__init__(pretrained_file_name, **kwargs)


@register
class FastText(_Pretrained):
    """Vectors of fastText (Bojanowski et al., 2016): any of its .vec files."""

    pretrained_file_name_sha1 = dict.fromkeys(("wiki.en.vec", "wiki.simple.vec", "crawl-300d-2M.vec"), "")

    def __init__(self, pretrained_file_name: str = "wiki.simple.vec", **kwargs: Any) -> None:
        super().__init__(pretrained_file_name, **kwargs)


class CustomEmbedding(_TokenEmbedding):
    """Vectors of a file of one's own, in which `elem_delim` stands between a token and its numbers."""

    def __init__(
        self, pretrained_file_path: str, elem_delim: str = " ", encoding: str = "utf8",
        init_unknown_vec: Callable[..., Any] = ndarray.zeros, vocabulary: Vocabulary | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._load_embedding(pretrained_file_path, elem_delim, init_unknown_vec, encoding)
        self._build_embedding_for_vocabulary(vocabulary)


class CompositeEmbedding(_TokenEmbedding):
    """The tokens of a vocabulary with the vectors that they have in several embeddings, beside each other."""

    def __init__(self, vocabulary: Vocabulary, token_embeddings: Any) -> None:
        super().__init__()
        self._take_tokens(vocabulary)
        several = token_embeddings if isinstance(token_embeddings, list) else [token_embeddings]
        for embedding in several:
            if not isinstance(embedding, _TokenEmbedding):
                raise AssertionError(f"token_embeddings must be embeddings, got {type(embedding).__name__}")
        self._take_vectors(several, self.idx_to_token)
