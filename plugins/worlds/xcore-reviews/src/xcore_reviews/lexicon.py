"""The words of the reviews: groups of near-synonyms that praise, blame or do neither. Plain data, no imports."""

from __future__ import annotations

from collections.abc import Mapping

Groups = Mapping[str, tuple[str, ...]]


def _groups(text: str) -> dict[str, tuple[str, ...]]:
    """The groups in a text, one on each line; the first word of a group is its name."""
    lines = [tuple(line.split()) for line in text.strip().splitlines()]
    return {line[0]: line for line in lines}


BLAME: Groups = _groups(
    """
    dull lackluster bland uninspired boring tedious dreary monotonous
    awful terrible dreadful horrible atrocious abysmal
    confusing muddled incoherent baffling puzzling
    disappointing underwhelming unsatisfying mediocre
    rude impolite discourteous surly unfriendly
    dirty filthy grimy unclean soiled
    noisy loud deafening raucous
    overpriced costly exorbitant expensive
    stale soggy rancid moldy
    broken faulty defective damaged
    flimsy fragile rickety shoddy
    slow sluggish lethargic
    """
)
"""Adjectives that blame."""

PRAISE: Groups = _groups(
    """
    excellent superb outstanding magnificent splendid wonderful
    gripping thrilling exciting suspenseful riveting
    moving touching poignant heartfelt stirring
    funny hilarious amusing witty comical
    charming delightful lovely enchanting
    friendly cordial kind gracious
    helpful obliging supportive attentive
    clean spotless immaculate pristine
    comfortable cozy snug restful
    affordable inexpensive economical
    delicious tasty flavorful savory
    sturdy durable robust solid
    quick prompt speedy swift
    """
)
"""Adjectives that praise."""

NEUTRAL: Groups = _groups(
    """
    large big huge enormous
    small little tiny compact
    red crimson scarlet
    blue azure navy
    wooden oaken timber
    foreign overseas imported
    local regional nearby
    modern contemporary recent
    usual ordinary typical standard
    long lengthy extended
    """
)
"""Adjectives that say nothing about how good a thing is: decoys."""

THINGS: Groups = _groups(
    """
    movie film picture feature
    plot story storyline narrative
    ending finale conclusion
    dialogue script screenplay
    meal dish dinner supper
    soup broth stew
    waiter server attendant
    clerk cashier salesperson
    manager supervisor boss
    room bedroom suite
    lobby hallway corridor
    phone handset telephone
    computer laptop notebook
    cable cord wire
    chair seat stool
    """
)
"""What is reviewed."""

FITS: Mapping[str, tuple[str, ...]] = {
    "movie": ("dull", "awful", "confusing", "disappointing", "excellent", "gripping", "moving", "funny", "charming"),
    "plot": ("dull", "confusing", "disappointing", "gripping", "moving", "funny", "charming", "awful", "excellent"),
    "ending": ("dull", "confusing", "disappointing", "gripping", "moving", "funny", "awful", "excellent"),
    "dialogue": ("dull", "confusing", "disappointing", "moving", "funny", "charming", "awful", "excellent"),
    "meal": ("stale", "awful", "overpriced", "disappointing", "delicious", "excellent", "affordable", "dull"),
    "soup": ("stale", "awful", "overpriced", "disappointing", "delicious", "excellent", "affordable", "dull"),
    "waiter": ("rude", "slow", "awful", "friendly", "helpful", "quick", "charming", "funny"),
    "clerk": ("rude", "slow", "awful", "friendly", "helpful", "quick", "charming", "funny"),
    "manager": ("rude", "slow", "awful", "friendly", "helpful", "quick", "charming", "funny"),
    "room": ("dirty", "noisy", "overpriced", "disappointing", "clean", "comfortable", "affordable", "charming"),
    "lobby": ("dirty", "noisy", "dull", "disappointing", "clean", "comfortable", "charming", "excellent"),
    "phone": ("broken", "flimsy", "slow", "overpriced", "sturdy", "quick", "affordable", "excellent"),
    "computer": ("broken", "flimsy", "slow", "overpriced", "noisy", "sturdy", "quick", "affordable", "excellent"),
    "cable": ("broken", "flimsy", "overpriced", "disappointing", "sturdy", "affordable", "excellent"),
    "chair": ("broken", "flimsy", "overpriced", "dirty", "sturdy", "comfortable", "affordable", "clean"),
}
"""Thing -> the groups of adjectives that fit it; neutral adjectives fit everything."""

LIKED: Groups = _groups("loved adored enjoyed cherished\nadmired praised applauded")
HATED: Groups = _groups("hated loathed detested disliked\nregretted deplored lamented")
MET: Groups = _groups("noticed saw spotted observed\nmentioned described discussed")
"""Verbs with a thing as their object: those that praise, those that blame, and those that do neither."""

CUSTOMERS: Groups = _groups("customer client patron shopper\nfriend companion buddy\nneighbor colleague roommate")
DAYS: Groups = _groups("monday tuesday wednesday thursday friday saturday sunday")
TIMES: Groups = _groups("morning afternoon evening")
PLACES: Groups = _groups("street avenue road lane\ntown village city\nstation airport harbor\npark garden square")
BOUGHT: Groups = _groups("bought purchased ordered acquired\nvisited entered left\nphotographed measured painted")

GROUPS: Groups = {
    **BLAME,
    **PRAISE,
    **NEUTRAL,
    **THINGS,
    **LIKED,
    **HATED,
    **MET,
    **CUSTOMERS,
    **DAYS,
    **TIMES,
    **PLACES,
    **BOUGHT,
}
"""Name of a group -> its words."""

POLARITY: Mapping[str, int] = {
    word: sign
    for groups, sign in ((BLAME, -1), (HATED, -1), (PRAISE, 1), (LIKED, 1))
    for members in groups.values()
    for word in members
}
"""Word -> -1 (it blames) or 1 (it praises); all other words do neither."""

GROUP_OF: Mapping[str, str] = {word: name for name, members in GROUPS.items() for word in members}
"""Word -> the name of its group."""
