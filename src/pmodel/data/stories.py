"""Small stories in English and in Korean, told by a grammar: texts whose long memory is known.

Every story has a hero, a place, a number of things and their colour. They are named once and come back, as names, pronouns,
numbers and, in Korean, particles that agree with the last letter of their noun, up to two hundred characters later. So a
model that remembers five characters cannot know what one that remembers the story does. The stories are nobody's: the
grammar is part of pmodel and under its licence.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..randomness import derive
from .dataset import Dataset
from .text import from_text

__all__ = ["load_story", "stories"]

STORIES = 1000
TURNS, WAYS = 1000, (2, 3, 3)
"""How a story goes on, at its opening, in the middle and at its ending: a number below 1000, whose remainder is the way."""
Tell = Callable[[Mapping[str, str], Sequence[int]], str]
LONGEST = {"text-en": 264, "text-ko": 160}
"""The characters of a string: a story is seldom longer."""


ENGLISH = {
    "hero": [
        "Mara",
        "Tomas",
        "Ines",
        "Jonah",
        "Petra",
        "Oskar",
        "Lena",
        "Hugo",
        "Sofia",
        "Emil",
        "Clara",
        "Anton",
        "Nora",
        "Felix",
        "Alma",
        "Viktor",
    ],
    "place": [
        *("the mill", "the harbour", "the old bridge", "the orchard"),
        *("the lighthouse", "the market", "the valley", "the tower"),
    ],
    "thing": [
        *("lamp", "kettle", "ribbon", "basket", "button", "candle"),
        *("whistle", "feather", "ladder", "mirror", "pebble", "drum"),
    ],
    "colour": ["red", "green", "blue", "yellow", "white", "black", "silver", "brown", "purple", "golden"],
    "number": ["two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "person": ["baker", "miller", "sailor", "teacher", "neighbour", "stranger", "gardener", "tailor"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "weather": ["it rained", "the wind blew", "the sun shone", "snow fell", "the fog was thick", "the stars came out"],
}
WOMEN = frozenset(ENGLISH["hero"][:8])

KOREAN = {
    "hero": ["민수", "지영", "철호", "은경", "태준", "수빈", "영숙", "동현", "하늘", "보람", "정민", "가은"],
    "place": ["방앗간", "항구", "다리", "과수원", "등대", "시장", "골짜기", "탑", "우물", "언덕"],
    "thing": ["등잔", "주전자", "리본", "바구니", "단추", "양초", "호루라기", "깃털", "사다리", "거울", "조약돌", "북"],
    "colour": ["빨간", "푸른", "노란", "하얀", "검은", "은빛", "갈색", "보랏빛", "금빛", "초록"],
    "number": ["두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉"],
    "person": ["빵집 주인", "뱃사람", "선생님", "이웃 사람", "나그네", "정원사", "재단사", "할머니"],
    "day": ["월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"],
    "weather": ["비가 내렸다", "바람이 불었다", "해가 빛났다", "눈이 쌓였다", "안개가 짙었다", "별이 돋았다"],
}


def stories(name: str, count: int = STORIES, seed: int = 0) -> list[str]:
    """Stories of ``text-en`` or ``text-ko``, one string each."""
    words, tell = _grammar(name)
    stream = np.random.RandomState(derive(seed, name) % 2**32)
    return [tell(*_chosen(words, stream)) for _ in range(count)]


def load_story(
    name: str, *, tokens: str = "character", vocabulary: int | None = None, longest: int | None = None
) -> Dataset:
    """The named text, always the same. Options and errors are those of ``load_text``."""
    told = stories(name)
    data = from_text(
        told, name=name, tokens=tokens, vocabulary=vocabulary, longest=LONGEST[name] if longest is None else longest
    )
    best = entropy(name) / (sum(map(len, told)) / len(told))
    known = f"; the grammar itself needs {best:.4f} bits per character" if longest is None else ""
    return replace(data, note=data.note + known)


def entropy(name: str) -> float:
    """The entropy of a story in bits: of how it goes on, and of the words that it then uses. No model can need fewer."""
    words, tell = _grammar(name)
    total = 0.0
    for turns in itertools.product(*(range(ways) for ways in WAYS)):
        share = math.prod(len(range(turn, TURNS, ways)) / TURNS for turn, ways in zip(turns, WAYS, strict=True))
        first = {kind: choices[0] for kind, choices in words.items()}
        used = [
            len(choices)
            for kind, choices in words.items()
            if tell(first | {kind: choices[1]}, turns) != tell(first, turns)
        ]
        total += share * (sum(map(math.log2, used)) - math.log2(share))
    return total


def _grammar(name: str) -> tuple[Mapping[str, list[str]], Tell]:
    return (ENGLISH, _english) if name == "text-en" else (KOREAN, _korean)


def _chosen(words: Mapping[str, list[str]], stream: np.random.RandomState) -> tuple[dict[str, str], list[int]]:
    """The words of one story, and what decides how it goes on."""
    story = {kind: choices[stream.randint(len(choices))] for kind, choices in words.items()}
    return story, stream.randint(TURNS, size=len(WAYS)).tolist()


def _english(story: Mapping[str, str], turns: Sequence[int]) -> str:
    hero, number, colour, place = (story[kind] for kind in ("hero", "number", "colour", "place"))
    they, their = ("she", "her") if hero in WOMEN else ("he", "his")
    things, person = story["thing"] + "s", story["person"]
    opening = (
        f"{hero} lived near {place} and had {number} {colour} {things}.",
        f"Near {place} lived {hero}, and {they} had {number} {colour} {things}.",
    )[turns[0] % 2]
    middle = (
        f"One {story['day']} {story['weather']}, and a {person} came. "
        f'"Are these {colour} {things} yours?" asked the {person}. "All {number} of them," said {hero}.',
        f'On {story["day"]} a {person} came. "I need a {colour} {story["thing"]}," said the {person}, '
        f"and {hero} gave {their} best one away.",
        f"Every {story['day']} {they} counted the {things}: there were {number}, and all of them were {colour}.",
    )[turns[1] % 3]
    ending = (
        f"Then {hero} went back to {place} with {their} {colour} {things}.",
        f"The {person} never forgot {hero}.",
        f"And {hero} was glad to be home near {place}.",
    )[turns[2] % 3]
    return f"{opening} {middle} {ending}"


def _korean(story: Mapping[str, str], turns: Sequence[int]) -> str:
    hero, number, colour, place, thing = (story[kind] for kind in ("hero", "number", "colour", "place", "thing"))
    person, day = story["person"], story["day"]
    opening = (
        f"{place} 옆에 사는 {_with(hero, '은', '는')} {colour} {thing} {number} 개를 가지고 있었다.",
        f"{_with(hero, '은', '는')} {place} 옆에 살았고, {colour} {_with(thing, '이', '가')} {number} 개 있었다.",
    )[turns[0] % 2]
    middle = (
        f"어느 {day}에 {story['weather']}. {_with(person, '이', '가')} 와서 물었다. "
        f'"이 {colour} {_with(thing, "은", "는")} 네 것이냐?" {_with(hero, "이", "가")} 대답했다. '
        f'"{number} 개 모두 제 것입니다."',
        f'{day}에 {_with(person, "이", "가")} 왔다. "{colour} {_with(thing, "이", "가")} 하나 필요하구나." '
        f"{_with(hero, '은', '는')} {_with(person, '과', '와')} {_with(thing, '을', '를')} 나누었다.",
        f"{day}마다 {_with(hero, '은', '는')} {_with(thing, '을', '를')} 세었다. {number} 개였고 모두 {colour} 것이었다.",
    )[turns[1] % 3]
    ending = (
        f"그리고 {_with(hero, '은', '는')} {colour} {_with(thing, '을', '를')} 들고 {place} 옆으로 돌아갔다.",
        f"{_with(person, '은', '는')} {_with(hero, '을', '를')} 잊지 않았다.",
        f"{_with(hero, '은', '는')} {place} 옆의 집에서 기뻐했다.",
    )[turns[2] % 3]
    return f"{opening} {middle} {ending}"


def _with(noun: str, closed: str, open_: str) -> str:
    """The noun with the particle that follows its last syllable: one form after a consonant, another after a vowel."""
    return noun + (closed if (ord(noun[-1]) - ord("가")) % 28 else open_)
