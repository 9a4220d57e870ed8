"""Cuts the Noto CJK faces (OFL) to one region, one repertoire and TrueType outlines. The same input gives the same bytes.

Usage: cut-noto.py OUT_DIR [NOTO_DIR [UNIHAN_DIR]]        (what it needs and which versions: fonts/README.md)

Repertoire: ASCII, GBK, the 8,105 characters of the general standard table 通用规范汉字表 (Unihan kTGH) and the symbols
that official text uses. Layout features: only those that Chinese setting needs. With all of them a face passes 32,767
glyphs, and Typst 0.15 loses characters whose glyph id is above that.
"""

import bz2
import pathlib
import sys

from fontTools import subset
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont, newTable

FACES = {
    "NotoSerifSC-Regular": "NotoSerifCJK-Regular.ttc",
    "NotoSerifSC-Bold": "NotoSerifCJK-Bold.ttc",
    "NotoSansSC-Regular": "NotoSansCJK-Regular.ttc",
}
SIMPLIFIED_CHINESE = 2  # its index in each collection
FEATURES = ["vert", "vrt2", "halt", "palt", "kern", "ccmp", "mark", "mkmk"]
MOST_GLYPHS = 32_767
TOLERANCE = 1.0  # units of 1,000 an em, from cubic to quadratic curves

LATIN = [0xA0, 0xA7, 0xB0, 0xB1, 0xB7, 0xD7, 0xF7]  # § ° ± · × ÷
BLOCKS = [  # first, past the last
    (0x0020, 0x007F),  # ASCII
    (0x2010, 0x2040),  # dashes, quotes, ellipsis, ※
    (0x2100, 0x2150),  # ℃ №
    (0x2160, 0x2180),  # Ⅰ Ⅱ
    (0x2190, 0x2194),  # arrows
    (0x2200, 0x2270),  # mathematical operators
    (0x2460, 0x2500),  # ① ⑴
    (0x25A0, 0x2610),  # ■ ○ ★
    (0x3000, 0x3040),  # CJK punctuation, 〇
    (0x3200, 0x3400),  # ㈠ ㎡
    (0x4E00, 0x9FF0),  # unified ideographs
    (0xFE10, 0xFE50),  # vertical and compatibility forms
    (0xFF00, 0xFFF0),  # full-width forms
]


def repertoire(unihan: pathlib.Path) -> set[int]:
    chars = set(LATIN)
    for first, past in BLOCKS:
        chars |= set(range(first, past))
    for path in sorted(unihan.glob("Unihan_*.txt.bz2")):
        with bz2.open(path, "rt", encoding="utf-8") as lines:
            chars |= {int(line.split("\t")[0][2:], 16) for line in lines if "\tkTGH\t" in line}
    return chars


def to_truetype(font: TTFont) -> None:
    """Replaces the CFF outlines with quadratic ones."""
    outlines, order, drawn = font.getGlyphSet(), font.getGlyphOrder(), {}
    for name in order:
        pen = TTGlyphPen(None)
        outlines[name].draw(Cu2QuPen(pen, TOLERANCE, reverse_direction=True))
        drawn[name] = pen.glyph()
    font["loca"], font["glyf"] = newTable("loca"), newTable("glyf")
    font["glyf"].glyphOrder, font["glyf"].glyphs = order, drawn
    font["glyf"].compile(font)
    for name, glyph in drawn.items():
        if hasattr(glyph, "xMin"):
            font["hmtx"][name] = (font["hmtx"][name][0], glyph.xMin)
    maxp = font["maxp"] = newTable("maxp")
    maxp.tableVersion, maxp.maxZones = 0x10000, 1
    for unused in (
        "maxTwilightPoints maxStorage maxFunctionDefs maxInstructionDefs "
        "maxStackElements maxSizeOfInstructions maxComponentElements"
    ).split():
        setattr(maxp, unused, 0)
    maxp.compile(font)
    font["post"].formatType, font["post"].extraNames, font["post"].mapping = 3.0, [], {}
    for tag in ("CFF ", "VORG"):
        if tag in font:
            del font[tag]
    font.sfntVersion = "\0\1\0\0"


def cut(collection: pathlib.Path, chars: set[int]) -> TTFont:
    # recalcTimestamp: the clock has no place in the bytes
    font = TTFont(collection, fontNumber=SIMPLIFIED_CHINESE, recalcTimestamp=False)
    options = subset.Options(layout_features=FEATURES, name_IDs=["*"], notdef_outline=True, hinting=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=chars)
    subsetter.subset(font)
    to_truetype(font)
    count = len(font.getGlyphOrder())
    assert count <= MOST_GLYPHS, f"{collection.name}: {count} glyphs, Typst 0.15 can use {MOST_GLYPHS}"
    return font


def main(out: str, noto: str = "/usr/share/fonts/opentype/noto", unihan: str = "/usr/share/unicode") -> None:
    chars = repertoire(pathlib.Path(unihan))
    for face, collection in FACES.items():
        font = cut(pathlib.Path(noto, collection), chars)
        path = pathlib.Path(out, f"{face}.ttf")
        font.save(path)
        print(f"{path}: {len(font.getGlyphOrder())} glyphs, {path.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
