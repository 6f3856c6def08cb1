"""Numbers for tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

__all__ = ["Vocabulary"]

#: the number of every token that is not known
UNKNOWN = 0


class Vocabulary:
    """Tokens by number: `unknown_token` (for all that are not known) is 0, then come `reserved_tokens`, then the keys
    of `counter`, the most frequent first and equally frequent ones in their own order: those that are there `min_freq`
    times, and at most `most_freq_count` of them."""

    def __init__(
        self, counter: Counter[Any] | None = None, most_freq_count: int | None = None, min_freq: int = 1,
        unknown_token: Hashable = "<unk>", reserved_tokens: Sequence[Any] | None = None,
    ) -> None:  # fmt: skip
        if min_freq <= 0:
            raise AssertionError(f"min_freq must be positive, got {min_freq}")
        reserved = list(reserved_tokens or ())
        if unknown_token in reserved or len(set(reserved)) < len(reserved):
            raise AssertionError(f"reserved_tokens {reserved} must differ from each other and from {unknown_token!r}")
        self._unknown_token: Any = unknown_token
        self._reserved_tokens = None if reserved_tokens is None else reserved
        self._idx_to_token: list[Any] = [unknown_token, *reserved]
        if counter is not None:
            if not isinstance(counter, Counter):
                raise AssertionError(f"counter must be a collections.Counter, got {type(counter).__name__}")
            known = set(self._idx_to_token)
            most = len(counter) if most_freq_count is None else most_freq_count
            ordered = sorted(sorted(counter), key=lambda token: -counter[token])
            wanted = [t for t in ordered if counter[t] >= min_freq and t not in known]
            self._idx_to_token += wanted[:most]
        self._token_to_idx = {token: number for number, token in enumerate(self._idx_to_token)}

    def __len__(self) -> int:
        return len(self._idx_to_token)

    @property
    def token_to_idx(self) -> dict[Any, int]:
        """The number of each token."""
        return self._token_to_idx

    @property
    def idx_to_token(self) -> list[Any]:
        """The tokens by number."""
        return self._idx_to_token

    @property
    def unknown_token(self) -> Any:
        """What stands for tokens that are not known."""
        return self._unknown_token

    @property
    def reserved_tokens(self) -> list[Any] | None:
        """Tokens that are always there."""
        return self._reserved_tokens

    def to_indices(self, tokens: Any) -> Any:
        """The number of a token, or of each token in a list."""
        if isinstance(tokens, list):
            return [self._token_to_idx.get(token, UNKNOWN) for token in tokens]
        return self._token_to_idx.get(tokens, UNKNOWN)

    def to_tokens(self, indices: Any) -> Any:
        """The token of a number, or of each number in a list. ValueError for numbers that no token has."""
        for number in indices if isinstance(indices, list) else [indices]:
            if not isinstance(number, int) or not 0 <= number < len(self):
                raise ValueError(f"no token has the number {number}: there are {len(self)}")
        return [self._idx_to_token[n] for n in indices] if isinstance(indices, list) else self._idx_to_token[indices]
