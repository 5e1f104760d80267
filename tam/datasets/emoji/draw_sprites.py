"""Draw the sprite sheet from an emoji font: ``python -m tam.datasets.emoji.draw_sprites NotoColorEmoji.ttf``.

Needed once, or when ``GLYPHS`` changes; everything else reads the sheet.
"""

from pathlib import Path

import typer
from PIL import Image, ImageDraw, ImageFont

from tam.datasets.emoji.sprites import CELL, COLUMNS, GLYPHS, SHEET


def main(font: Path) -> None:
    # 109 is the only size of the bitmaps in Noto Color Emoji; joined glyphs need the raqm layout
    face = ImageFont.truetype(str(font), 109, layout_engine=ImageFont.Layout.RAQM)
    glyphs = [glyph for variants in GLYPHS.values() for glyph in variants]
    sheet = Image.new("RGBA", (COLUMNS * CELL, -(-len(glyphs) // COLUMNS) * CELL))
    for number, glyph in enumerate(glyphs):
        canvas = Image.new("RGBA", (2 * CELL, 2 * CELL))
        ImageDraw.Draw(canvas).text((CELL // 2, CELL // 2), glyph, font=face, embedded_color=True)
        visible = canvas.crop(canvas.getbbox())
        row, column = divmod(number, COLUMNS)
        corner = column * CELL + (CELL - visible.width) // 2, row * CELL + (CELL - visible.height) // 2
        sheet.paste(visible, corner)
    sheet.save(SHEET, optimize=True)


if __name__ == "__main__":
    typer.run(main)
