#!/usr/bin/env python3
"""Makes upper.hex: the glyphs of GNU Unifont for emoji and legacy computing, which the crate `unifont` lacks.

    apt-get install fonts-unifont && pip install fonttools
    python3 upper.py > upper.hex

One glyph a line, as Unifont's own sources have it: code point, colon, 16 rows of 8 or 16 pixels in hex. The font is under
the SIL Open Font License 1.1 (or GPL-2.0-or-later with the font embedding exception); we use it under the former.
"""
from fontTools.pens.recordingPen import RecordingPen
from fontTools.ttLib import TTFont

PIXEL = 4
font = TTFont("/usr/share/fonts/opentype/unifont/unifont_upper.otf")
names, glyphs, top = font.getBestCmap(), font.getGlyphSet(), font["hhea"].ascent


def contours(name):
    pen = RecordingPen()
    glyphs[name].draw(pen)
    found = []
    for verb, points in pen.value:
        if verb == "moveTo":
            found.append([points[0]])
        elif verb == "lineTo":
            found[-1].append(points[0])
    return found


def is_inside(x, y, shapes):
    crossed = False
    for shape in shapes:
        for (ax, ay), (bx, by) in zip(shape, shape[1:] + shape[:1]):
            if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
                crossed = not crossed
    return crossed


for code in [*range(0x1F000, 0x1FB00), *range(0x1FB00, 0x1FC00)]:
    if code not in names:
        continue
    width = font["hmtx"][names[code]][0] // PIXEL
    shapes, rows = contours(names[code]), ""
    for row in range(16):
        y = top - row * PIXEL - PIXEL / 2
        bits = "".join("1" if is_inside(col * PIXEL + PIXEL / 2, y, shapes) else "0" for col in range(width))
        rows += f"{int(bits, 2):0{width // 4}X}"
    print(f"{code:X}:{rows}")
