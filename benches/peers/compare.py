"""Measures banshi and what one would otherwise pick on the same reports in one run. `make bench-peers` starts it.

Turns are interleaved: banshi, a peer, banshi, the next peer, and so on, each with reports that nobody has had yet; banshi sets the
same ones. A ratio is that of the two neighbours, and of it the median over the rounds, so that a machine which is busy with other
work slows both. CPU time counts user and system of every process that a document took, and depends less on that than wall time.
"""

import argparse
import ctypes
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = ROOT / "target/peers"
sys.path[:0] = [str(HERE), str(HERE / "libreoffice")]

import form  # noqa: E402
import odt  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36
TICKS = os.sysconf("SC_CLK_TCK")
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def descendants(pid):
    found, open_ = [], [pid]
    while open_:
        pid = open_.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                open_ += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except FileNotFoundError:
            pass  # it has just ended
    return found


def cpu_of_tree(pid):
    """CPU seconds of a process, its descendants, and those of them that have ended and were waited for."""
    total = 0
    for one in descendants(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICKS


class Kept:
    """A process that is kept and sets one report after another: a line in, `done` out."""

    def __init__(self, command, line, env=None):
        self.line = line
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )

    def set(self, folder, pdf):
        self.process.stdin.write(self.line(folder, pdf) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer != "done":
            raise RuntimeError(f"{self.process.args[:2]} ended at {folder}; run it by hand to see why")

    def turn(self, folders, pdfs):
        """Milliseconds of wall and CPU time a document."""
        before, began = cpu_of_tree(self.process.pid), time.perf_counter()
        for folder, pdf in zip(folders, pdfs):
            self.set(folder, pdf)
        wall = time.perf_counter() - began
        cpu = cpu_of_tree(self.process.pid) - before
        return wall * 1000 / len(folders), cpu * 1000 / len(folders)

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Anew:
    """A process for each document."""

    kept, others = [], set()  # what is kept running, and what that has left behind

    def __init__(self, command, after=None, env=None):
        self.command, self.after, self.env = command, after, env

    def reap(self):
        """Waits for what the command has left behind, which is ours now, and so counts what it took."""
        for _ in range(500):
            foreign = {pid for kept in self.kept for pid in descendants(kept)} | self.others
            left = [pid for pid in descendants(os.getpid())[1:] if pid not in foreign]
            if not left:
                return
            for pid in left:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass  # its parent lives and waits for it
            time.sleep(0.01)
        raise RuntimeError(f"{self.command('', '')[0]} leaves processes behind: {left}")

    def turn(self, folders, pdfs):
        wall = cpu = 0
        for folder, pdf in zip(folders, pdfs):
            before, began = os.times(), time.perf_counter()
            ended = subprocess.run(self.command(folder, pdf), env=self.env, **QUIET)
            wall += time.perf_counter() - began
            self.reap()
            after = os.times()
            cpu += after.children_user + after.children_system - before.children_user - before.children_system
            if self.after:
                self.after(folder, pdf)
            if ended.returncode != 0 or not Path(pdf).exists():
                raise RuntimeError(f"{' '.join(self.command(folder, pdf))} failed; run it by hand to see why")
        return wall * 1000 / len(folders), cpu * 1000 / len(folders)

    def end(self):
        pass


def peers(arguments, work):
    """Name, group and how to run it; banshi's kept typesetter first."""
    conf = work / "fonts.conf"
    conf.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">'
        f"<fontconfig><dir>{ROOT}/fonts</dir><cachedir>{work}/fontconfig</cachedir></fontconfig>"
    )
    env = {**os.environ, "FONTCONFIG_FILE": str(conf), "HOME": str(work / "home")}
    (work / "home").mkdir()
    own = {**os.environ, "BANSHI__FONTS__DIR": str(ROOT / "fonts"), "BANSHI__FONTS__MORE": "[]"}

    def office(name, *more):
        profile = f"-env:UserInstallation=file://{work}/{name}"
        return ["soffice", "--headless", "--norestore", "--nologo", profile, *more]

    wanted = {"SelectPdfVersion": ("long", "3"), "UseTaggedPDF": ("boolean", "true"), "PDFUACompliance": ("boolean", "true")}
    export = "pdf:writer_pdf_Export:" + json.dumps({k: {"type": t, "value": v} for k, (t, v) in wanted.items()})
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root otherwise
    browser = lambda name: [
        "chromium", "--headless", *sandbox, "--disable-gpu", "--disable-dev-shm-usage", "--disable-breakpad", "--no-first-run",
        f"--user-data-dir={work}/{name}",
    ]  # fmt: skip
    tree = work / "reports/typst"
    typst = lambda folder, pdf: [
        str(PEERS / "bin/typst"), "compile", "--root", str(tree), "--font-path", str(ROOT / "fonts"), "--ignore-system-fonts",
        "--pdf-standard", "a-3a,ua-1", "--features", "a11y-extras", str(tree / "reports" / Path(folder).name / "frame.typ"), pdf,
    ]  # fmt: skip
    job = lambda folder, pdf: f"{folder}/job.json {pdf}"
    both = lambda folder, pdf: f"{folder} {pdf}"
    return {
        "banshi, a kept typesetter": Kept([arguments.setter, "typeset"], job),
        "banshi render, a process a document": Anew(
            lambda folder, pdf: [arguments.banshi, "render", f"{folder}/job.json", "-o", pdf], env=own
        ),
        "typst compile, a process a document": Anew(typst),
        "WeasyPrint, kept": Kept([str(PEERS / "venv/bin/python"), str(HERE / "weasyprint/set.py")], both, env),
        "Chromium, a kept tab": Kept([sys.executable, str(HERE / "chromium/set.py"), *browser("kept")], both, env),
        "Chromium, a process a document": Anew(
            lambda folder, pdf: [
                *browser("anew"), "--no-pdf-header-footer", f"--print-to-pdf={pdf}", f"file://{folder}/report.html",
            ],
            env=env,
        ),
        "LibreOffice, kept": Kept(["/usr/bin/python3", str(HERE / "libreoffice/set.py"), *office("office-kept")], both, env),
        "LibreOffice, kept by unoserver": Kept(
            ["/usr/bin/python3", str(HERE / "libreoffice/unoserver.py"), f"{work}/unoserver"],
            both,
            {**env, "PYTHONPATH": next(PEERS.glob("venv/lib/python3*/site-packages")).as_posix()},
        ),
        "LibreOffice, a process a document": Anew(
            lambda folder, pdf: office("office-anew", "--convert-to", export, "--outdir", folder, f"{folder}/report.fodt"),
            after=lambda folder, pdf: Path(folder, "report.pdf").replace(pdf),
            env=env,
        ),
    }


