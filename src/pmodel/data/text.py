"""Texts as sequences of symbols: what one string is, and the alphabets that it can be written in.

A string is a paragraph, or a line where no line is blank; one of ``longest`` characters or more is cut at a space, so that
every string ends with an end symbol, however it is written. So the strings are the same for every alphabet, and bits per
character compare across alphabets. Symbols are learned from the training strings alone.

=============  =====================================================================================================
``tokens``     symbols
=============  =====================================================================================================
``character``  every character (a Hangul syllable is one)
``subword``    characters and what byte-pair encoding joins them to, up to ``vocabulary`` symbols (Sennrich et al. 2016)
``word``       characters and the most frequent words that come up twice, up to ``vocabulary`` symbols
=============  =====================================================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ..domain import Alphabet, Discrete, Sequences
from ..domain.alphabet import LONGEST_SYMBOL, MOST_SYMBOLS, TOKENS, UNKNOWN, normal, pieces
from ..errors import BadInput, DataError, NotSupported, unknown
from .csv_file import decoded
from .dataset import SMALL, Dataset, Split, assemble, set_apart, stored

__all__ = ["alphabet_of", "from_text", "load_text", "strings_of"]

LONGEST = 128
"""Characters of a string, the end among them, where nothing else is said."""
VOCABULARY = 1000
"""Symbols, where they are joined and nothing else is said."""
BLANK = re.compile(r"\n[ \t]*(?:\n\s*)+")


def load_text(
    path: Path,
    *,
    seed: int = 0,
    encoding: str | None = None,
    tokens: str = "character",
    vocabulary: int | None = None,
    longest: int | None = None,
) -> Dataset:
    """The strings of a text file.

    Args:
        path: A text, in UTF-8 if nothing else is said.
        seed: Of the split.
        encoding: Where it is neither UTF-8 nor marked UTF-16, such as ``cp949``.
        tokens: What a symbol is: ``character``, ``subword`` or ``word``.
        vocabulary: The most symbols, where they are joined; by default 1000.
        longest: The most characters of a string, its end among them; by default 128.

    Raises:
        DataError: if it cannot be read as text, or there is none.
        BadInput: if an option has a wrong value.
        NotSupported: if subwords are asked for and the library that learns them is not here.
    """
    text = decoded(path, encoding)
    return from_text(text, name=path.name, seed=seed, tokens=tokens, vocabulary=vocabulary, longest=longest)


def from_text(
    text: str | Sequence[str],
    *,
    name: str = "text",
    seed: int = 0,
    tokens: str = "character",
    vocabulary: int | None = None,
    longest: int | None = None,
) -> Dataset:
    """A data set of strings from a text in memory, or from several, each of which is one string or is cut.

    Arguments and errors are those of ``load_text``.
    """
    tokens, vocabulary, longest = _checked(tokens, vocabulary, longest)
    strings = strings_of(text, longest)
    if not strings:
        raise DataError(f"{name} holds no text.", got=f"{len(text)} characters, all of them blank")
    apart = {int(row) for rows in set_apart(len(strings), seed) for row in rows} if len(strings) > SMALL else set()
    training = [string for row, string in enumerate(strings) if row not in apart]
    alphabet = alphabet_of(training, tokens, vocabulary)
    levels = [alphabet.encode(string) for string in strings]
    domain = Sequences(Discrete((), len(alphabet)), 1 + max(map(len, levels)), ends=True, alphabet=alphabet)
    x = stored(domain.check([torch.tensor(row) for row in levels]), domain)
    return assemble(name, domain, Split(x), seed=seed, note=_note(alphabet, levels, strings, apart))


def _note(alphabet: Alphabet, levels: Sequence[Sequence[int]], strings: Sequence[str], apart: set[int]) -> str:
    strange, characters = sum(levels[row].count(0) for row in apart), sum(map(len, strings))
    note = f"{characters:,} characters in {len(alphabet)} symbols ({alphabet.tokens}s)".replace(",", " ")
    return note + (f"; {strange} characters of held-out strings are not among them" if strange else "")


def _checked(tokens: str, vocabulary: int | None, longest: int | None) -> tuple[str, int, int]:
    if tokens not in TOKENS:
        raise unknown("kind of symbols", str(tokens), TOKENS)
    if vocabulary is not None and tokens == "character":
        hint = "leave it out, or choose tokens=subword or tokens=word"
        raise BadInput("The alphabet of characters has as many symbols as there are.", got=vocabulary, hint=hint)
    for option, value, most in (("vocabulary", vocabulary, MOST_SYMBOLS), ("longest", longest, 2**16)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= most):
            raise BadInput(f"{option} is a whole number from 2 to {most}.", got=value)
    return tokens, vocabulary or VOCABULARY, longest or LONGEST


def strings_of(text: str | Sequence[str], longest: int) -> list[str]:
    """The strings of a text, each shorter than ``longest`` characters; blank ones are left out."""
    if isinstance(text, str):
        whole = normal(text.removeprefix("\ufeff"))
        text = BLANK.split(whole) if BLANK.search(whole.strip()) else whole.split("\n")
    return [part for string in text for part in _cut(normal(string).strip(), longest - 1) if part]


def _cut(string: str, most: int) -> Iterator[str]:
    """Parts of at most so many characters: up to the last space in them, or all of them where there is none."""
    while len(string) > most:
        at = max(string.rfind(space, 0, most) for space in " \n") + 1 or most
        yield string[:at]
        string = string[at:]
    yield string


def alphabet_of(strings: Sequence[str], tokens: str, vocabulary: int = VOCABULARY) -> Alphabet:
    """The alphabet that is learned from strings; which it is depends on nothing but them.

    Raises:
        NotSupported: if subwords are asked for and the library that learns them is not here.
    """
    characters = sorted(set().union(*map(set, strings)) - {UNKNOWN})
    symbols = [UNKNOWN, *characters]
    counts = Counter(piece for string in strings for piece in pieces(string))
    if tokens == "word":
        words = sorted((-n, word) for word, n in counts.items() if n > 1 and 1 < len(word) <= LONGEST_SYMBOL)
        symbols += [word for _, word in words[: max(0, vocabulary - len(symbols))]]
    if tokens == "subword":
        symbols = _byte_pairs(counts, symbols, max(vocabulary, len(symbols)))
    return Alphabet(tuple(symbols), tokens)  # type: ignore[arg-type]


def _byte_pairs(counts: Counter[str], symbols: list[str], vocabulary: int) -> list[str]:
    """The symbols, and those that byte-pair encoding adds to them, in its order."""
    try:
        from tokenizers import Tokenizer, models, trainers
    except ImportError as error:
        raise NotSupported(
            "Subwords are learned by the library tokenizers, which is not here.",
            got="tokens=subword",
            hint='pip install "pmodel[text]", or choose tokens=character or tokens=word',
        ) from error
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[UNKNOWN],
        initial_alphabet=symbols[1:],
        max_token_length=LONGEST_SYMBOL,
        show_progress=False,
    )
    tokenizer.train_from_iterator((word for word, n in sorted(counts.items()) for _ in range(n)), trainer)
    levels = tokenizer.get_vocab()
    return sorted(levels, key=levels.__getitem__)
