#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Shows a run in TensorBoard: event files made of history.csv and router.csv, during the run or after it. The run's own
# files stay as they are.
#
#   scripts/tensorboard.py runs/quickstart               writes runs/quickstart/tensorboard/, for: tensorboard --logdir runs
#   scripts/tensorboard.py runs/quickstart --follow      goes on until the run ends, over stops and resumes
#
# One tag per column and budget: the column kl_0.75 becomes kl/0.75, the row "0.75, ffn, layer 3" of router.csv
# expected_width/ffn_3/0.75. Wall times are those of a column wall_time if there is one, else the time at which a row was
# read. Where a resume has taken rows back, TensorBoard is told to forget them (a session that starts at their step).
#
# Needs Python 3.11 and the package tensorboard (pip install tensorboard), which writes the files.
import argparse
import csv
import os
import pathlib
import socket
import sys
import time

BUDGET_COLUMNS = ("kl", "cross_entropy", "budget_loss", "relative_cost", "share", "valid_loss", "valid_kl", "parameters")
NOT_MEASURED = ("step", "wall_time")
ROUTER_COLUMNS = ("likely_width", "probability", "expected_width")


# --- what the tables say --------------------------------------------------------------------------------------------
def budgets_of(header):
    """Names of the budgets that a table has columns of."""
    return [column[len("valid_kl_"):] for column in header if column.startswith("valid_kl_")]


def tag_of(column, budgets):
    """kl_0.75 -> kl/0.75, valid_loss_parent -> valid_loss/parent, loss -> loss."""
    for budget in sorted([*budgets, "parent"], key=len, reverse=True):
        measure = column[:-len(budget) - 1]
        if column.endswith("_" + budget) and measure in BUDGET_COLUMNS:
            return f"{measure}/{budget}"
    return column


def number(cell):
    """The number in a cell; None where there is none."""
    try:
        return float(cell)
    except ValueError:
        return None


class Point:
    """What one row says at a step: numbers and texts by tag."""
    def __init__(self, step, wall_time, numbers, texts):
        self.step, self.wall_time, self.numbers, self.texts = step, wall_time, numbers, texts


def history_point(header, cells):
    row = dict(zip(header, cells))
    budgets = budgets_of(header)
    numbers, texts = {}, {}
    for column, cell in row.items():
        if column in NOT_MEASURED or cell == "":
            continue
        if column == "stage":
            texts["stage"] = cell
        elif (value := number(cell)) is not None:
            numbers[tag_of(column, budgets)] = value
    return Point(int(row["step"]), number(row.get("wall_time", "")), numbers, texts)


def router_point(header, cells):
    row = dict(zip(header, cells))
    place = row["axis"] if row["layer"] == "-1" else f"{row['axis']}_{row['layer']}"
    numbers = {f"{column}/{place}/{row['budget']}": float(row[column]) for column in ROUTER_COLUMNS if row.get(column)}
    return Point(int(row["step"]), number(row.get("wall_time", "")), numbers, {})


# --- tables that grow, and are cut back by a resume -----------------------------------------------------------------
class Table:
    """A CSV file of which new rows are read as they come.

    read() gives (step from which rows were taken back or None, new points). A file that was rewritten, by a resume or by a
    new run in its place, is compared row by row with what was read: what is still the same is not given again."""
    def __init__(self, path, point_of):
        self.path, self.point_of = path, point_of
        self.header, self.rows = None, []  # rows: (step, hash of the line), as read
        self.offset, self.identity = 0, None

    def read(self):
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                identity = (status.st_dev, status.st_ino)
                if identity != self.identity or status.st_size < self.offset:
                    return self.read_again(file, identity)
                file.seek(self.offset)
                return None, self.points(self.complete_lines(file))
        except FileNotFoundError:
            return None, []

    def complete_lines(self, file):
        """Lines with their end; the rest is read next time."""
        data = file.read()
        end = data.rfind(b"\n") + 1
        self.offset += end
        return data[:end].decode("utf-8", "replace").splitlines()

    def read_again(self, file, identity):
        self.identity, self.offset = identity, 0
        before, header_before = self.rows, self.header
        self.rows, self.header = [], None
        points = self.points(self.complete_lines(file))
        same = 0
        if self.header == header_before:
            while same < min(len(before), len(self.rows)) and before[same] == self.rows[same]:
                same += 1
        # A step is one point in time: where one of its rows has changed, all of them are given again.
        first = before[same][0] if same < len(before) else None
        while first is not None and same > 0 and self.rows[same - 1][0] >= first:
            same -= 1
        return first, points[same:]

    def points(self, lines):
        found = []
        for line in lines:
            cells = next(csv.reader([line]), [])
            if self.header is None:
                self.header = cells
            elif len(cells) == len(self.header):
                try:
                    point = self.point_of(self.header, cells)
                except (KeyError, ValueError) as error:
                    raise SystemExit(f"tensorboard.py: {self.path}: not a row of a run: {line[:80]!r} ({error})")
                found.append(point)
                self.rows.append((point.step, hash(line)))
        return found


# --- whether the run goes on ----------------------------------------------------------------------------------------
def lock_holder(folder):
    """What run.lock says, as texts by name; None without a lock."""
    try:
        lines = (folder / "run.lock").read_text(errors="replace").splitlines()
    except OSError:
        return None
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


def goes_on(folder):
    """Whether a process writes to the run. One of another machine counts while its lock is there."""
    holder = lock_holder(folder)
    if holder is None:
        return False
    here = holder.get("host") == socket.gethostname() and holder.get("pid_namespace") == os.readlink("/proc/self/ns/pid")
    return not here or os.path.exists(f"/proc/{holder.get('process')}")


