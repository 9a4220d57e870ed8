"""Draws a TrueType face's outlines with fewer points, so that nobody sees it. The same input gives the same bytes.

Usage: thin.py IN.ttf OUT.ttf                             (what it is run on, and why: fonts/README.md)

A traced face has many more points than its shapes need, and each PDF carries those of all its characters. Along each
contour, from its sharpest corner on, as many segments as one line or one quadratic curve can stand for become that one;
its ends stay where they were, but for rounding. Advances, features and names are untouched. Takes some minutes.
"""

import math
import multiprocessing
import sys

from fontTools.pens.basePen import BasePen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont

TOLERANCE = 1.0  # units of 1,000 an em, before rounding to whole ones: 6 µm at 16 pt
STEP = 6.0  # units between the places where a curve is compared with what it stands for
PATIENCE = 2  # longer runs that are tried after one that did not fit

Point = tuple[float, float]
Segment = tuple[Point, Point | None, Point]  # start, control point of a curve, end


class Contours(BasePen):
    """Collects a glyph's closed contours."""

    def __init__(self, glyphs):
        super().__init__(glyphs)
        self.contours: list[list[Segment]] = []

    def _moveTo(self, point):
        self.contours.append([])

    def _lineTo(self, point):
        start = self._getCurrentPoint()
        if point != start:
            self.contours[-1].append((start, None, point))

    def _qCurveToOne(self, control, point):
        self.contours[-1].append((self._getCurrentPoint(), control, point))

    def _closePath(self):
        contour = self.contours[-1]
        if contour and contour[-1][2] != contour[0][0]:
            contour.append((contour[-1][2], None, contour[0][0]))


def on_curve(segment: Segment, t: float) -> Point:
    (x0, y0), control, (x1, y1) = segment
    if control is None:
        return x0 + (x1 - x0) * t, y0 + (y1 - y0) * t
    a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
    return a * x0 + b * control[0] + c * x1, a * y0 + b * control[1] + c * y1


def places(segment: Segment) -> list[Point]:
    """Points along a segment, without its start, with its end."""
    start, control, end = segment
    length = math.dist(start, end) if control is None else math.dist(start, control) + math.dist(control, end)
    count = max(1 if control is None else 3, int(length // STEP))
    return [on_curve(segment, k / count) for k in range(1, count + 1)]


def corner(before: Segment, after: Segment) -> float:
    """The angle between two segments: 0 where one runs into the other."""
    (ax, ay), (bx, by) = before[1] or before[0], before[2]
    (cx, cy), (dx, dy) = after[0], after[1] or after[2]
    inward, outward = (bx - ax, by - ay), (dx - cx, dy - cy)
    cross = inward[0] * outward[1] - inward[1] * outward[0]
    return abs(math.atan2(cross, inward[0] * outward[0] + inward[1] * outward[1]))


def line(start: Point, along: list[Point]) -> Segment | None:
    """The line from `start` to the end, if all points are near it and none goes back."""
    end = along[-1]
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    if length == 0:
        return None
    reached = 0.0
    for x, y in along:
        forward = ((x - start[0]) * dx + (y - start[1]) * dy) / length
        aside = abs((x - start[0]) * dy - (y - start[1]) * dx) / length
        if aside > TOLERANCE or forward < reached:
            return None
        reached = forward
    return start, None, end


def curve(start: Point, along: list[Point]) -> Segment | None:
    """The quadratic curve from `start` to the end with the least squares, if it is near all points."""
    end, travelled, last = along[-1], [0.0], start
    for point in along:
        travelled.append(travelled[-1] + math.dist(last, point))
        last = point
    if travelled[-1] == 0:
        return None
    inner = along[:-1]
    times = [way / travelled[-1] for way in travelled[1:-1]]
    for _ in range(3):
        weight = x = y = 0.0
        for t, (px, py) in zip(times, inner):
            b = 2 * t * (1 - t)
            weight += b * b
            x += b * (px - (1 - t) ** 2 * start[0] - t * t * end[0])
            y += b * (py - (1 - t) ** 2 * start[1] - t * t * end[1])
        if weight == 0:
            return None
        fitted = (start, (round(x / weight), round(y / weight)), end)
        times = [nearest(fitted, t, point) for t, point in zip(times, inner)]
        worst = max(math.dist(on_curve(fitted, t), point) for t, point in zip(times, inner))
        if worst <= TOLERANCE:
            return fitted
        if worst > 6 * TOLERANCE:
            return None
    return None


def nearest(segment: Segment, t: float, point: Point) -> float:
    """The time near `t` at which a curve is nearest to a point, by two of Newton's steps."""
    (x0, y0), (cx, cy), (x1, y1) = segment
    for _ in range(2):
        x, y = on_curve(segment, t)
        vx = 2 * ((1 - t) * (cx - x0) + t * (x1 - cx))
        vy = 2 * ((1 - t) * (cy - y0) + t * (y1 - cy))
        speed = vx * vx + vy * vy
        if speed == 0:
            break
        t = min(1.0, max(0.0, t - ((x - point[0]) * vx + (y - point[1]) * vy) / speed))
    return t


def thin(contour: list[Segment]) -> list[Segment]:
    count = len(contour)
    if count < 3:
        return contour
    first = max(range(count), key=lambda at: corner(contour[at - 1], contour[at]))
    contour = contour[first:] + contour[:first]
    thinned, at = [], 0
    while at < count:
        best, after, along, missed = contour[at], at + 1, places(contour[at]), 0
        for to in range(at + 1, count):
            along += places(contour[to])
            found = line(contour[at][0], along) or curve(contour[at][0], along)
            missed = 0 if found else missed + 1
            if found:
                best, after = found, to + 1
            elif missed == PATIENCE:
                break
        thinned.append(best)
        at = after
    return thinned


def redraw(name: str):
    pen, collected = TTGlyphPen(None), Contours(None)
    glyf[name].draw(collected, glyf)
    for contour in filter(None, collected.contours):
        segments = thin(contour)
        pen.moveTo(rounded(segments[0][0]))
        for _, control, end in segments if segments[-1][1] else segments[:-1]:
            if control:
                pen.qCurveTo(rounded(control), rounded(end))
            else:
                pen.lineTo(rounded(end))
        pen.closePath()
    return pen.glyph(dropImpliedOnCurves=True)


def rounded(point: Point) -> tuple[int, int]:
    return round(point[0]), round(point[1])


def load(path: str) -> None:
    global font, glyf
    font = TTFont(path, recalcTimestamp=False)  # the clock has no place in the bytes
    glyf = font["glyf"]


def main(source: str, target: str) -> None:
    load(source)
    names = [name for name in font.getGlyphOrder() if glyf[name].numberOfContours > 0]
    before = sum(len(glyf[name].coordinates) for name in names)
    with multiprocessing.Pool(initializer=load, initargs=[source]) as pool:
        glyphs = pool.map(redraw, names, chunksize=64)
    for name, glyph in zip(names, glyphs):
        left = glyf[name].xMin
        glyph.recalcBounds(glyf)
        glyf[name] = glyph
        # Where the outline stands is the bearing's distance from its left edge.
        advance, bearing = font["hmtx"][name]
        font["hmtx"][name] = (advance, bearing + glyph.xMin - left)
    after = sum(len(glyph.coordinates) for glyph in glyphs)
    font.save(target)
    print(f"{target}: {before} points before, {after} now")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
