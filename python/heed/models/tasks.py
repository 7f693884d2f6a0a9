# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Documents that ask for what stands in them, in the form of completions.

A small model cannot follow instructions; but it continues "The secret word of
Paris is" by a word, and how much likelier the right one is than the others is a
graded answer. All questions of a document stand at its end, each followed by its
answer, so that one forward scores them all.

A tokenizer is what `encode(text) -> list of ids` says, without special tokens.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from heed.models.errors import InputError

PLACES = """Paris London Berlin Madrid Rome Vienna Athens Dublin Lisbon Warsaw Oslo
Prague Cairo Tokyo Moscow Boston Chicago Dallas Denver Seattle Houston Toronto
Sydney Havana""".split()
KEYS = """Alice Robert Emma Peter Maria George Anna Henry Laura Thomas Julia Edward
Clara Frank Helen Martin Sarah Walter Nancy Simon Rachel Oliver Susan Victor Diana
Arthur Linda Oscar Martha Philip Rose Samuel""".split()
WORDS = """river apple garden window silver mountain bottle candle forest hammer
island kitchen ladder mirror needle orange pencil rabbit saddle table umbrella
violin wagon yellow bridge castle dragon engine feather guitar honey jacket kettle
lemon market ocean palace ring school tower valley winter basket camera desert
flower horse iron""".split()


@dataclass
class Item:
    """A question: the token at `position` should be `right`.

    distractors: tokens that it could be; depth: where in the document the answer
    stands, 0 to 1; distance: tokens from there to the question.
    """

    position: int
    right: int
    distractors: list
    chance: float
    depth: float
    distance: int


@dataclass
class Document:
    ids: list
    items: list = field(default_factory=list)


def sentences(text):
    """Sentences of prose, blanks made one, without headings and other short lines."""
    text = re.sub(r"\s+", " ", text)
    found = re.findall(r"[A-Z\"'][^.!?]*[.!?][\"']?", text)
    return [s.strip() for s in found if len(s) > 20]


class Prose:
    """Sentences of a text, handed out in their order, as tokens."""

    def __init__(self, text, encode):
        self._encode = encode
        self._sentences = sentences(text)
        self._next = 0

    def take(self, tokens):
        """Lists of tokens, a sentence each, `tokens` in sum or a few fewer."""
        taken, length = [], 0
        while self._next < len(self._sentences):
            ids = self._encode(" " + self._sentences[self._next])
            if length + len(ids) > tokens:
                return taken
            self._next += 1
            taken.append(ids)
            length += len(ids)
        raise InputError("the text is too short for the documents of the tasks")


def single_words(words, encode):
    """(word, first token of " word"): words whose first tokens differ."""
    seen, result = set(), []
    for word in words:
        first = encode(" " + word)[0]
        if first not in seen:
            seen.add(first)
            result.append((word, first))
    return result


def _ask(document, encode, questions, candidates):
    """Appends questions: (text, word, its token, position of its place)."""
    for text, word, token, place in questions:
        document.ids += encode(text)
        position = len(document.ids)
        document.items.append(
            Item(
                position,
                token,
                [c for c in candidates if c != token],
                1 / len(candidates),
                place / position,
                position - place,
            )
        )
        document.ids += encode(" " + word) + encode(".")


def _insert(chunks, needles):
    """Tokens of chunks with needles at even depths, and where each begins."""
    ids, places, length = [], [], sum(map(len, chunks))
    waiting = list(enumerate(needles))
    for chunk in chunks:
        while waiting and len(ids) >= (waiting[0][0] + 0.5) / len(needles) * length:
            places.append(len(ids))
            ids += waiting.pop(0)[1]
        ids += chunk
    for _, needle in waiting:
        places.append(len(ids))
        ids += needle
    return ids, places


def needle(prose, encode, rng, tokens, count=8):
    """Words of places, hidden in prose at even depths; chance is 1 / count."""
    words = single_words(WORDS, encode)
    places = [PLACES[i] for i in rng.choice(len(PLACES), count, replace=False)]
    chosen = [words[i] for i in rng.choice(len(words), count, replace=False)]
    hidden = [
        encode(f" The secret word of {place} is {word}.")
        for place, (word, _) in zip(places, chosen)
    ]
    ask = "\nThe secret word of {} is"
    room = tokens - sum(map(len, hidden)) - count * (len(encode(ask.format("A"))) + 4)
    ids, at = _insert(prose.take(room), hidden)
    document = Document(ids)
    questions = [
        (ask.format(places[i]), *chosen[i], at[i]) for i in rng.permutation(count)
    ]
    _ask(document, encode, questions, [token for _, token in chosen])
    return document