# --- event files ----------------------------------------------------------------------------------------------------
class Events:
    """Event files by the tensorboard package's own writer."""
    def __init__(self, folder):
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.plugins.text import metadata
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
            from tensorboard.util import tensor_util
        except ImportError as error:
            raise SystemExit(f"tensorboard.py: the package tensorboard is missing ({error}); pip install tensorboard")
        self.event_pb2, self.summary_pb2 = event_pb2, summary_pb2
        self.text_metadata, self.tensor_proto = metadata, tensor_util.make_tensor_proto
        self.writer = EventFileWriter(str(folder))
        self.last_text = {}

    def forget_from(self, step):
        """Tells TensorBoard that this step and later ones come anew."""
        log = self.event_pb2.SessionLog(status=self.event_pb2.SessionLog.START)
        self.writer.add_event(self.event_pb2.Event(wall_time=time.time(), step=step, session_log=log))
        self.last_text.clear()

    def add(self, point):
        values = [self.summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in point.numbers.items()]
        for tag, text in point.texts.items():
            if self.last_text.get(tag) != text:  # one entry where a stage begins
                values.append(self.text_value(tag, text))
                self.last_text[tag] = text
        if values:
            wall_time = time.time() if point.wall_time is None else point.wall_time
            self.writer.add_event(self.event_pb2.Event(wall_time=wall_time, step=point.step,
                                                       summary=self.summary_pb2.Summary(value=values)))

    def text_value(self, tag, text):
        return self.summary_pb2.Summary.Value(
            tag=tag, tensor=self.tensor_proto([text.encode()]),
            metadata=self.text_metadata.create_summary_metadata(display_name=tag, description=""))

    def close(self):
        self.writer.close()


def by_step(tables):
    """Reads all tables: (first step that was taken back or None, new points in order of their steps)."""
    taken_back, points = [], []
    for table in tables:
        first, new = table.read()
        points += new
        if first is not None:
            taken_back.append(first)
    return min(taken_back, default=None), sorted(points, key=lambda point: point.step)


class Show:
    """From the tables of a run to its event files."""
    def __init__(self, run, events):
        self.tables = [Table(run / "history.csv", history_point), Table(run / "router.csv", router_point)]
        self.events, self.count = events, 0

    def update(self):
        first, points = by_step(self.tables)
        if first is not None:
            # The session ends every tag from `first` on: what another table still says of these steps comes again.
            for table in self.tables:
                table.identity = None
                table.rows = [row for row in table.rows if row[0] < first]
            self.events.forget_from(first)
            again = by_step(self.tables)[1]
            points = [p for p in points if p.step < first] + [p for p in again if p.step >= first]
        for point in points:
            self.events.add(point)
        self.count += len(points)
        self.events.writer.flush()
        return bool(points)


def follow(run, show, interval, patience):
    """Until nobody has written to the run for `patience` seconds."""
    last_alive = time.monotonic()
    while True:
        alive = goes_on(run)  # before reading: what it wrote until its end is read
        if show.update() or alive:
            last_alive = time.monotonic()
        if time.monotonic() - last_alive >= patience:
            return
        time.sleep(interval)


def arguments():
    parser = argparse.ArgumentParser(
        description="Writes TensorBoard event files from history.csv and router.csv of a run.",
        epilog="Then: tensorboard --logdir runs")
    parser.add_argument("run", type=pathlib.Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", help="folder of the event files (RUN/tensorboard)")
    parser.add_argument("--follow", action="store_true", help="go on until the run ends; Ctrl-C ends it before")
    parser.add_argument("--interval", type=float, default=2, metavar="SECONDS", help="of looking for new rows (2)")
    parser.add_argument("--patience", type=float, default=60, metavar="SECONDS",
                        help="how long a run may stand still without a process before it counts as ended (60)")
    parser.add_argument("--replace", action="store_true", help="remove event files that are in FOLDER")
    return parser.parse_args()


def make_folder(folder, replace):
    """Event files of an earlier call would show every point twice."""
    old = sorted(folder.glob("events.out.tfevents.*"))
    if old and not replace:
        raise SystemExit(f"tensorboard.py: {folder} holds event files; give --replace or another --out")
    for file in old:
        file.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"tensorboard.py: {folder}: {error.strerror}")


def main():
    given = arguments()
    history = given.run / "history.csv"
    if given.interval <= 0 or given.patience < 0:
        raise SystemExit("tensorboard.py: expected --interval > 0 and --patience >= 0")
    if given.run.exists() and not given.run.is_dir():
        raise SystemExit(f"tensorboard.py: {given.run}: expected the folder of a run")
    if not history.exists() and not given.follow:
        raise SystemExit(f"tensorboard.py: {history} is not there; expected the folder of a run (or --follow, to wait)")
    show = None
    try:
        while not history.exists():  # a folder that is not empty would be in the way of the run
            time.sleep(given.interval)
        out = given.out or given.run / "tensorboard"
        make_folder(out, given.replace)
        show = Show(given.run, Events(out))
        if given.follow:
            follow(given.run, show, given.interval, given.patience)
        else:
            show.update()
    except KeyboardInterrupt:
        if show:
            show.update()
    finally:
        if show:
            show.events.close()
            print(f"{out}: {show.count} rows")


if __name__ == "__main__":
    # As a script: its own name is that of the package.
    sys.path[:] = [path for path in sys.path if pathlib.Path(path or ".").resolve() != pathlib.Path(__file__).resolve().parent]
    main()
