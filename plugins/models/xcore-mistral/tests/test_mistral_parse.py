"""Answers taken apart: lists in every form, prose, echoes, cuts."""

from __future__ import annotations

import pytest
from xcore_mistral.parse import parse

THREE = ("client", "purchaser", "consumer")


@pytest.mark.parametrize(
    "answer",
    [
        "client, purchaser, consumer",
        " Client,purchaser ,  CONSUMER.",
        "client, purchaser and consumer",
        "client, purchaser, and consumer",
        "client; purchaser; consumer",
        "client / purchaser / consumer",
        "client\npurchaser\nconsumer",
        "[client, purchaser, consumer]",
        "['client', 'purchaser', 'consumer']",
        "Sure! [client, purchaser, consumer] These are three.",
        "**client**, *purchaser*, `consumer`",
        '"client", “purchaser”, ‘consumer’',
        "1. client\n2. purchaser\n3. consumer",
        "1) Client\n2) Purchaser\n3) Consumer\n\nThese are the words.",
        "1. client 2. purchaser 3. consumer",
        "1. client, 2. purchaser, 3. consumer",
        "- client\n- purchaser\n- consumer",
        "• client\n• purchaser\n• consumer",
        "1. client: a person who pays\n2. purchaser - one who buys\n3. consumer (uses things)",
        "Here are some synonyms for customer: client, purchaser, consumer",
        "Sure, here are synonyms of the word you asked about:\n\nclient, purchaser, consumer",
        "Sure, here is a list:\n1. client\n2. purchaser\n3. consumer",
        "Synonyms: client, purchaser, consumer",
        "client, purchaser, consumer. They all mean somebody who buys, of course.",
        "client, customer, purchaser, Client, consumer, client",
        "client, purchaser, a customer, customer!, consumer",
        "client (formal), purchaser, consumer",
        "client, 42, purchaser, !!!, consumer, %",
    ],
)
def test_lists_in_every_form(answer: str) -> None:
    assert parse(answer, "customer") == THREE


def test_phrases_of_three_words_at_most() -> None:
    assert parse("out of order, well-worn, in very bad shape, broken", "faulty") == (
        "out of order",
        "well-worn",
        "broken",
    )


@pytest.mark.parametrize("word", ["customer", "Customer", " CUSTOMER "])
def test_the_asked_word_is_never_kept(word: str) -> None:
    answer = "customer, Customer!, 'customer', regular customer, client, customer customer"
    assert parse(answer, word) == ("client",)


def test_an_asked_phrase_is_never_kept() -> None:
    assert parse("customer service, good Customer Service, support", "customer service") == ("support",)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "   \n ",
        "...",
        "The word customer describes a person who buys goods.",
        "I am sorry, I cannot help with that.",
        "This is a person, who buys things, in a shop.",
        "A customer is someone who pays for goods and services",
        "12345, 678",
        "customer customer customer customer customer customer",
    ],
)
def test_prose_and_noise_give_nothing(answer: str) -> None:
    assert parse(answer, "customer") == ()


def test_an_echo_gives_nothing() -> None:
    question = "Give synonyms, words only, of the word customer."
    assert parse(f"{question} {question.lower()}\n{question}", "customer", asked=[question]) == ()
    assert parse("Give synonyms, words only, of", "customer", asked=[question]) == ()
    assert parse(f"{question}\nclient, purchaser", "customer", asked=[question]) == ("client", "purchaser")


def test_a_copied_example_gives_nothing() -> None:
    shots = ["irate, furious, enraged"]
    assert parse("irate, furious, enraged", "customer", shots=shots) == ()
    assert parse("irate, furious", "customer", shots=shots) == ()
    assert parse("furious, irate", "mad", shots=shots) == ("furious", "irate")
    assert parse("irate", "mad", shots=shots) == ("irate",)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("client, purchaser, consu", ("client", "purchaser")),
        ("client, purchaser, consumer,", THREE),
        ("client, purchaser, consumer. These wor", THREE),
        ("[client, purchaser, consumer] These", THREE),
        ("1. client\n2. purchaser\n3. consu", ("client", "purchaser")),
        ("client, purchaser, client", ("client", "purchaser")),
        ("clie", ("clie",)),
    ],
)
def test_a_last_item_that_was_cut_is_left_out_where_there_is_another(answer: str, expected: tuple[str, ...]) -> None:
    assert parse(answer, "customer", finished=False) == expected


def test_other_scripts_are_words_too() -> None:
    assert parse("клиент, Покупатель", "заказчик") == ("клиент", "покупатель")
    assert parse("käufer, kunde’s", "abnehmer") == ("käufer", "kunde's")
