#!/usr/bin/env python3
"""Makes screens.json: what xterm shows, and answers, for each input below.

    apt-get install xterm xvfb
    xvfb-run -a python3 make.py > screens.json        # asks xterm
    python3 make.py tmux < screens.json               # says where tmux shows something else

The inputs are our own. Each is written to a fresh terminal of 20 columns and 6 rows. xterm is asked for its screen by
its own print command, and for the cursor by DSR 6, so that nothing of ours stands between. `version` of the result names
the xterm that was asked. An input that is added here needs the command above, and nothing else.
"""
import json, os, re, select, subprocess, sys, tempfile, time, tty, unicodedata

COLS, ROWS = 20, 6
FILL = "".join(f"{'abcdef'[n] * 20}" + ("\r\n" if n < 5 else "") for n in range(6))
DIGITS = "0123456789abcdefghij"

# (name, input)
CASES = [
    # Text, wrapping.
    ("text and line ends", "one\r\ntwo\nthree\rTHR"),
    ("a full line waits at its end", DIGITS),
    ("the next character begins a line", DIGITS + "k"),
    ("a line feed at the end of a full line", DIGITS + "\nk"),
    ("a return at the end of a full line", DIGITS + "\rk"),
    ("a backspace at the end of a full line", DIGITS + "\bX"),
    ("a tab at the end of a full line", DIGITS + "\tX"),
    ("no wrapping", "\x1b[?7l" + DIGITS + "klm"),
    ("wrapping switched off when it waits", DIGITS + "\x1b[?7lk\x1b[?7hl"),
    ("wrapping at the bottom scrolls", "\x1b[6;15Habcdefghi"),
    ("an erasure ends the waiting", DIGITS + "\x1b[KX"),
    ("a save keeps the waiting", DIGITS + "\x1b7\x1b[H\x1b8X"),
    ("colour does not end the waiting", DIGITS + "\x1b[31mX"),
    ("backspace stops at the left", "ab\b\b\b\bX"),
    ("reverse wrap goes up", "\x1b[?45habc\r\n\bX"),
    # Wide and combined characters.
    ("an accent joins the letter before it", "\x1b[2J\x1b[He\u0301XY"),
    ("overwriting takes the accent along", "e\u0301XY\x1b[1;2HZ"),
    ("overwriting the letter removes the accent", "e\u0301X\x1b[1;1HZ"),
    ("several accents on one letter", "a\u0308\u0304b"),
    ("an accent in the last column", "1234567890123456789e\u0301X"),
    ("an accent after a move goes to what is left of the cursor", "ab\x1b[1;2H\u0301X"),
    ("an accent at the left edge has nowhere to go", "\x1b[2;1H\u0301X"),
    ("wide characters take two columns", "\u4e16\u754cX"),
    ("half of a wide character overwritten", "\u4e16\u754c\x1b[1;2HX"),
    ("the first half of a wide character overwritten", "\u4e16\u754c\x1b[1;3HX"),
    ("a wide character over two halves", "\u4e16\u754c\x1b[1;2H\u4eba"),
    ("a wide character does not fit and wraps", "1234567890123456789\u4e16X"),
    ("a wide character at the end without wrapping", "\x1b[?7l1234567890123456789\u4e16"),
    ("a wide character and an accent", "\u4e16\u0301X"),
    ("deleting half of a wide character", "a\u4e16b\x1b[1;2H\x1b[P"),
    ("inserting into a wide character", "a\u4e16b\x1b[1;3H\x1b[@"),
    ("erasing half of a wide character", "a\u4e16b\x1b[1;3H\x1b[K"),
    ("a joiner takes no column", "\u4e16\u200d\u754cX"),
    ("a variation selector takes no column", "\u2764\ufe0fX"),
    ("Hangul of three parts", "\u1112\u1161\u11abX"),
    ("bytes that are no text", "a\udcffb"),
    ("a sequence of text cut short", "a\udce4\udcb8b"),
    # Moving.
    ("up, down, left, right", "\x1b[3;5H\x1b[A1\x1b[2B2\x1b[3D3\x1b[4C4"),
    ("moves stop at the edges", "\x1b[99Aa\x1b[99Db\x1b[99Bc\x1b[99Cd"),
    ("next and previous lines", "\x1b[3;5Ha\x1b[2Eb\x1b[3Fc"),
    ("column and row alone", "\x1b[7Ga\x1b[4db\x1b[3`c"),
    ("a place beyond the screen", "\x1b[99;99Hx"),
    ("a place of zero", "ab\x1b[0;0Hx"),
    ("columns relative", "ab\x1b[3ac\x1b[4jd"),
    ("rows relative", "a\x1b[2eb\x1b[1kc"),
    ("relative moves stop at the edges", "\x1b[3;3H\x1b[99ja\x1b[99kb\x1b[99ac\x1b[99ed"),
    ("tabs", "a\tb\tc\td"),
    ("tabs set and cleared", "\x1b[3g\x1b[5G\x1bH\x1b[12G\x1bH\ra\tb\tc\x1b[5G\x1b[g\rX\tY"),
    ("tabs forwards and backwards", "\x1b[2Ia\x1b[2Zb"),
    ("index, next line, reverse index", "a\x1bDb\x1bEc\x1bMd"),
    ("reverse index at the top scrolls", "a\r\nb\x1b[H\x1bMc"),
    ("index at the bottom scrolls", FILL + "\x1b[6;3H\x1bDx"),
    ("new line mode", "\x1b[20hab\ncd"),
    ("vertical tab and form feed go down", "a\x0bb\x0cc"),
    ("saved and restored", "\x1b[2;3H\x1b7\x1b[5;9Hx\x1b8y"),
    ("restored without being saved", "\x1b[3;3Hab\x1b8c"),
    ("saved by the other sequence", "\x1b[2;3H\x1b[s\x1b[Hx\x1b[uy"),
    # Erasing, inserting, deleting.
    ("erase to the end", FILL + "\x1b[3;5H\x1b[J"),
    ("erase from the beginning", FILL + "\x1b[3;5H\x1b[1J"),
    ("erase everything", FILL + "\x1b[3;5H\x1b[2Jx"),
    ("erase in the line", FILL + "\x1b[2;5H\x1b[K\x1b[3;5H\x1b[1K\x1b[4;5H\x1b[2K"),
    ("erase characters", FILL + "\x1b[2;5H\x1b[4X\x1b[3;19H\x1b[9X"),
    ("insert characters", DIGITS + "\x1b[1;5H\x1b[3@"),
    ("delete characters", DIGITS + "\x1b[1;5H\x1b[3P"),
    ("insert mode", DIGITS + "\x1b[1;5H\x1b[4hXY\x1b[4lZ"),
    ("insert lines", FILL + "\x1b[2;5H\x1b[2Lx"),
    ("delete lines", FILL + "\x1b[2;5H\x1b[2Mx"),
    ("scroll up and down", FILL + "\x1b[2S\x1b[1Tx"),
    ("scroll down by the other sequence", FILL + "\x1b[2^"),
    ("repeat", "ab\x1b[3bc"),
    ("repeat nothing", "\x1b[3bc"),
    ("screen alignment", "\x1b[2;4r\x1b#8x"),
    # Margins.
    ("scrolling between margins", FILL + "\x1b[2;4r\x1b[4;1H\nX\nY"),
    ("below the bottom margin nothing scrolls", FILL + "\x1b[2;4r\x1b[6;1H\nX"),
    ("reverse index at the top margin", FILL + "\x1b[2;4r\x1b[2;1H\x1bMX"),
    ("moves stop at the margins", "\x1b[2;4r\x1b[3;1H\x1b[9Aa\x1b[9Bb"),
    ("moves from outside pass the margins", "\x1b[3;4r\x1b[1;1H\x1b[9Ba\x1b[6;5H\x1b[9Ab"),
    ("insert lines between margins", FILL + "\x1b[2;5r\x1b[3;1H\x1b[2L"),
    ("delete lines between margins", FILL + "\x1b[2;5r\x1b[3;1H\x1b[2M"),
    ("insert lines outside of the margins", FILL + "\x1b[3;5r\x1b[1;1H\x1b[2L"),
    ("margins that are none", FILL + "\x1b[4;2r\x1b[5;5Hx"),
    ("origin mode", "\x1b[3;5r\x1b[?6h\x1b[1;1Ha\x1b[9;2Hb\x1b[?6lc"),
    ("scroll between margins", FILL + "\x1b[2;5r\x1b[2S\x1b[6;1Hx"),
    ("left and right margins wrap text", "\x1b[?69h\x1b[5;10s\x1b[2;5Habcdefgh"),
    ("left and right margins scroll", FILL + "\x1b[?69h\x1b[5;10s\x1b[6;5H\nX"),
    ("scroll between four margins", FILL + "\x1b[2;5r\x1b[?69h\x1b[5;10s\x1b[1S"),
    ("scroll down between four margins", FILL + "\x1b[2;5r\x1b[?69h\x1b[5;10s\x1b[2T"),
    ("insert characters between margins", DIGITS + "\x1b[?69h\x1b[5;10s\x1b[1;7H\x1b[2@"),
    ("delete characters between margins", DIGITS + "\x1b[?69h\x1b[5;10s\x1b[1;7H\x1b[2P"),
    ("insert characters outside of the margins", DIGITS + "\x1b[?69h\x1b[5;10s\x1b[1;12H\x1b[2@"),
    ("insert lines between four margins", FILL + "\x1b[?69h\x1b[5;10s\x1b[3;7H\x1b[1Lx"),
    ("delete lines between four margins", FILL + "\x1b[?69h\x1b[5;10s\x1b[3;7H\x1b[1Mx"),
    ("a return goes to the left margin", "\x1b[?69h\x1b[5;10s\x1b[2;7Ha\rb"),
    ("a return from beyond the left margin", "\x1b[?69h\x1b[5;10s\x1b[2;3Ha\rb"),
    ("moves stop at left and right margins", "\x1b[?69h\x1b[5;10s\x1b[2;7H\x1b[9Ca\x1b[2;7H\x1b[9Db"),
    ("origin mode with four margins", "\x1b[2;4r\x1b[?69h\x1b[5;10s\x1b[?6h\x1b[1;1Ha\x1b[9;9Hb"),
    ("margins end with their mode", "\x1b[?69h\x1b[5;10s\x1b[?69l\x1b[1;1H" + DIGITS + "X"),
    ("a tab stops at the right margin", "\x1b[?69h\x1b[3;10s\x1b[1;4H\t\tX"),
    ("text from beyond the right margin", "\x1b[?69h\x1b[5;10s\x1b[1;15Habcdefgh"),
    ("insert columns", FILL + "\x1b[3;5H\x1b[2'}"),
    ("delete columns", FILL + "\x1b[3;5H\x1b[2'~"),
    ("scroll left and right", DIGITS + "\x1b[2;1H" + DIGITS + "\x1b[1;1H\x1b[3 @\x1b[1 A"),
    ("back index at the left", DIGITS + "\x1b[1;1H\x1b6X"),
    ("forward index at the right", DIGITS + "\x1b[1;20H\x1b9X"),
    # Selective erasure.
    ("selective erasure in the line", "ab\x1b[1\"qcd\x1b[0\"qef\x1b[1;1H\x1b[?2K"),
    ("selective erasure of the screen", "ab\r\n\x1b[1\"qcd\x1b[\"qef\x1b[?2J"),
    ("selective erasure to the end", "a\x1b[1\"qb\x1b[0\"qcd\x1b[1;1H\x1b[?K"),
    ("selective erasure from the beginning", "a\x1b[1\"qb\x1b[2\"qcd\x1b[1;4H\x1b[?1J"),
    ("ordinary erasure takes what is protected", "\x1b[1\"qab\x1b[0\"qc\x1b[2K"),
    ("attributes do not end protection", "\x1b[1\"q\x1b[ma\x1b[0mb\x1b[0\"qc\x1b[1G\x1b[?K"),
    # Rectangles.
    ("erase a rectangle", FILL + "\x1b[2;3;4;6$z"),
    ("fill a rectangle", FILL + "\x1b[88;2;3;4;6$x"),
    ("copy a rectangle", FILL + "\x1b[2;3;3;6;1;5;10;1$v"),
    ("selective erasure of a rectangle", "ab\x1b[1\"qcd\x1b[0\"qef\x1b[1;1;1;9${"),
    # Character sets.
    ("lines of the graphics set", "\x1b(0lqqk\r\nx  x\x1b(Bx"),
    ("shifted in and out", "\x1b)0a\x0eq\x0fq"),
    ("one character of another set", "\x1b*0\x1bNqq"),
    ("locked into the third set", "\x1b+0\x1boq\x0fq"),
    ("the British set", "\x1b(A#\x1b(B#"),
    # The other screen.
    ("the other screen is empty and goes", "ab\x1b[?1049hcd\x1b[?1049lef"),
    ("the other screen keeps its text with 47", "ab\x1b[?47hcd\x1b[?47l\x1b[?47hef"),
    ("the other screen loses its text with 1047", "ab\x1b[?1047hcd\x1b[?1047l\x1b[?1047hef"),
    ("the cursor alone", "\x1b[3;3H\x1b[?1048h\x1b[Hx\x1b[?1048ly"),
    ("the other screen shows what is written there", "ab\x1b[?1049h\x1b[2;2Hcd"),
    # Sequences.
    ("a sequence with a control character inside", "\x1b[2\n;5Hx"),
    ("a sequence given up", "a\x1b[3\x18b"),
    ("a sequence begun anew", "a\x1b[3\x1b[4Gb"),
    ("a sequence nobody knows", "a\x1b[1;2;3&yb\x1b[?9999hc\x1bYd"),
    ("a title is not shown", "a\x1b]0;title\x07b\x1b]2;title\x1b\\c"),
    ("other strings are not shown", "a\x1bPxyz\x1b\\b\x1b_xyz\x1b\\c\x1b^xyz\x1b\\d\x1bXxyz\x1b\\e"),
    ("controls of eight bits", "a\u009b4Gb\u0085c"),
    ("soft reset", "\x1b[2;4r\x1b[?6h\x1b[4h\x1b[2;2H\x1b[!pab\x1b[1;1Hcd"),
    ("hard reset", FILL + "\x1b[2;4r\x1b[?6h\x1b[31m\x1bcx"),
    # Questions. The screen is asked for as well.
    ("status", "\x1b[5n"),
    ("position", "\x1b[3;4H\x1b[6n"),
    ("position in origin mode", "\x1b[2;5r\x1b[?6h\x1b[2;3H\x1b[6n"),
    ("position when it waits", DIGITS + "\x1b[6n"),
    ("size in characters", "\x1b[18t"),
    ("mode of insertion", "\x1b[4$p\x1b[4h\x1b[4$p"),
    ("mode of new lines", "\x1b[20$p\x1b[20h\x1b[20$p"),
    ("mode of cursor keys", "\x1b[?1$p\x1b[?1h\x1b[?1$p"),
    ("mode of origin", "\x1b[?6$p\x1b[?6h\x1b[?6$p"),
    ("mode of wrapping", "\x1b[?7$p\x1b[?7l\x1b[?7$p"),
    ("mode of the cursor", "\x1b[?25$p\x1b[?25l\x1b[?25$p"),
    ("mode of the keypad", "\x1b[?66$p\x1b=\x1b[?66$p\x1b>\x1b[?66$p"),
    ("mode of margins", "\x1b[?69$p\x1b[?69h\x1b[?69$p"),
    ("modes of the mouse", "\x1b[?1000h\x1b[?1002h\x1b[?1000$p\x1b[?1002$p\x1b[?1002l\x1b[?1002$p"),
    ("mode of paste", "\x1b[?2004h\x1b[?2004$p\x1b[?2004l\x1b[?2004$p"),
    ("mode of the other screen", "\x1b[?1049$p\x1b[?1049h\x1b[?1049$p\x1b[?1049l"),
    ("mode of focus", "\x1b[?1004h\x1b[?1004$p\x1b[?1004l"),
    ("a mode nobody knows", "\x1b[?7777$p\x1b[77$p"),
    ("setting of attributes", "\x1bP$qm\x1b\\\x1b[1;4;7m\x1bP$qm\x1b\\\x1b[0;31;42;93m\x1bP$qm\x1b\\"),
    ("setting of colours", "\x1b[38;5;99;48;2;1;2;3m\x1bP$qm\x1b\\"),
    ("setting of margins", "\x1b[2;5r\x1bP$qr\x1b\\"),
    ("setting of left and right margins", "\x1b[?69h\x1b[3;9s\x1bP$qs\x1b\\"),
    ("setting of the cursor", "\x1b[4 q\x1bP$q q\x1b\\"),
    ("setting of protection", "\x1b[1\"q\x1bP$q\"q\x1b\\"),
    ("a setting nobody knows", "\x1bP$qz\x1b\\"),
    ("tab stops", "\x1b[2$w"),
    ("colours that were set", "\x1b]11;rgb:12/34/56\x1b\\\x1b]11;?\x1b\\\x1b]4;1;#abcdef\x1b\\\x1b]4;1;?\x1b\\"),
    ("the terminator of the question", "\x1b]11;rgb:12/34/56\x07\x1b]11;?\x07"),
    ("checksum of a rectangle", "abc\x1b[7;1;1;1;1;3*y"),
]

