"""Runs hippo_memory and reads what it printed and drew.

Run: check_hippo_memory.py PROGRAM SIGNAL.csv DRAWING.svg
"""
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

program, signal, drawing = sys.argv[1:]
SVG = "{http://www.w3.org/2000/svg}"
SIZES = [16, 64, 256]  # of the memories of everything; the last panel is a window


def expect(condition, sentence):
    if not condition:
        sys.exit("check_hippo_memory: " + sentence)


printed = subprocess.run([program, signal, drawing], check=True, capture_output=True, text=True).stdout
errors = {}
for size, error in re.findall(r"all of the past in (\d+) numbers +root mean square error ([0-9.]+)", printed):
    errors[int(size)] = float(error)
expect(list(errors) == SIZES, f"errors for N = {SIZES} were expected, the program printed\n{printed}")
expect(errors[16] > errors[64] > errors[256] > 0, f"the error has to fall as N grows, but is {errors}")

root = xml.parse(drawing).getroot()  # raises where the file is not well-formed
expect(root.tag == SVG + "svg", f"an svg was expected, {root.tag} is drawn")
titles = [text.text for text in root.iter(SVG + "text") if "root mean square error" in (text.text or "")]
expect(len(titles) == len(SIZES) + 1, f"{len(SIZES) + 1} panels were expected, there are {titles}")
for size, title in zip(SIZES, titles):
    expect(f"in {size} numbers" in title and title.endswith(f"error {errors[size]:.2f}"),
           f"a panel for N = {size} with its error was expected, its title is {title!r}")

with open(signal) as file:
    samples = sum(1 for line in file) - 1
lines = [line.get("points").split() for line in root.iter(SVG + "polyline")]
window = int(re.search(r"last (\d+) samples", titles[-1]).group(1))
expect([len(line) for line in lines] == [samples, samples] * len(SIZES) + [samples, window],
       f"the signal and what was read back in each panel were expected, there are {list(map(len, lines))} points")
tops = [min(float(point.split(",")[1]) for point in line) for line in lines[::2]]
height = float(root.get("height"))
expect(all(a < b for a, b in zip(tops, tops[1:])) and 0 < tops[0] and tops[-1] < height,
       f"panels below each other were expected, their signals begin at {tops} of {height}")