def output(*command, **more):
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **more})
    return (ended.stdout + ended.stderr).strip()


def facts(pdf, verdicts):
    """What a PDF is, by poppler and veraPDF."""
    info = dict(line.split(":", 1) for line in output("pdfinfo", pdf).splitlines() if ":" in line and not line.startswith("Syntax"))
    meta = output("pdfinfo", "-meta", pdf)
    found = lambda key: (re.search(rf"{key}[>=\"']+(\w)", meta) or ["", ""])[1]
    claims = []
    if part := found("pdfaid:part"):
        claims.append(f"PDF/A-{part}{found('pdfaid:conformance').lower()}")
    if part := found("pdfuaid:part"):
        claims.append(f"PDF/UA-{part}")
    attached = output("pdfdetach", "-list", pdf)
    files = re.search(r"^(\d+) embedded", attached, re.M)
    return [
        info["Pages"].strip(),
        f"{Path(pdf).stat().st_size / 1000:.0f}",
        info["Tagged"].strip(),
        ", ".join(claims) or "none",
        *(verdicts.get((flavour, pdf), "not asked") for flavour in ("3b", "3a", "ua1")),
        files[1] if files else "0",
    ]


def verdicts(pdfs):
    """By veraPDF, where it is installed: PASS or FAIL for each flavour and file."""
    lines = output(str(ROOT / "tests/tools/verapdf"), *pdfs, BANSHI_TEST_FLAVOURS="3b,3a,ua1").splitlines()
    return {(words[1], words[2]): words[0] for words in map(str.split, lines) if words and words[0] in ("PASS", "FAIL")}


def versions(names):
    """Of those that were measured."""
    commands = {
        "typst": [str(PEERS / "bin/typst"), "--version"],
        "WeasyPrint": [str(PEERS / "venv/bin/python"), "-m", "weasyprint", "--version"],
        "Chromium": ["chromium", "--version"],
        "LibreOffice": ["soffice", "--version"],
    }
    found = []
    for name, command in commands.items():
        if any(one.startswith(name) for one in names):
            version = re.search(r"\d+\.[\d.]*\d", output(*command))
            found.append(f"{name} {version[0] if version else 'of unknown version'}")
    return ", ".join(found)


def machine():
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 1024**2
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())[1]
    return f"{os.cpu_count()} cores ({name[1] if name else platform.machine()}), {memory:.0f} GiB, {system}, Linux {platform.release()}"


