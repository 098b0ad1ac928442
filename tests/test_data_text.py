"""Texts: strings, alphabets, what is unknown, and the two named texts."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, trainers

from pmodel import load_data
from pmodel.data import from_text
from pmodel.data.stories import WAYS, _chosen, _grammar, entropy, stories
from pmodel.data.text import alphabet_of, strings_of
from pmodel.domain import Alphabet, domain_from_json
from pmodel.domain.alphabet import UNKNOWN, normal, pieces
from pmodel.errors import BadInput, DataError, NotSupported, UnknownName

ENGLISH, KOREAN = stories("text-en", 150), stories("text-ko", 150)
ALPHABETS = [
    alphabet_of(strings, tokens, 300) for strings in (ENGLISH, KOREAN) for tokens in ("character", "subword", "word")
]
TEXT = 'The king said: "한글 낱말은, 여기 있다."\n  two  spaces_x 12'


@pytest.mark.parametrize("text", [TEXT, "", " ", "\n\n", "a", "한글", "é́", "__  __"])
def test_pieces_are_the_whole_text(text):
    assert "".join(pieces(text)) == text


def test_hangul_words_are_pieces_with_the_space_before_them():
    assert pieces("여기 한글 낱말은, 있다.") == ["여기", " 한글", " 낱말은", ",", " 있다", "."]


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=lambda a: f"{a.tokens}-{len(a)}")
def test_what_is_encoded_is_decoded(alphabet):
    for string in (*ENGLISH, *KOREAN):
        if set(string) <= set("".join(alphabet.symbols)):
            assert alphabet.decode(alphabet.encode(string)) == string
    assert alphabet.decode(alphabet.encode("☃")) == UNKNOWN
    assert json.loads(json.dumps(alphabet.to_json())) == alphabet.to_json()
    assert Alphabet(**alphabet.to_json()) == alphabet


def test_decomposed_hangul_is_composed():
    apart = "\u1112\u1161\u11ab\u1100\u1173\u11af"  # ㅎㅏㄴㄱㅡㄹ
    assert normal(apart) == "한글"
    alphabet = alphabet_of(["한글"], "character")
    assert alphabet.encode(apart) == alphabet.encode("한글") == [2, 1]
    assert normal("a\r\nb\rc") == "a\nb\nc"


@pytest.mark.parametrize("strings", [ENGLISH, KOREAN], ids=["english", "korean"])
def test_subwords_are_those_of_the_library(strings):
    """Our list and our joining against the library's own merges."""
    alphabet = alphabet_of(strings, "subword", 400)
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    trainer = trainers.BpeTrainer(
        vocab_size=400, min_frequency=2, special_tokens=[UNKNOWN], show_progress=False,
        initial_alphabet=sorted(set("".join(strings))),
    )  # fmt: skip
    tokenizer.train_from_iterator(sorted(piece for string in strings for piece in pieces(string)), trainer)
    assert len(alphabet) == tokenizer.get_vocab_size() > 200
    for string in strings:
        expected = [token for piece in pieces(string) for token in tokenizer.encode(piece).ids]
        assert alphabet.encode(string) == expected


def test_words_are_the_frequent_ones_and_others_are_spelt():
    alphabet = alphabet_of(["the cat and the dog and the bird"], "word")
    assert alphabet.symbols[-2:] == (" and", " the")
    assert [alphabet.symbols[level] for level in alphabet.encode(" the cat")] == [" the", " ", "c", "a", "t"]


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=lambda a: f"{a.tokens}-{len(a)}")
def test_characters_are_counted_whatever_the_symbols_are(alphabet):
    strings = [*ENGLISH[:20], *KOREAN[:20], "☃ snow"]
    rows = [torch.tensor(alphabet.encode(string)) for string in strings]
    x = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=len(alphabet))
    assert alphabet.characters(x).tolist() == list(map(len, strings))
    assert int(alphabet.unknown(x)[-1]) >= 1


@pytest.mark.parametrize(
    ("symbols", "tokens"),
    [
        ([], "character"),
        (["a", "b"], "character"),
        ([UNKNOWN, "a", "a"], "character"),
        ([UNKNOWN, ""], "word"),
        ([UNKNOWN, "a" * 257], "word"),
        ([UNKNOWN, 1], "word"),
        ("abc", "word"),
        ([UNKNOWN, "a"], "syllable"),
        ([UNKNOWN, *map(str, range(2**17))], "word"),
    ],
)
def test_odd_alphabets_are_refused(symbols, tokens):
    with pytest.raises(BadInput):
        Alphabet(symbols, tokens)


# strings


def test_paragraphs_are_strings_and_so_are_lines_where_none_is_blank():
    assert strings_of("a b\nc\n \n\nd\r\n\r\ne", 99) == ["a b\nc", "d", "e"]
    assert strings_of("a b\nc\n", 99) == ["a b", "c"]
    assert strings_of(["a\n\nb", " ", "c"], 99) == ["a\n\nb", "c"]


def test_long_strings_are_cut_at_a_space():
    parts = strings_of("one two three four " + "x" * 25, 11)
    assert parts == ["one two ", "three ", "four ", "x" * 10, "x" * 10, "x" * 5]