PRINT_TO = os.environ.get("PRINT_TO", "")


def send(text):
    os.write(1, text.encode("utf-8", "surrogateescape"))


def read_until(end, timeout=3):
    got, until = b"", time.time() + timeout
    while not re.search(end, got):
        left = until - time.time()
        if left <= 0 or not select.select([0], [], [], left)[0]:
            raise SystemExit(f"no {end!r} in {got!r}")
        got += os.read(0, 4096)
    return got.decode("latin-1")


def inside(result):
    """Runs in xterm, and asks it."""
    tty.setraw(0)
    rows = []
    for name, text in CASES:
        send("\x1b[!p\x1bc\x1b[?69l\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b[0n\x1b[5n")
        read_until(rb"\x1b\[0n")
        send(text + "\x1b[5n")
        answer = read_until(rb"\x1b\[0n$")[: -len("\x1b[0n")]
        send("\x1b[6n")
        place = read_until(rb"\x1b\[\d+;\d+R")
        if os.path.exists(PRINT_TO):
            os.remove(PRINT_TO)
        send("\x1b[!p\x1b[i\x1b[5n")
        read_until(rb"\x1b\[0n")
        until = time.time() + 3
        while not os.path.exists(PRINT_TO) and time.time() < until:
            time.sleep(0.002)
        lines = open(PRINT_TO, encoding="utf-8", errors="surrogateescape").read().replace("\x0c", "").split("\n")
        # xterm prints a filler behind a wide character, and composes accents.
        lines = [line.replace("\r", "").replace("\uffff", "").rstrip(" ") for line in lines][:ROWS]
        lines = [unicodedata.normalize("NFD", line) for line in lines]
        row, col = map(int, re.search(r"\[(\d+);(\d+)R", place).groups())
        rows.append({"name": name, "input": text.encode("utf-8", "surrogateescape").decode("latin-1"),
                     "lines": lines + [""] * (ROWS - len(lines)), "cursor": [col - 1, row - 1], "answer": answer})
    json.dump(rows, open(result, "w"))


