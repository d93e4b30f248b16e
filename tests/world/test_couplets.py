"""Couplets: the checker against the definition written out, the generators against the checker."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from labkit.world import World, couplets
from labkit.world.settings import lexicon

TABLE = lexicon("couplets", "zh")["characters"]


def kind_of(char):
    return next((kind for kind, tones in TABLE.items() for chars in tones.values() if char in chars), None)


def is_level(char):
    return any(char in tones["level"] for tones in TABLE.values())


def by_definition(first, second):
    """Chinese couplets, straight from the rules: even places and the last alternate and oppose."""
    size = len(first)
    if size != len(second) or size not in (5, 7) or None in map(kind_of, first + second):
        return False
    if len(set(first + second)) < 2 * size or [kind_of(c) for c in first] != [kind_of(c) for c in second]:
        return False
    bound = [*range(1, size, 2), size - 1]  # counted from 0
    levels = [is_level(first[place]) for place in bound]
    even = levels[:-1]
    alternates = all(a != b for a, b in itertools.pairwise(even))
    return alternates and not levels[-1] and all(is_level(first[place]) != is_level(second[place]) for place in bound)


ALL = "".join(chars for tones in TABLE.values() for chars in tones.values())


@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 13), st.sampled_from(ALL + "石")), max_size=3))
def test_checker_agrees_with_the_definition_on_altered_couplets(seed, changes):
    text = list("".join(couplets.couplet(random.Random(seed))))
    for place, char in changes:
        text[place % len(text)] = char
    first, second = "".join(text[: len(text) // 2]), "".join(text[len(text) // 2 :])
    found = couplets.faults(first, second)
    assert (not found) == by_definition(first, second), found


def test_every_couplet_made_is_one_and_broken_when_its_lines_change_places():
    """For that breaks its closing tones."""
    rng = random.Random(0)
    pairs = [couplets.couplet(rng) for _ in range(500)]
    assert all(couplets.faults(second, first) and not couplets.faults(first, second) for first, second in pairs)
    assert {len(first) for first, _ in pairs} == {5, 7} and len(set(pairs)) > 480


def test_faults_say_what_is_wrong():
    assert couplets.faults("清风摇翠柳", "淡月照香桃") == []
    assert couplets.faults("清风摇翠柳", "淡月照香") == [
        "the lines have 5 and 4 characters; both must have 5, or both 7"
    ]
    assert couplets.faults("清风摇翠柳", "淡月照香石") == ["'石' is not in the table of characters"]
    assert "'风' stands more than once" in couplets.faults("清风摇翠柳", "淡风照香桃")
    assert "place 2: 风 is of class sky, 花 of class plant" in couplets.faults("清风摇翠柳", "淡花照香桃")
    assert "place 5: 柳 and 草 are both oblique" in couplets.faults("清风摇翠柳", "淡月照香草")


def test_tones_of_well_known_characters_and_no_character_twice():
    table = couplets.characters()
    assert all(table[char][1] == "level" for char in "天风山花春秋来开三东")
    assert all(table[char][1] == "oblique" for char in "日月水草雨雪去万上下")
    assert len(ALL) == len(set(ALL)) == len(table)


def test_documents():
    texts = list(itertools.islice(couplets.documents(World(), "zh", random.Random(0)), 300))
    assert 60 < sum("对" in text for text in texts) < 180
