#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Draws the colored output of a command, read from standard input, as a terminal in an SVG file.

The following command writes the README's picture. It needs the package rich.

    examples/live_transcript.py testdata/demo/conversation.wav | head -n 12 |
      tools/terminal_picture.py 'examples/live_transcript.py meeting.wav' docs/pictures/live-transcript.svg
"""
import io
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS = 84
# Background, text, and the two sets of eight ANSI colors.
THEME = TerminalTheme(
    (28, 30, 36),
    (220, 222, 228),
    [(40, 42, 48), (240, 100, 100), (100, 210, 120), (230, 200, 90), (100, 160, 250), (210, 130, 230), (90, 210, 220), (200, 202, 208)],
    [(130, 134, 144), (255, 130, 130), (130, 235, 150), (255, 220, 100), (140, 190, 255), (230, 160, 250), (120, 230, 240), (255, 255, 255)],
)
# Rich's own template without its web font.
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    command, picture = sys.argv[1], Path(sys.argv[2])
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {command}", style="bright_black"))
    for line in sys.stdin:
        console.print(Text.from_ansi(line.rstrip("\n")))
    picture.write_text(console.export_svg(title="", theme=THEME, code_format=SVG, unique_id="terminal"))


if __name__ == "__main__":
    main()
