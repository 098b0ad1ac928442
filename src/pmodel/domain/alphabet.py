"""The symbols of a text: what each level is written as, and how a text is taken apart into them."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, final

import torch
from torch import Tensor

from ..errors import BadInput

__all__ = ["CODE_POINTS", "TOKENS", "UNKNOWN", "Alphabet", "normal", "pieces"]

TOKENS = ("character", "subword", "word")
UNKNOWN = "\ufffd"
"""How a character is written that is not in the alphabet: the first symbol of every alphabet."""
CODE_POINTS = 1_112_064
"""The characters that Unicode has room for."""
MOST_SYMBOLS, LONGEST_SYMBOL, MOST_CHARACTERS = 2**17, 256, 2**22
PIECES = re.compile(r" ?\w+| ?[^\w\s]+|\s+")
"""Words with the space before them, marks, and spaces: together they are the whole text. Hangul are letters."""


def normal(text: str) -> str:
    """The text in Unicode's composed form (NFC), in which a Hangul syllable is one character; lines end with one newline."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def pieces(text: str) -> list[str]:
    """The words, marks and spaces of a text, which are joined to it again."""
    return PIECES.findall(text)


@final
@dataclass(frozen=True)
class Alphabet:
    """The symbols of a text. Text is their concatenation, so that reading it needs no more than the list.

    Writing it in symbols is deterministic, and needs no more either: a word that is no symbol is spelt in characters, and a
    piece of text is put together from characters by joining, again and again, the neighbours whose union comes first in the
    list. For an alphabet whose symbols are in the order in which byte-pair encoding made them (Sennrich et al. 2016), that
    is its encoding. Only single characters can be unknown.

    Args:
        symbols: What each level is written as; the first stands for any character that is none of them.
        tokens: What they are: ``character``, ``subword`` or ``word``.
    """

    symbols: tuple[str, ...] = field(repr=False)
    tokens: Literal["character", "subword", "word"] = "character"

    def __post_init__(self) -> None:
        symbols = self.symbols
        listed = not isinstance(symbols, str) and isinstance(symbols, Sequence)
        if not listed or not all(isinstance(symbol, str) for symbol in symbols):
            raise BadInput("An alphabet is a list of texts.", got=type(symbols).__name__)
        object.__setattr__(self, "symbols", tuple(symbols))
        if self.tokens not in TOKENS:
            raise BadInput(f"Tokens are one of {', '.join(TOKENS)}.", got=self.tokens)
        if len(symbols) > MOST_SYMBOLS or sum(map(len, symbols)) > MOST_CHARACTERS:
            raise BadInput(f"An alphabet has at most {MOST_SYMBOLS} symbols.", got=len(symbols))
        if self.symbols[:1] != (UNKNOWN,) or len(set(self.symbols)) < len(self.symbols):
            raise BadInput(
                "The symbols of an alphabet differ, and the first is U+FFFD, the unknown one.", got=len(symbols)
            )
        if not all(1 <= len(symbol) <= LONGEST_SYMBOL for symbol in self.symbols):
            raise BadInput(f"A symbol is 1 to {LONGEST_SYMBOL} characters.", got=max(self.symbols, key=len))

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _level(self) -> Mapping[str, int]:
        return {symbol: level for level, symbol in enumerate(self.symbols)}

    @cached_property
    def _known(self) -> dict[str, list[int]]:
        """Pieces that were encoded before."""
        return {}

    def encode(self, text: str) -> list[int]:
        """The levels of the symbols of a text."""
        return [level for piece in pieces(normal(text)) for level in self._of_piece(piece)]

    def _of_piece(self, piece: str) -> list[int]:
        if piece not in self._known:
            if len(self._known) > MOST_SYMBOLS:
                self._known.clear()
            self._known[piece] = self._encoded(piece)
        return self._known[piece]

    def _encoded(self, piece: str) -> list[int]:
        if self.tokens == "word" and piece in self._level:
            return [self._level[piece]]
        parts = list(piece)
        while self.tokens == "subword" and len(parts) > 1:
            joined = [self._level.get(a + b, len(self)) for a, b in itertools.pairwise(parts)]
            if (first := min(joined)) == len(self):
                break
            parts = _joined(parts, self.symbols[first])
        return [self._level.get(part, 0) for part in parts]

    def decode(self, levels: Sequence[int]) -> str:
        """The text of some levels."""
        return "".join(self.symbols[level] for level in levels)

    def characters(self, x: Tensor) -> Tensor:
        """The number of characters of each text, ``(N, T) -> (N,)``; levels beyond the alphabet, such as the end, are none."""
        widths = torch.tensor([*map(len, self.symbols), 0], device=x.device)
        return widths[x.long().clamp(max=len(self))].sum(1)

    def unknown(self, x: Tensor) -> Tensor:
        """The number of characters of each text that are not in the alphabet, ``(N,)``."""
        return (x == 0).sum(1)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"tokens": self.tokens, "symbols": list(self.symbols)}


def _joined(parts: Sequence[str], symbol: str) -> list[str]:
    """The parts with neighbours that make up the symbol joined, from the left."""
    found: list[str] = []
    for part in parts:
        if found and found[-1] + part == symbol:
            found[-1] = symbol
        else:
            found.append(part)
    return found