@pytest.mark.parametrize("tokens", ["character", "subword", "word"])
def test_a_data_set_of_text(tokens):
    data = from_text(KOREAN, tokens=tokens, longest=160)
    assert [len(split) for split in data.splits.values()] == [120, 15, 15]
    assert sorted(data.domain.texts(torch.cat([split.x for split in data.splits.values()]))) == sorted(KOREAN)
    assert data.domain.ends
    assert domain_from_json(json.loads(json.dumps(data.domain.to_json()))) == data.domain
    assert data.domain.lengths(data.train.x).max() < data.domain.longest
    assert from_text(KOREAN, tokens=tokens, longest=160).hash == data.hash


def test_the_alphabet_is_that_of_the_training_strings():
    strings = [*["ab"] * 200]
    plain = from_text(strings)
    held_out = next(n for n in range(200) if not _in_training(n))
    strings[held_out] = "☃☃"
    data = from_text(strings)
    assert data.domain == plain.domain
    assert "2 characters of held-out strings are not among them" in data.note
    strings[next(n for n in range(200) if _in_training(n))] = "a\ufffdb"
    assert "2 characters of held-out strings are not among them" in from_text(strings).note


def _in_training(n):
    strings = ["ab"] * 200
    strings[n] = "ac"
    return "c" in from_text(strings).domain.alphabet.symbols


def test_a_text_file(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes("\ufeff하나 둘\r\n\r\n셋".encode())
    data = load_data(path)
    assert data.domain.texts(data.train.x) == ["하나 둘", "셋"]
    assert data.summary == "book.txt: 2 / 2 / 2 texts of up to 5 characters, 6 symbols"
    path.write_bytes("하나 둘".encode("cp949"))
    with pytest.raises(DataError, match="not utf-8 text"):
        load_data(path)
    assert load_data(path, encoding="cp949").domain.texts(load_data(path, encoding="cp949").train.x) == ["하나 둘"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"tokens": "letter"}, UnknownName, "letter"),
        ({"vocabulary": 50}, BadInput, "characters"),
        ({"tokens": "word", "vocabulary": 1}, BadInput, "vocabulary"),
        ({"longest": 1}, BadInput, "longest"),
        ({"longest": True}, BadInput, "longest"),
    ],
)
def test_bad_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        from_text("a\nb", **options)


def test_a_blank_text_is_no_data():
    with pytest.raises(DataError, match="holds no text"):
        from_text(" \n\n ")


def test_without_the_library_subwords_are_refused_and_the_rest_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(NotSupported, match="tokenizers"):
        from_text("a\nb", tokens="subword")
    alphabet = ALPHABETS[1]
    assert alphabet.decode(alphabet.encode(ENGLISH[0])) == ENGLISH[0]


def test_subwords_do_not_depend_on_the_process():
    program = (
        "from pmodel.data.stories import stories; from pmodel.data.text import alphabet_of;"
        "print(list(map(ord, ''.join(alphabet_of(stories('text-ko', 150), 'subword', 300).symbols))))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(list(map(ord, "".join(ALPHABETS[4].symbols))))


# the named texts


@pytest.mark.parametrize("name", ["text-en", "text-ko"])
def test_named_texts_are_whole_stories(name):
    data = load_data(name)
    assert sum(map(len, data.splits.values())) == 1000
    texts = data.domain.texts(data.test.x)
    assert set(texts) <= set(stories(name))
    assert int(data.domain.characters(data.train.x).sum()) > 60_000
    with pytest.raises(BadInput, match="tokens, vocabulary, longest"):
        load_data(name, levels=3)


def test_a_story_comes_back_to_its_things_and_their_colour():
    again = [text for text in ENGLISH if "yours?" in text]
    assert again
    for text in again:
        colour, things = text.split(" had ")[1].split(".")[0].split()[1:]
        assert f"Are these {colour} {things} yours?" in text


@pytest.mark.parametrize(("noun", "particle"), [("거울", "거울을"), ("사다리", "사다리를"), ("북", "북을")])
def test_korean_particles_agree_with_the_last_letter(noun, particle):
    other = noun + ("를" if particle.endswith("을") else "을")
    text = " ".join(stories("text-ko", 400))
    assert particle in text
    assert other not in text


@pytest.mark.parametrize("name", ["text-en", "text-ko"])
def test_the_entropy_of_the_grammar_is_that_of_its_strings(name):
    """By the guesses that are left: a word counts where another one would have made another story."""
    words, tell = _grammar(name)
    stream = np.random.RandomState(0)
    bits = []
    for _ in range(600):
        story, turns = _chosen(words, stream)
        text = tell(story, turns)
        bits.append(sum(math.log2(ways) for ways in WAYS))
        for kind, choices in words.items():
            others = [choice for choice in choices if tell(story | {kind: choice}, turns) != text]
            assert len(others) in (0, len(choices) - 1)
            bits[-1] += math.log2(len(others) + 1)
    assert entropy(name) == pytest.approx(np.mean(bits), abs=5 * np.std(bits) / 600**0.5)
    data = load_data(name)
    assert float(data.note.split("needs ")[1].split()[0]) == pytest.approx(
        1000 * entropy(name) / sum(int(data.domain.characters(split.x).sum()) for split in data.splits.values()),
        abs=1e-4,
    )