def table(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    pad = lambda row: "| " + " | ".join(cell.ljust(w) if at == 0 else cell.rjust(w) for at, (cell, w) in enumerate(zip(row, widths))) + " |"
    print(pad(rows[0]))
    print("|" + "|".join("-" * (w + 2) if at == 0 else "-" * (w + 1) + ":" for at, w in enumerate(widths)) + "|")
    for row in rows[1:]:
        print(pad(row))
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--banshi", required=True, help="the program")
    parser.add_argument("--setter", required=True, help="the benchmark's own program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kept", type=int, default=8, help="documents a turn of what is kept running")
    parser.add_argument("--anew", type=int, default=2, help="documents a turn of what is started anew")
    parser.add_argument("--only", default="", help="words of the peers to measure, separated by commas")
    arguments = parser.parse_args()

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of the peers become ours, and their CPU time too
    work = PEERS / "work"
    shutil.rmtree(work, ignore_errors=True)
    pdfs = work / "pdf"
    pdfs.mkdir(parents=True)

    words = [word for word in arguments.only.split(",") if word]
    everyone = peers(arguments, work)
    base, *others = everyone
    others = [name for name in others if not words or any(word.lower() in name.lower() for word in words)]
    for name in set(everyone) - {base, *others}:
        everyone.pop(name).end()
    # Reports that nobody has had: two to warm each, then those of every turn.
    count = lambda name: arguments.kept if isinstance(everyone[name], Kept) else arguments.anew
    needed = sum(2 + arguments.rounds * count(name) for name in others)
    subprocess.run([arguments.setter, "reports", work / "reports", str(needed)], check=True)
    unused = []
    for number in range(needed):
        folder = work / f"reports/{number:04}"
        view, about = (json.loads((folder / name).read_text()) for name in ("report.json", "about.json"))
        (folder / "report.html").write_text(form.page(view, about))
        (folder / "report.fodt").write_text(odt.document(view, about))
        unused.append(folder)

    Anew.kept = [one.process.pid for one in everyone.values() if isinstance(one, Kept)]

    def turn(name, folders):
        slug = re.sub(r"\W+", "-", name.lower())
        out = [str(pdfs / f"{folder.name}-{slug}.pdf") for folder in folders]
        return (*everyone[name].turn([str(folder) for folder in folders], out), out)

    def take(number):
        taken, unused[:] = unused[:number], unused[number:]
        return taken

    # Warm: faces mapped, caches of the file system filled, profiles made; what is kept first.
    for name in sorted(others, key=lambda name: isinstance(everyone[name], Anew)):
        print(f"warming {name}", file=sys.stderr)
        folders = take(2)
        if isinstance(everyone[name], Anew) and not Anew.others:
            Anew.others = set(descendants(os.getpid()))
        turn(base, folders)
        turn(name, folders)

    times = {name: [] for name in everyone}
    ratios = {name: [] for name in others}
    last = {}
    for round_ in range(arguments.rounds):
        for name in others:
            print(f"round {round_ + 1} of {arguments.rounds}: {name}", file=sys.stderr)
            folders = take(count(name))
            wall, cpu, out = turn(base, folders)
            times[base].append((wall, cpu))
            last[base] = out[-1]
            peer_wall, peer_cpu, out = turn(name, folders)
            times[name].append((peer_wall, peer_cpu))
            last[name] = out[-1]
            ratios[name].append((peer_wall / wall, peer_cpu / cpu if cpu else float("nan")))
    for one in everyone.values():
        one.end()

    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; {machine()}; load {os.getloadavg()[0]:.1f}")
    print(f"{', '.join([output(arguments.banshi, '--version'), versions(others)])}; {arguments.rounds} rounds, {arguments.kept} or {arguments.anew} documents a turn\n")
    rows = []
    for name in everyone:
        wall, cpu = zip(*times[name])
        ratio, cpu_ratio = zip(*ratios.get(name, [(1, 1)]))
        middle = statistics.median
        rows.append(
            [
                name,
                *(f"{figure:.0f}" for figure in (min(wall), middle(wall), max(wall), middle(cpu))),
                *(f"{figure:.1f}" for figure in (middle(ratio), middle(cpu_ratio))),
            ]
        )
    table(["a document", "ms, min", "median", "max", "CPU ms", "× banshi, time", "CPU"], rows)
    judged = verdicts([last[name] for name in everyone])
    head = ["its last PDF", "pages", "kB", "tagged", "claims", "veraPDF 3b", "3a", "ua1", "attachments"]
    table(head, [[name, *facts(last[name], judged)] for name in everyone])

    targets = (("the best of the HTML ones", ("WeasyPrint", "Chromium"), 20), ("LibreOffice", ("LibreOffice",), 15), ("banshi render", ("banshi render",), 4))
    for what, begins, target in targets:
        for at, kind in ((0, "time"), (1, "CPU")):
            measured = [statistics.median(r[at] for r in ratios[name]) for name in others if name.startswith(begins)]
            if measured:
                word = "met" if min(measured) >= target else "NOT MET"
                print(f"{what}: {min(measured):.1f} × banshi in {kind}, wanted {target}: {word}")


main()
