from __future__ import annotations

from moue.actions import ACTIONS, sides
from moue.glossary import WORDS, meaning, region


def test_every_action_has_its_words_and_no_other() -> None:
    assert {side for name in WORDS for side in sides(name)} == set(ACTIONS)
    said = [meaning(name) for name in ACTIONS]
    assert len(set(said)) == len(ACTIONS)
    assert all(words and "{" not in words for words in said)
    assert meaning("eyeLookOutRight") == "the right eye looks away from the nose"
    assert meaning("jawLeft") == "the jaw moves to the left"
    assert meaning("tongueOut") == ""


def test_actions_of_a_region_stand_together() -> None:
    regions = [region(name) for name in ACTIONS]
    turns = [
        one for one, next_one in zip(regions, [*regions[1:], ""], strict=True) if one != next_one
    ]
    assert turns == ["eyes", "jaw", "mouth", "brows", "cheeks & nose", "head"]