def xterm():
    with tempfile.TemporaryDirectory() as scratch:
        result, printed = f"{scratch}/result.json", f"{scratch}/printed"
        run = ["xterm", "-u8", "-geometry", f"{COLS}x{ROWS}", "-ti", "vt420",
               "-xrm", f"XTerm*printerCommand: sh -c 'cat > {printed}.new; mv {printed}.new {printed}'",
               "-xrm", "XTerm*printerAutoClose: true", "-xrm", "XTerm*printAttributes: 0",
               "-xrm", "XTerm*allowWindowOps: true", "-xrm", "XTerm*cursorBlink: false",
               "-xrm", "XTerm*allowC1Printable: false", "-xrm", "XTerm*disallowedWindowOps: ",
               "-e", sys.executable, os.path.abspath(__file__), "inside", result]
        env = dict(os.environ, PRINT_TO=printed, LANG="C.UTF-8", LC_ALL="C.UTF-8")
        subprocess.run(run, env=env, check=True, timeout=300)
        rows = json.load(open(result))
    version = subprocess.run(["xterm", "-version"], capture_output=True, text=True).stdout.strip()
    print('{"version": ' + json.dumps(version) + f', "cols": {COLS}, "rows": {ROWS}, "cases": [')
    print(",\n".join("  " + json.dumps(row) for row in rows))
    print("]}")


