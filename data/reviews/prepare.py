"""Cut the labelled sentence splits out of the source distribution of vaderSentiment, and the
tokenizer to go with them.

``python data/reviews/prepare.py --sdist vaderSentiment-3.3.2.tar.gz`` writes a parquet file a split
(columns sample_id, text, label, rating). With ``--encoder FOLDER`` (a transformers checkpoint with
a WordPiece tokenizer) it writes ``tokenizer.json`` as well: that tokenizer with its vocabulary cut
to the pieces of the training texts.
"""

import argparse
import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
FILES = {"movie": "movieReviewSnippets", "product": "amazonReviewSnippets",
         "editorial": "nytEditorialSnippets", "tweet": "tweets"}  # fmt: skip
SHIFTED_SIZE = 2000
SHIFTED = {"product": "products", "editorial": "editorials", "tweet": "tweets"}


def read_snippets(sdist: Path, domain: str) -> pd.DataFrame:
    """Rated snippets of one domain, [k rows]: sample_id, text, rating (mean of at least 15 ratings
    in −4 … 4)."""
    with tarfile.open(sdist) as outer:
        inner = next(m for m in outer.getmembers() if m.name.endswith(INNER))
        with tarfile.open(fileobj=io.BytesIO(outer.extractfile(inner).read())) as archive:
            member = next(
                m
                for m in archive.getmembers()
                if m.name.endswith(f"{FILES[domain]}_GroundTruth.txt")
            )
            lines = archive.extractfile(member).read().decode("utf-8-sig").splitlines()
    rows = [line.split("\t", 2) for line in lines if line.strip()]
    frame = pd.DataFrame(rows, columns=["sample_id", "rating", "text"])
    ids = [f"{domain}/{number}" for number in frame.sample_id]
    return pd.DataFrame(
        {"sample_id": ids, "text": frame.text.str.strip(), "rating": frame.rating.astype(float)}
    )


def labelled(snippets: pd.DataFrame) -> pd.DataFrame:
    """The sign of the mean rating as label: 1 positive, 0 negative. A mean of exactly 0 and
    repeated texts are out."""
    kept = snippets[snippets.rating != 0].drop_duplicates("text")
    label = (kept.rating > 0).astype("int8")
    return kept.assign(label=label, rating=kept.rating.astype("float32"))[
        ["sample_id", "text", "label", "rating"]
    ]


def hashed(text: str) -> int:
    """A number that only the words decide."""
    return int.from_bytes(
        hashlib.sha256(" ".join(text.lower().split()).encode()).digest()[:8], "big"
    )


def split_of(text: str) -> str:
    """train (60%), val or test (20% each) by a hash of the words, so that the same sentence is
    never in two."""
    return (["train"] * 6 + ["val"] * 2 + ["test"] * 2)[hashed(text) % 10]


def some_of(frame: pd.DataFrame) -> pd.DataFrame:
    """SHIFTED_SIZE sentences of a shifted domain, those of the smallest hash, in their own
    order."""
    return frame.loc[frame.text.map(hashed).sort_values().index[:SHIFTED_SIZE].sort_values()]


def prune_vocabulary(tokenizer: dict, texts: Iterable[str], rarest: int) -> tuple[dict, list[int]]:
    """A WordPiece tokenizer.json cut to pieces used at least ``rarest`` times in ``texts``, and
    their old numbers.

    Single characters and special tokens stay, so that whatever is cut falls apart into smaller
    pieces.
    """
    from tokenizers import Tokenizer

    whole = Tokenizer.from_str(json.dumps(tokenizer | {"truncation": None, "padding": None}))
    used = Counter(token for one in whole.encode_batch(list(texts)) for token in one.tokens)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    old = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    kept = [
        (piece, number)
        for piece, number in old
        if piece in special
        or used[piece] >= rarest
        or (len(piece.removeprefix("##")) == 1 and piece.isascii())
    ]
    vocab = {piece: number for number, (piece, _) in enumerate(kept)}
    added = [token | {"id": vocab[token["content"]]} for token in tokenizer["added_tokens"]]
    post = json.loads(json.dumps(tokenizer["post_processor"]))
    for name, entry in post.get("special_tokens", {}).items():
        entry["ids"] = [vocab[name]]
    pruned = tokenizer | {
        "added_tokens": added,
        "post_processor": post,
        "truncation": None,
        "padding": None,
    }
    return pruned | {"model": tokenizer["model"] | {"vocab": vocab}}, [number for _, number in kept]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sdist", required=True, help="vaderSentiment-*.tar.gz")
    parser.add_argument(
        "--encoder", type=Path, help="folder with the pretrained encoder's tokenizer.json"
    )
    parser.add_argument(
        "--rarest", type=int, default=2, help="pieces seen less often in the training texts are cut"
    )
    args = parser.parse_args()
    movies = labelled(read_snippets(args.sdist, "movie"))
    split = movies.text.map(split_of)
    splits = {name: movies[split == name] for name in ("train", "val", "test")}
    splits |= {
        name: some_of(labelled(read_snippets(args.sdist, domain)))
        for domain, name in SHIFTED.items()
    }
    for name, frame in splits.items():
        frame.to_parquet(HERE / f"{name}.parquet", index=False, compression="zstd")
        print(f"{name}: {len(frame)} sentences, {frame.label.mean():.1%} positive")
    if args.encoder:
        tokenizer = json.loads((args.encoder / "tokenizer.json").read_text(encoding="utf-8"))
        pruned, numbers = prune_vocabulary(tokenizer, splits["train"].text, args.rarest)
        (HERE / "tokenizer.json").write_text(
            json.dumps(pruned, ensure_ascii=False), encoding="utf-8"
        )
        (HERE / ".training").mkdir(exist_ok=True)
        (HERE / ".training" / "pieces.json").write_text(json.dumps(numbers))
        print(f"tokenizer: {len(numbers)} of {len(tokenizer['model']['vocab'])} pieces kept")


if __name__ == "__main__":
    main()
