"""Two pictures of a page side by side, each with a line above it: see ofd-pictures."""

import sys

from PIL import Image, ImageDraw, ImageFont

GAP, HEAD, GROUND, INK = 10, 30, (221, 221, 221), (26, 26, 26)


def page(path, top, bottom):
    picture = Image.open(path).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.crop((0, picture.height * top // 1000, picture.width, picture.height * bottom // 1000))


face, target, top, bottom, *sides = sys.argv[1:]
pages = [(page(path, int(top), int(bottom)), words) for path, words in zip(sides[::2], sides[1::2])]
# Readers round the size of the page to whole pixels each in its own way.
width, height = (max(size) for size in zip(*(picture.size for picture, _ in pages)))
sheet = Image.new("RGB", (2 * width + 3 * GAP, HEAD + height + GAP), GROUND)
pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(face, 15)
for at, (picture, words) in enumerate(pages):
    left = GAP + at * (width + GAP)
    pen.text((left, 4), words, INK, font)
    sheet.paste(picture, (left, HEAD))
sheet.quantize(32, dither=Image.Dither.NONE).save(target, optimize=True)