def kv(prose, encode, rng, tokens, count=24, asked=12):
    """A list of names and words, then prose, then names; chance is 1 / count."""
    words = single_words(WORDS, encode)
    keys = [KEYS[i] for i in rng.choice(len(KEYS), count, replace=False)]
    chosen = [words[i] for i in rng.choice(len(words), count, replace=False)]
    ids, at = [], []
    for key, (word, _) in zip(keys, chosen):
        at.append(len(ids))
        ids += encode(f"\n{key}:") + encode(" " + word) + encode(".")
    room = tokens - len(ids) - asked * 6
    document = Document(ids + encode("\n") + sum(prose.take(room), []))
    questions = [
        (f"\n{keys[i]}:", *chosen[i], at[i]) for i in rng.permutation(count)[:asked]
    ]
    _ask(document, encode, questions, [token for _, token in chosen])
    return document


def passkey(prose, encode, rng, tokens, depth, digits=5):
    """A number in prose at one depth; each digit is a question of its own.

    Distractors are the other digits in its place, the digits before it given.
    """
    key = "".join(map(str, rng.integers(0, 10, digits)))
    hidden = encode(f" The pass key is {key}. Remember it. {key} is the pass key.")
    ask = encode("\nThe pass key is")
    answer = encode(" " + key)
    chunks = prose.take(tokens - len(hidden) - len(ask) - len(answer))
    length, ids, at = sum(map(len, chunks)), [], None
    for chunk in chunks:
        if at is None and len(ids) >= depth * length:
            at = len(ids)
            ids += hidden
        ids += chunk
    if at is None:
        at = len(ids)
        ids += hidden
    document = Document(ids + ask)
    begin = len(document.ids)
    others = {}  # by token of the answer
    for place in range(digits):
        for digit in map(str, range(10)):
            if digit == key[place]:
                continue
            other = encode(" " + key[:place] + digit + key[place + 1 :])
            for t, (mine, its) in enumerate(zip(answer, other)):
                if mine != its:
                    others.setdefault(t, set()).add(its)
                    break
    for t, tokens_ in sorted(others.items()):
        document.items.append(
            Item(
                begin + t,
                answer[t],
                sorted(tokens_),
                1 / (1 + len(tokens_)),
                at / begin,
                begin - at,
            )
        )
    document.ids += answer
    return document


def induction(vocabulary, rng, length, every=4, choices=16):
    """`length` different tokens in random order, twice; chance is 1 / choices.

    vocabulary: tokens to draw from. Every fourth token of the second copy is a
    question; distractors are others of the copy.
    """
    vocabulary = np.unique(vocabulary)
    if len(vocabulary) < length:
        raise InputError(
            f"induction: the text has {len(vocabulary)} different tokens, "
            f"fewer than {length}"
        )
    block = rng.choice(vocabulary, length, replace=False)
    document = Document([int(token) for token in block] * 2)
    for i in range(every, length, every):
        others = rng.choice(length - 1, choices - 1, replace=False)
        others += others >= i
        document.items.append(
            Item(
                length + i,
                int(block[i]),
                [int(block[j]) for j in others],
                1 / choices,
                i / (length + i),
                length,
            )
        )
    return document


def build(task, text, encode, rng, tokens, count):
    """`count` documents of a task, of at most `tokens` tokens each.

    Raises InputError for a task that does not exist or a text that is too short.
    """
    if task not in TASKS:
        raise InputError(f"--tasks {task}: is none of lm, {', '.join(TASKS)}")
    if task == "induction":
        vocabulary = encode(text[:200000])
        return [induction(vocabulary, rng, tokens // 2) for _ in range(count)]
    prose = Prose(text, encode)
    if task == "passkey":
        return [
            passkey(prose, encode, rng, tokens, (i + 0.5) / count) for i in range(count)
        ]
    make = {"needle": needle, "kv": kv}[task]
    return [make(prose, encode, rng, tokens) for _ in range(count)]


def begun_by(prefix, documents):
    """The documents, after tokens that a model's texts begin with."""
    for document in documents:
        document.ids = prefix + document.ids
        for item in document.items:
            item.position += len(prefix)
    return documents


# Name: what is asked.
TASKS = {
    "needle": "words of eight places, hidden in prose",
    "passkey": "a number of five digits, hidden in prose, digit by digit",
    "kv": "words by name, from a list before the prose",
    "induction": "random tokens, repeated",
}
