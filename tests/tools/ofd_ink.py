"""Ink of one picture without ink of the other near it: see ofd-test."""

import glob
import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter


def grey(path, size=None):
    picture = Image.open(path).convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(paper, picture).convert("L")
    if size and picture.size != size:
        # Readers round the size of the page to whole pixels each in its own way.
        assert all(abs(a - b) <= 2 for a, b in zip(picture.size, size)), (path, picture.size, size)
        fitted = Image.new("L", size, 255)
        fitted.paste(picture)
        picture = fitted
    return picture


def darker(picture, than):
    return picture.point(lambda value: 255 if value < than else 0)


def count(picture):
    return picture.histogram()[255]


# The bands are light blue, 214 of 255: paper and bands are no ink. A hairline may be half as dark with one as with another.
BLACK, INK = 128, 200


def alone(one, other):
    near = darker(other, INK).filter(ImageFilter.MaxFilter(5))
    return count(ImageChops.subtract(darker(one, BLACK), near))


folder, name, pages = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ink, lost = 0, {"core": 0, "sofd": 0}
for page, pdf in enumerate(sorted(glob.glob(f"{folder}/pdf-*.png")), 1):
    ours = grey(pdf)
    ink += count(darker(ours, BLACK))
    for reader in lost:
        theirs = grey(folder / f"{reader}-{page}.png", ours.size)
        assert count(darker(theirs, BLACK)) > 0, f"{name}, page {page}: {reader} draws nothing"
        amiss = alone(ours, theirs) + alone(theirs, ours)
        assert amiss == 0, f"{name}, page {page}: {amiss} black pixels alone by {reader}"
        lost[reader] += amiss
size = lambda ending: round((folder / f"{name}.{ending}").stat().st_size / 1000)
print(f"| `{name}` | {pages} | {size('pdf')} kB | {size('ofd')} kB | {ink:,} | {lost['core']:,} | {lost['sofd']:,} |")
