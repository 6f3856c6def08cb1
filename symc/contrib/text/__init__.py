"""mx.contrib.text: vocabularies of tokens, and their vectors from files."""

from symc.contrib.text import embedding, utils, vocab

__all__ = ["embedding", "utils", "vocab"]