def tmux():
    """Says where tmux shows something else."""
    table, other = json.load(sys.stdin), 0
    for case in table["cases"]:
        with tempfile.NamedTemporaryFile() as file:
            file.write(case["input"].encode("latin-1"))
            file.flush()
            name = f"hd{os.getpid()}"
            base = ["tmux", "-L", name, "-f", "/dev/null"]
            run = lambda *args: subprocess.run([*base, *args], capture_output=True, text=True).stdout
            shell = f"stty -echo raw; cat {file.name}; tmux -L {name} wait-for -S shown; exec sleep 60"
            run("new-session", "-d", "-x", str(COLS), "-y", str(ROWS + 1), shell)
            run("wait-for", "shown")
            time.sleep(0.05)
            shown = [unicodedata.normalize("NFD", line.rstrip()) for line in run("capture-pane", "-p").split("\n")][:ROWS]
            shown += [""] * (ROWS - len(shown))
            run("kill-server")
            if shown != case["lines"]:
                other += 1
                print(case["name"], "\n  xterm", case["lines"], "\n  tmux ", shown)
    print(f"{other} of {len(table['cases'])} differ")


if __name__ == "__main__":
    mode = sys.argv[1] if len(sys.argv) > 1 else "xterm"
    {"inside": lambda: inside(sys.argv[2]), "xterm": xterm, "tmux": tmux}[mode]()
