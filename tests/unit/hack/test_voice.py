"""The counting of hack/voice.py: its figures are of prose only, and its faults name the page and the aim."""

from __future__ import annotations

import pytest
from hack import voice
from hack.voice import Text, count, find_faults, read_prose, read_source

GOOD = "You move your alias. The operator rolls out the new version.\n"


@pytest.mark.parametrize(
    ("prose", "name", "number"),
    [
        pytest.param("It shows what serves, and whoever asked.", "what", 2, id="nominal clauses"),
        pytest.param("What is it? The operator does what it can.", "what", 1, id="a question is none"),
        pytest.param("Is it clear\nwhat that means? Yes.", "what", 0, id="a question on two lines"),
        pytest.param("So what\n\nIs it?", "what", 1, id="a paragraph ends a question"),
        pytest.param("The status tells it, says why, and was asked.", "say", 3, id="machines"),
        pytest.param("You ask for predictions, and you say so.", "say", 0, id="people"),
        pytest.param("It fails; it is tried again;", "semicolons", 2, id="semicolons"),
        pytest.param("You see your own; yours, yourself.", "you", 4, id="the reader"),
        pytest.param("The youth of Whatcom told-off", "you", 0, id="whole words only"),
    ],
)
def test_of_the_prose_is_counted(prose: str, name: str, number: int) -> None:
    assert count(prose).found[name] == number


def test_the_rate_is_of_a_thousand_words() -> None:
    counts = count("one; two three four five six seven eight nine ten")
    assert counts.words == 10
    assert counts.rate("semicolons") == 100.0
    assert count("").rate("you") == 0.0


def test_code_and_targets_of_links_are_no_prose() -> None:
    fenced = "```sh\nyou; # what\n```\n  ```text\n;\n  ```\n"
    page = f"See `what; says` or [it](what-serves.md).\n<!-- what -->\n{fenced}End."
    prose = read_prose(page)
    assert prose.split() == ["See", "code", "or", "[it].", "End."]


def test_the_texts_of_a_module_are_told_apart() -> None:
    source = (
        '"""Of the module."""\n'
        "AIM = 1  # a comment; with `code; of its own`\n"
        '"""Of the constant."""\n'
        "def fail(name: str) -> None:\n"
        '    """Of the function."""\n'
        '    raise ValueError(f"the name {name} is too long", "a-key", "two words")\n'
    )
    assert read_source(source) == {
        "docstrings": "Of the module.\n\nOf the constant.\n\nOf the function.",
        "comments": "a comment; with code",
        "messages": "the name code is too long",
    }


def test_a_page_may_have_one_of_each() -> None:
    assert find_faults(Text("README.md", "pages", GOOD + "You see what happens. It says so; you wait.")) == []


@pytest.mark.parametrize(
    ("prose", "fault"),
    [
        pytest.param(GOOD + "What it has is what you want.", "what: 2, at most 1", id="what"),
        pytest.param(GOOD + "It says so and tells you.", "say: 2, at most 1", id="say"),
        pytest.param(GOOD + "It fails; it ends; it starts; you wait.", "semicolons: 3, at most 1", id=";"),
        pytest.param("The operator rolls out.", "you: 0.0 in 1,000 words, at least 8", id="you"),
        pytest.param(GOOD + "It mends it.", "'mends' came back (mend)", id="a word of ours"),
    ],
)
def test_a_page_is_held_to(prose: str, fault: str) -> None:
    (found,) = find_faults(Text("docs/start/install.md", "pages", prose))
    assert found.startswith("docs/start/install.md: ")
    assert fault in found


@pytest.mark.parametrize("kind", ["docstrings", "comments", "messages"])
def test_texts_of_the_code_are_held_to_all_but_the_readers_share(kind: str) -> None:
    assert find_faults(Text("operator/x.py", kind, "The operator rolls out.")) == []
    prose = "What tells it mends the pod. What it has is what it is."
    assert find_faults(Text("operator/x.py", kind, prose)) == [
        f"operator/x.py: {kind}: 'mends' came back (mend)",
        f"operator/x.py: {kind}: what: 3, at most 1",
    ]


def test_every_entry_of_the_lists_exists() -> None:
    entries = (*voice.PAGES, *voice.SOURCES)
    assert [entry for entry in entries if not (voice.ROOT / entry).exists()] == []


def test_the_table_has_each_page_and_each_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice, "SOURCES", ("hack",))
    texts = list(voice.read_texts(voice.ROOT))
    assert {text.kind for text in texts} == {"pages", "docstrings", "comments", "messages"}
    voice.print_figures(texts)
    printed = capsys.readouterr().out
    assert all(text.path in printed for text in texts if text.kind == "pages")
    assert all(word in printed for word in voice.OURS)
